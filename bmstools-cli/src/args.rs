//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bmstools_link::Mode;
use bmstools_proto::Dialect;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::v2::exec::ExecArgs;
use crate::v2::jobs::{JobsArgs, KillArgs, LogsArgs, WaitArgs};
use crate::v2::ping::PingArgs;
use crate::v2::pull::PullArgs;
use crate::v2::push::PushArgs;
use crate::v2::status::StatusArgs;

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
    /// The server: MAC[@VLAN][%IFACE], as in 52:54:00:aa:bb:01@100%eth1, or a name or
    /// @GROUP of the inventory. Repeat it for several servers at once
    // Not global: of those in front of the command and those behind it, clap would drop
    // the ones in front. [`parse`] adds them up.
    #[arg(short, long = "target", value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// The inventory of servers [default: $XDG_CONFIG_HOME/bmstools/hosts.toml, where
    /// XDG_CONFIG_HOME is ~/.config unless set]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) inventory: Option<PathBuf>,
    /// How many servers to work on at a time
    #[arg(long, value_name = "N", default_value = "16", global = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: u16,
    /// Show each server's output in one piece when it is done, not line by line behind
    /// its name
    #[arg(long, global = true)]
    pub(crate) grouped: bool,
    /// The interface that leads to it [default: the only one that is up]
    #[arg(short, long, value_name = "IFACE", global = true)]
    pub(crate) iface: Option<String>,
    /// Your private key [default: $BMSTOOLS_KEY, then /usr/lib/bmstools/auth/private.pem]
    #[arg(short, long, value_name = "PEM", global = true)]
    pub(crate) key: Option<PathBuf>,
    /// The agent's public key, where it is not the other half of yours
    #[arg(long, value_name = "PEM", global = true)]
    pub(crate) agent_key: Option<PathBuf>,
    /// What to speak with the agent; v1-deployed is bmstools 1.1 and needs a VLAN
    #[arg(long, value_enum, default_value = "v2", global = true)]
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

/// Reads the command line.
///
/// # Errors
///
/// What clap has to say: help, the version, or a mistake.
pub(crate) fn parse(
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let command = Cli::command();
    let target = command.get_arguments().find(|argument| argument.get_id() == "targets").cloned();
    let command = command.mut_subcommands(|command| match &target {
        Some(target) if command.get_name() != "keygen" => {
            command.arg(target.clone().id(BEHIND).display_order(0))
        }
        _ => command,
    });
    let matches = command.try_get_matches_from(line)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Some((_, behind)) = matches.subcommand()
        && let Ok(Some(targets)) = behind.try_get_many::<String>(BEHIND)
    {
        cli.common.targets.extend(targets.cloned());
    }
    Ok(cli)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command there; its output and exit code become ours
    Exec(ExecArgs),
    /// List the commands that run detached there
    Jobs(JobsArgs),
    /// Show what a detached command wrote
    Logs(LogsArgs),
    /// Wait for a detached command; its exit code becomes ours
    Wait(WaitArgs),
    /// Send a signal to a detached command
    Kill(KillArgs),
    /// Copy a file or a directory there
    ///
    /// Owner, mode and time are kept, links stay links, holes stay holes; names that are
    /// links to one file become files of their own. A file is replaced whole or not at
    /// all, when its digest has been compared. A copy that was interrupted goes on where
    /// it stopped, when the command is given again within a day.
    Push(PushArgs),
    /// Copy a file or a directory from there
    ///
    /// As push does, the other way.
    Pull(PullArgs),
    /// Measure the way there and back
    Ping(PingArgs),
    /// Show what the agent says of itself
    Status(StatusArgs),
    /// Measure requests and streams of bytes between this host and the agent's
    ///
    /// Opens one session, asks for an answer many times, sends bytes that the agent
    /// throws away, and has it send as many back: no disk is touched. Prints how frames
    /// left here (--link chooses), how long establishing the session and an answer took,
    /// the rates, and how many frames had to be sent again. In v1, runs a command that
    /// does nothing many times, and pushes generated bytes to a file in the agent's memory
    /// that goes away with the session. Whatever else uses the network or either processor
    /// counts: repeat it, and compare medians.
    Bench(BenchArgs),
    /// Make a key pair: DIR/private.pem (for you) and DIR/public.pem (for the servers)
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Bytes to send: a number, or one with K, M or G behind it
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub(crate) size: u64,
    /// How many requests to make
    #[arg(short, long, value_name = "N", default_value = "100",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where the two files go; made if missing, for its owner alone
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// What kind of key: v1 needs rsa, v2 takes any, and handshakes fastest with ed25519
    #[arg(long = "type", value_enum, default_value = "rsa", value_name = "TYPE")]
    pub(crate) kind: KeyKind,
    /// Length of an RSA key in bits; 1024 only for deployed peers [default: 2048]
    #[arg(long, value_name = "N")]
    pub(crate) bits: Option<usize>,
}

