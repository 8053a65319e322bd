//! `bmstools pull`: files and directories from there.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use bmstools_files::{Journal, LIFETIME, Receiver};
use bmstools_proto::v2::message::files::Pull;
use clap::Args;
use tokio::task::spawn_blocking;

use super::push::check_remote;
use super::transfer::{self, TransferArgs};
use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The absolute path there of the file or, with -r, the directory
    pub(crate) remote: OsString,
    /// The path here: of the copy or, with a slash at its end, of the directory that gets
    /// it. With -r, a directory that exists gets a copy of the remote one's name, with or
    /// without the slash
    #[arg(default_value = ".")]
    pub(crate) local: PathBuf,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

impl PullArgs {
    /// Refuses what makes no sense, before anything is sent.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.transfer.rate.is_some() {
            return Err(Failure::Usage("--rate limits what is sent from here: only a push".into()));
        }
        check_remote(&self.remote)
    }
}

/// Copies files from there.
///
/// # Errors
///
/// Where a file cannot be read or written, the session fails or a signal comes.
pub(crate) async fn run(host: &Host, args: &PullArgs) -> Result<u8, Failure> {
    let journal = journal_directory().map(Journal::new);
    if let Some(journal) = journal.clone() {
        // A sweep that breaks off is made up for by the next.
        let _ = spawn_blocking(move || journal.sweep(LIFETIME)).await;
    }
    transfer::run(host, &args.transfer, |session, again, progress| {
        let receiver =
            Receiver { journal: journal.clone(), who: session.peer_key().spki().into(), progress };
        async move {
            let source = args.remote.as_bytes().to_vec();
            let request = Pull { source, recursive: args.transfer.recursive };
            let options = args.transfer.options(again);
            bmstools_files::pull(&session, request, &args.local, options, receiver).await
        }
    })
    .await
}

/// Where unfinished files are noted, as the XDG Base Directory Specification has it.
fn journal_directory() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("bmstools/unfinished"))
}
