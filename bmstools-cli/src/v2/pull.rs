//! `bmstools pull`: files from there.
//!
//! Signatures first.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The absolute path there
    pub(crate) remote: OsString,
    /// Where it goes here; in a directory the remote name is added
    pub(crate) local: PathBuf,
}

impl PullArgs {
    /// Refuses what makes no sense, before anything is sent.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Copies files from there.
///
/// # Errors
///
/// Where a file cannot be read or written, the session fails or a signal comes.
pub(crate) async fn run(_host: &Host, _args: &PullArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}