/// A kind of key as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum KeyKind {
    Rsa,
    P256,
    Ed25519,
}

impl KeyKind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::P256 => "p256",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A dialect as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Proto {
    V2,
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

impl Proto {
    /// The dialect of version 1; `None` for version 2.
    pub(crate) fn dialect(self) -> Option<Dialect> {
        match self {
            Self::V2 => None,
            Self::V1 => Some(Dialect::V1),
            Self::V1Deployed => Some(Dialect::V1Deployed),
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

pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.to_ascii_uppercase().as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes >= 1 << 10)
        .ok_or_else(|| "give bytes, as in 256M, 1G or 4096; at least 1K".to_owned())
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| (Duration::from_millis(1)..=LONGEST_WAIT).contains(duration))
        .ok_or_else(|| "give seconds, as in 30 or 0.5, up to a year".to_owned())
}

/// The targets behind the command.
const BEHIND: &str = "targets_behind";
/// Times beyond it are mistakes, and could overflow a clock.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

const AFTER_HELP: &str = "\
Examples:
  Make a key pair, then copy both files to /usr/lib/bmstools/auth/ on the server:
    bmstools keygen ~/bms
    export BMSTOOLS_KEY=~/bms/private.pem
  See how far away the agent is, and what it says of itself:
    bmstools -t 52:54:00:aa:bb:01 ping
    bmstools -t 52:54:00:aa:bb:01 status
  Run a command, in VLAN 100 behind eth1:
    bmstools -t 52:54:00:aa:bb:01@100%eth1 exec -- ls -l '/tmp/two words'
  Let the remote bash interpret pipes and variables:
    bmstools -t 52:54:00:aa:bb:01 exec --shell -- 'dmesg | tail -n 5'
  Copy an image:
    bmstools -t 52:54:00:aa:bb:01 push disk.img /var/tmp/
  Work on several servers at once, by address, name and group:
    bmstools -t 52:54:00:aa:bb:01 -t web01 -t @db exec -- uptime
  See what the network can do, over AF_XDP:
    bmstools -t 52:54:00:aa:bb:01 --link xdp bench
  Reach an agent that knows only version 1, or bmstools 1.1:
    bmstools -t 52:54:00:aa:bb:01 --proto v1 exec -- uname -r
    bmstools -t 52:54:00:aa:bb:01@100 --proto v1-deployed exec -- uname -r

Inventory, ~/.config/bmstools/hosts.toml; everything but the mac may be left out:
  [hosts.web01]
  mac = \"52:54:00:aa:bb:01\"
  vlan = 100
  interface = \"eth1\"
  key = \"~/bms/private.pem\"            # yours
  agent_key = \"keys/web01.pem\"         # its public key; by default yours
  [groups]
  web = [\"web01\", \"web02\"]
  all = [\"@web\", \"db01\"]

Exit codes:
  0     done, confirmed by the agent
  1-254 exec: the command's own (128 + N where signal N ended it)
  255   bmstools failed, and one line on stderr says why
        With several servers the highest code of any counts, and stderr names them
  2     the arguments make no sense
  130   stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP; the agent has been told";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn targets_count_in_front_of_the_command_and_behind_it() {
        let targets = |line: &str| parse(line.split(' ')).map(|cli| cli.common.targets);
        assert_eq!(targets("bmstools -t a -t b ping -c 1 --target c").unwrap(), ["a", "b", "c"]);
        assert_eq!(targets("bmstools ping -t a").unwrap(), ["a"]);
        assert!(targets("bmstools ping").unwrap().is_empty());
        assert_eq!(targets("bmstools -t a exec -- b -t c").unwrap(), ["a"]);
        assert!(targets("bmstools keygen -t a x").is_err());
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "inf", "NaN", "1e300", "", "5s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert_eq!(size("4g"), Ok(4 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for bad in ["", "M", "1.5G", "-1", "17179869184G", "100", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_remote_commands_options_are_left_alone() {
        let cli = Cli::try_parse_from(["bmstools", "exec", "--", "ls", "--json", "--", "-t"]);
        let Command::Exec(exec) = cli.unwrap().command else { panic!("not exec") };
        assert_eq!(exec.command, ["ls", "--json", "--", "-t"]);
    }
}
