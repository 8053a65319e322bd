//! What the command does over version 2, on any number of servers at once.

mod ask;
mod bench;
mod connect;
pub(crate) mod exec;
mod fleet;
mod host;
mod interrupts;
pub(crate) mod jobs;
pub(crate) mod ping;
mod plan;
pub(crate) mod pull;
pub(crate) mod push;
mod show;
pub(crate) mod status;
mod transfer;
mod tty;

use anyhow::anyhow;

use crate::args::Command;
use crate::output::Failure;

pub(crate) use self::fleet::run;
pub(crate) use self::host::Host;

/// Does what `command` says on one server; returns the exit code.
async fn on_host(host: &Host, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Exec(args) => exec::run(host, args).await,
        Command::Jobs(args) => jobs::run(host, args).await,
        Command::Logs(args) => jobs::logs(host, args).await,
        Command::Wait(args) => jobs::wait(host, args).await,
        Command::Kill(args) => jobs::kill(host, args).await,
        Command::Push(args) => push::run(host, args).await,
        Command::Pull(args) => pull::run(host, args).await,
        Command::Ping(args) => ping::run(host, args).await,
        Command::Status(args) => status::run(host, args).await,
        Command::Bench(args) => bench::run(host, args).await,
        Command::Keygen(_) => Err(anyhow!("a key is made here, on no server").into()),
    }
}

/// Refuses what makes no sense, before anything is sent.
fn check(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Exec(args) => args.check(),
        Command::Push(args) => args.check(),
        Command::Pull(args) => args.check(),
        _ => Ok(()),
    }
}

/// Whether the command gets signals itself, by [`Host::signal`].
fn takes_signals(command: &Command) -> bool {
    matches!(command, Command::Exec(_))
}
