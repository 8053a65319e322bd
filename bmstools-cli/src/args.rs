//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bmstools_link::Mode;
use bmstools_proto::Dialect;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::target::Target;

/// Reach a bare-metal server by its MAC address: run commands, copy files.
///
/// The server needs no IP address. It runs bmstools-agent and holds the public half
/// of your key; both ends are in the same layer-2 network or VLAN.
#[derive(Debug, Parser)]
#[command(name = "bmstools", version, after_help = AFTER_HELP, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server: MAC[@VLAN][%IFACE], as in 52:54:00:aa:bb:01@100%eth1
    #[arg(short, long, global = true)]
    pub(crate) target: Option<Target>,
    /// The interface that leads to it [default: the only one that is up]
    #[arg(short, long, value_name = "IFACE", global = true)]
    pub(crate) iface: Option<String>,
    /// Your private key [default: $BMSTOOLS_KEY, then /usr/lib/bmstools/auth/private.pem]
    #[arg(short, long, value_name = "PEM", global = true)]
    pub(crate) key: Option<PathBuf>,
    /// What the agent speaks; v1-deployed is bmstools 1.1 and needs a VLAN
    #[arg(long, value_enum, default_value = "v1", global = true)]
    pub(crate) proto: Proto,
    /// How frames leave and arrive. `auto` is `packet` (AF_PACKET, the kernel's ordinary
    /// way): a short command should not attach an XDP program, for which some drivers
    /// reset the link
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub(crate) link: Link,
    /// Print results and errors as JSON objects, one a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Seconds to wait for the agent's answer and the authentication
    #[arg(long, value_name = "S", default_value = "15", value_parser = seconds, global = true)]
    pub(crate) connect_timeout: Duration,
    /// Log to stderr what happens; twice: every frame
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// No progress, summary or warnings
    #[arg(short, long, conflicts_with = "verbose", global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command there; its output and exit code become ours
    Exec(ExecArgs),
    /// Copy a file there
    Push(PushArgs),
    /// Open a session, authenticate, end it, and show how long each took
    Ping(PingArgs),
    /// Make a key pair: DIR/private.pem (for you) and DIR/public.pem (for the servers)
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Give up after so many seconds; the agent then kills the command
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
    /// Take one argument and let the remote bash interpret it, instead of passing every
    /// argument through unchanged
    #[arg(long)]
    pub(crate) shell: bool,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The regular file to copy
    pub(crate) local: PathBuf,
    /// The absolute path there; behind a final slash the local name is added
    pub(crate) remote: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// How many sessions, one after the other
    #[arg(short, long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where the two files go; made if missing, for its owner alone
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Length of the RSA key in bits; 1024 only for deployed peers
    #[arg(long, value_name = "N", default_value = "2048")]
    pub(crate) bits: usize,
}

/// A dialect as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Proto {
    V1,
    V1Deployed,
}

/// A link as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Link {
    Auto,
    Xdp,
    XdpGeneric,
    Packet,
}

impl From<Proto> for Dialect {
    fn from(proto: Proto) -> Self {
        match proto {
            Proto::V1 => Self::V1,
            Proto::V1Deployed => Self::V1Deployed,
        }
    }
}

impl From<Link> for Mode {
    fn from(link: Link) -> Self {
        match link {
            Link::Auto | Link::Packet => Self::Packet,
            Link::Xdp => Self::Xdp,
            Link::XdpGeneric => Self::XdpGeneric,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| (Duration::from_millis(1)..=LONGEST_WAIT).contains(duration))
        .ok_or_else(|| "give seconds, as in 30 or 0.5, up to a year".to_owned())
}

/// Times beyond it are mistakes, and could overflow a clock.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

const AFTER_HELP: &str = "\
Examples:
  Make a key pair, then copy ~/bms/public.pem to /usr/lib/bmstools/auth/ on the server:
    bmstools keygen ~/bms
    export BMSTOOLS_KEY=~/bms/private.pem
  See whether the agent answers:
    bmstools -t 52:54:00:aa:bb:01 ping
  Run a command, in VLAN 100 behind eth1:
    bmstools -t 52:54:00:aa:bb:01@100%eth1 exec -- ls -l '/tmp/two words'
  Let the remote bash interpret pipes and variables:
    bmstools -t 52:54:00:aa:bb:01 exec --shell -- 'dmesg | tail -n 5'
  Copy an image:
    bmstools -t 52:54:00:aa:bb:01 push disk.img /var/tmp/

Exit codes:
  0     done, confirmed by the agent
  1-254 exec: the command's own (128 + N where signal N ended it)
  255   bmstools failed, and one line on stderr says why
  2     the arguments make no sense
  130   stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP; the agent has been told";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "inf", "NaN", "1e300", "", "5s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_remote_commands_options_are_left_alone() {
        let cli = Cli::try_parse_from(["bmstools", "exec", "--", "ls", "--json", "--", "-t"]);
        let Command::Exec(exec) = cli.unwrap().command else { panic!("not exec") };
        assert_eq!(exec.command, ["ls", "--json", "--", "-t"]);
    }
}
