//! What has been announced and waits for the receiver's word.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bmstools_proto::v2::message::files::{Have, MAX_CHECKED};
use tokio::sync::{Notify, mpsc};

/// Files that the receiver checks, with their data.
#[derive(Debug, Default)]
pub(crate) struct Window {
    state: Mutex<State>,
    freed: Condvar,
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    closed: bool,
}

impl Window {
    /// Whether `put` would wait.
    pub(crate) fn is_full(&self) -> bool {
        self.state().is_full()
    }

    /// Adds a file; blocks while there are too many. Whether the transfer goes on.
    pub(crate) fn put(&self, entry: u64, data: Vec<u8>) -> bool {
        let mut state = self.state();
        while state.is_full() && !state.closed {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes += data.len();
        state.files.insert(entry, data);
        !state.closed
    }

    /// Takes a file out.
    pub(crate) fn take(&self, entry: u64) -> Option<Vec<u8>> {
        let mut state = self.state();
        let data = state.files.remove(&entry)?;
        state.bytes -= data.len();
        if state.files.is_empty() {
            self.drained.notify_one();
        }
        self.freed.notify_one();
        Some(data)
    }

    /// Ready when there are none.
    pub(crate) async fn drained(&self) {
        while !self.state().files.is_empty() {
            self.drained.notified().await;
        }
    }

    /// Lets nobody wait any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.freed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.files.len() >= MAX_CHECKED || self.bytes >= MAX_BYTES
    }
}

/// What the receiver says about a large file.
#[derive(Debug)]
pub(crate) enum Heard {
    Have(Have),
    Done,
    Failed,
}

/// Large files under way, and how to reach their tasks.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<BTreeMap<u64, mpsc::Sender<Heard>>>);

impl Files {
    /// Adds a file.
    pub(crate) fn add(&self, entry: u64) -> mpsc::Receiver<Heard> {
        // There are two words about a file.
        let (tell, heard) = mpsc::channel(2);
        self.lock().insert(entry, tell);
        heard
    }

    /// Tells a file's task; whether there is such a file and its task listens.
    pub(crate) fn tell(&self, entry: u64, heard: Heard) -> bool {
        let mut files = self.lock();
        let told = files.get(&entry).is_some_and(|file| file.try_send(heard).is_ok());
        if !told {
            files.remove(&entry);
        }
        told
    }

    /// Removes a file.
    pub(crate) fn remove(&self, entry: u64) {
        self.lock().remove(&entry);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Heard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of files being checked at most.
const MAX_BYTES: usize = 4 << 20;
