//! What all parts of a transfer that arrives share.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::files::{Done, Failed, ToSender};
use rustix::fs::{fstat, syncfs};
use tokio::sync::{Notify, mpsc};

use super::Receiver;
use super::place::Place;
use crate::failure::{TransferError, is_fatal, of_errno};
use crate::meta::Policy;
use crate::summary::{MAX_TOLD, Summary};

/// What all parts of a transfer that arrives share.
pub(crate) struct Context {
    /// Who receives, for whom, and where that is noted.
    pub(crate) receiver: Receiver,
    /// Owners and modes.
    pub(crate) policy: Policy,
    /// Existing files are not replaced.
    pub(crate) no_clobber: bool,
    /// An identical file that exists is as good as received even so.
    pub(crate) identical_is_done: bool,
    /// The root is a file.
    pub(crate) single: bool,
    /// Told to end early.
    pub(crate) stop: Arc<Stop>,
    /// To the sender.
    pub(crate) replies: mpsc::Sender<ToSender>,
    /// The file system takes no files without a name.
    pub(crate) names_only: AtomicBool,
    summary: Mutex<Summary>,
    late: Mutex<Vec<Failure>>,
    discard: AtomicBool,
    devices: Mutex<BTreeMap<u64, OwnedFd>>,
}

impl Context {
    pub(crate) fn new(
        receiver: Receiver,
        policy: Policy,
        options: &bmstools_proto::v2::message::files::PutOptions,
        place: &Place,
        replies: mpsc::Sender<ToSender>,
    ) -> Self {
        Self {
            receiver,
            policy,
            no_clobber: options.no_clobber,
            identical_is_done: place.directory || options.again,
            single: !place.directory,
            stop: Arc::default(),
            replies,
            names_only: AtomicBool::new(false),
            summary: Mutex::new(Summary { path: place.path.clone(), ..Summary::default() }),
            late: Mutex::default(),
            discard: AtomicBool::new(false),
            devices: Mutex::default(),
        }
    }

    /// What has been done so far.
    pub(crate) fn summary(&self) -> MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an entry of `bytes` that is in place, `resumed` of which were there.
    pub(crate) fn arrived(&self, bytes: u64, resumed: u64) {
        let mut summary = self.summary();
        summary.entries += 1;
        summary.bytes += bytes;
        summary.resumed += resumed;
        drop(summary);
        self.receiver.progress.entry();
    }

    /// What tells the sender that an entry is not in place; `None` where nothing is
    /// worth going on after that.
    pub(crate) fn failed(&self, entry: u64, failure: Failure) -> Option<ToSender> {
        self.summary().fail(failure.clone());
        self.receiver.progress.entry();
        if is_fatal(&failure) || self.single {
            self.stop.with(failure.into());
            return None;
        }
        Some(ToSender::Failed(Failed { entry, failure }))
    }

    /// Notes what failed when its entry was done already: told at the end.
    pub(crate) fn failed_late(&self, failure: Failure) {
        self.summary().fail(failure.clone());
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if late.len() < MAX_TOLD {
            late.push(failure);
        }
    }

    /// What failed late.
    pub(crate) fn late(&self) -> Vec<Failure> {
        std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the sender, from a thread that may block. That it cannot be told is
    /// noticed elsewhere.
    pub(crate) fn reply_blocking(&self, message: ToSender) {
        let _ = self.replies.blocking_send(message);
    }

    /// Nothing unfinished is to be left.
    pub(crate) fn discard(&self) {
        self.discard.store(true, Ordering::Relaxed);
    }

    /// Whether nothing unfinished is to be left.
    pub(crate) fn discards(&self) -> bool {
        self.discard.load(Ordering::Relaxed)
    }

    /// Notes that something is written in `directory`: its file system is synced at
    /// the end.
    pub(crate) fn touch(&self, directory: BorrowedFd<'_>) {
        let Ok(stat) = fstat(directory) else { return };
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if devices.len() < MAX_DEVICES
            && !devices.contains_key(&stat.st_dev)
            && let Ok(directory) = directory.try_clone_to_owned()
        {
            devices.insert(stat.st_dev, directory);
        }
    }

    /// Makes everything written safe. Blocks.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for device in devices.values() {
            syncfs(device.as_fd())
                .map_err(|error| of_errno("write to the disk of", "the destination", error))?;
        }
        Ok(())
    }
}

/// The message for an entry that is in place.
pub(crate) fn done(entry: u64) -> ToSender {
    ToSender::Done(Done { first: entry, count: 1 })
}

/// Ends a transfer early, from anywhere.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    reason: Mutex<Option<TransferError>>,
    notify: Notify,
}

impl Stop {
    /// Ends it for this reason, unless there was one before.
    pub(crate) fn with(&self, reason: TransferError) {
        let mut present = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        present.get_or_insert(reason);
        self.notify.notify_one();
    }

    /// The reason, where there is one.
    pub(crate) fn reason(&self) -> Option<TransferError> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ready when there is a reason. For one task.
    pub(crate) async fn wait(&self) -> TransferError {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.notify.notified().await;
        }
    }
}

/// A tree with more file systems in it than this is synced in part by the kernel's
/// own time.
const MAX_DEVICES: usize = 16;
