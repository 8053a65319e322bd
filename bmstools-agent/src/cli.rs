//! The command line.

use std::path::PathBuf;

use bmstools_link::Mode;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::config::Config;

/// The bmstools daemon: serves operators that reach this server at layer 2.
#[derive(Parser, Debug)]
#[command(
    name = "bmstools-agent",
    version,
    about = "Runs commands and takes files for operators that reach this server at layer 2",
    after_help = OVERVIEW
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve operators, in the foreground, until SIGTERM or SIGINT
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
}

/// Arguments of `run`. What is given here wins over the configuration file.
#[derive(Args, Debug, Default)]
pub(crate) struct RunArgs {
    /// Serve this interface (repeatable); a bond stands for its slaves
    #[arg(long = "iface", value_name = "IF")]
    pub(crate) interfaces: Vec<String>,
    /// Authorised keys are DIR/public.pem and DIR/authorized_keys.d/*.pem, this agent's
    /// own is DIR/private.pem [default: /usr/lib/bmstools/auth]
    #[arg(long, value_name = "DIR")]
    pub(crate) auth_dir: Option<PathBuf>,
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to move frames [default: auto]
    #[arg(long, value_enum, value_name = "LINK")]
    pub(crate) link: Option<Link>,
    /// Ask for zero-copy AF_XDP; some drivers corrupt memory with it. Where the
    /// driver has none, `--link xdp` fails, `--link auto` copies and says so
    #[arg(long)]
    pub(crate) zero_copy: bool,
    /// What to log, as in `debug` or `bmstools_proto=trace,info`
    /// [default: $RUST_LOG, else info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// How to move frames.
#[derive(ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Link {
    /// The first that works of the ones below; the log says which and why
    #[default]
    Auto,
    /// Native XDP and AF_XDP sockets
    Xdp,
    /// Generic XDP and AF_XDP sockets
    XdpGeneric,
    /// AF_PACKET sockets, without XDP
    Packet,
}

impl From<Link> for Mode {
    fn from(link: Link) -> Self {
        match link {
            Link::Auto => Self::Auto,
            Link::Xdp => Self::Xdp,
            Link::XdpGeneric => Self::XdpGeneric,
            Link::Packet => Self::Packet,
        }
    }
}

impl RunArgs {
    /// Puts what was given on the command line over `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        if !self.interfaces.is_empty() {
            config.interfaces.clone_from(&self.interfaces);
        }
        if let Some(dir) = &self.auth_dir {
            config.auth_dir.clone_from(dir);
        }
        if let Some(link) = self.link {
            config.link = link;
        }
        config.zero_copy |= self.zero_copy;
    }
}

const OVERVIEW: &str = "\
Examples:
  bmstools-agent run --iface eth0     serve operators on eth0
  bmstools-agent run --help           every option

Operators whose public keys are in /usr/lib/bmstools/auth are served: `bmstools keygen DIR` on the
operator's host makes a pair, and both of its files are copied there. private.pem is how the agent
proves in v2 who it is; it may be of another pair, made on this server.";

const EXAMPLES: &str = "\
Examples:
  Serve one interface, with the keys in /usr/lib/bmstools/auth:
      bmstools-agent run --iface eth0

  Serve a bond and another NIC, with keys elsewhere:
      bmstools-agent run --iface bond0 --iface eth2 --auth-dir /etc/bmstools/auth

  Insist on native XDP; fail and say why where it does not work:
      bmstools-agent run --iface eth0 --link xdp

  Take every setting from a file:
      bmstools-agent run --config /etc/bmstools/agent.toml

Signals:
  SIGTERM, SIGINT   end all sessions and exit; a second one exits at once
  SIGHUP            check the key files (changes to them are noticed anyway)
  SIGUSR1           log all counters as one line of JSON

Exit codes: 0 ended by a signal, 1 failure, 2 wrong usage.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<RunArgs, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| match cli.command {
            Command::Run(args) => args,
        })
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let mut config =
            Config::parse("interfaces = ['eth0']\nlink = 'xdp'\nauth_dir = '/a'").unwrap();
        parse("a run").unwrap().apply(&mut config);
        assert_eq!((&config.interfaces[..], config.link), (&["eth0".into()][..], Link::Xdp));
        parse("a run --iface x --iface y --link packet --auth-dir /b --zero-copy")
            .unwrap()
            .apply(&mut config);
        assert_eq!(config.interfaces, ["x", "y"]);
        assert_eq!(config.link, Link::Packet);
        assert_eq!(config.auth_dir, PathBuf::from("/b"));
        assert!(config.zero_copy);
    }

    #[test]
    fn an_unknown_link_is_wrong_usage() {
        assert_eq!(parse("a run --iface x --link dpdk").unwrap_err().exit_code(), 2);
    }
}
