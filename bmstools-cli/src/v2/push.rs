//! `bmstools push`: files and directories there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use bmstools_files::Source;
use clap::Args;
use tokio::task::spawn_blocking;

use super::transfer::{self, TransferArgs};
use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The file to copy, or with -r the directory
    pub(crate) local: PathBuf,
    /// The absolute path there: of the copy or, with a slash at its end, of the directory
    /// that gets it. With -r, a directory that exists gets a copy of the local one's name,
    /// with or without the slash
    pub(crate) remote: OsString,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

impl PushArgs {
    /// The options given that version 1 does not have.
    pub(crate) fn only_v2(&self) -> Vec<&'static str> {
        self.transfer.only_v2()
    }

    /// Refuses what makes no sense, before anything is sent.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        check_remote(&self.remote)
    }
}

/// Refuses a path that is not absolute.
pub(super) fn check_remote(remote: &OsString) -> Result<(), Failure> {
    if remote.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the remote path `{}` is not absolute: begin it with a slash",
        remote.display()
    )))
}

/// Copies files there.
///
/// # Errors
///
/// Where a file cannot be read or written, the session fails or a signal comes.
pub(crate) async fn run(host: &Host, args: &PushArgs) -> Result<u8, Failure> {
    transfer::run(host, &args.transfer, |session, again, progress| async move {
        let (local, recursive) = (args.local.clone(), args.transfer.recursive);
        let source = spawn_blocking(move || Source::open(&local, recursive)).await;
        let source = source.map_err(transfer::broken)??;
        let remote = args.remote.as_bytes().to_vec();
        bmstools_files::push(&session, source, remote, args.transfer.options(again), progress).await
    })
    .await
}
