//! `bmstools push`: files there.
//!
//! Signatures first.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The regular file to copy
    pub(crate) local: PathBuf,
    /// The absolute path there; behind a final slash the local name is added
    pub(crate) remote: OsString,
}

impl PushArgs {
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

/// Copies files there.
///
/// # Errors
///
/// Where a file cannot be read or written, the session fails or a signal comes.
pub(crate) async fn run(_host: &Host, _args: &PushArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}
