//! `bmstools exec`: a command there, its streams and its exit code here.
//!
//! Signatures first.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;

use crate::args::seconds;
use crate::output::Failure;
use crate::v2::Host;

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

impl ExecArgs {
    /// The options given that version 1 does not have.
    pub(crate) fn only_v2(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Refuses what makes no sense, before anything is sent.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Runs the command there; returns its exit code.
///
/// # Errors
///
/// Where the session fails, the agent refuses, or time or a signal cuts it short.
pub(crate) async fn run(_host: &Host, _args: &ExecArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}
