//! What the command does over version 2, on any number of servers at once.

pub(crate) mod connect;
pub(crate) mod exec;
mod host;
pub(crate) mod jobs;
pub(crate) mod ping;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod status;
mod tty;

use anyhow::anyhow;

use crate::args::{Command, Common};
use crate::output::{Failure, Output};
use crate::signals::Signals;

pub(crate) use self::host::Host;

/// Does what `command` says on every target; returns the worst exit code.
///
/// # Errors
///
/// Where the targets cannot be told, or the only one fails.
pub(crate) async fn run(
    common: &Common,
    command: &Command,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let _ = (common, output, signals);
    let host = connect::connect()?;
    on_host(&host, command).await
}

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
        Command::Bench(_) | Command::Keygen(_) => Err(anyhow!("not there yet").into()),
    }
}
