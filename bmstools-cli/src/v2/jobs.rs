//! `bmstools jobs`, `logs`, `wait` and `kill`: commands that run without a session.
//!
//! Signatures first.

use anyhow::anyhow;
use clap::Args;

use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {}

/// Lists the jobs there.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn run(_host: &Host, _args: &JobsArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The job's number, as `jobs` shows it
    pub(crate) job: u64,
}

/// Shows what a job wrote.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn logs(_host: &Host, _args: &LogsArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The job's number, as `jobs` shows it
    pub(crate) job: u64,
}

/// Waits for a job; returns its exit code.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn wait(_host: &Host, _args: &WaitArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The job's number, as `jobs` shows it
    pub(crate) job: u64,
}

/// Sends a signal to a job.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn kill(_host: &Host, _args: &KillArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}
