//! How far a transfer is, for whoever looks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a transfer under way. Shared: the transfer counts, others look.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    entries: AtomicU64,
    entries_done: AtomicU64,
}

impl Progress {
    /// Bytes of all files; 0 until they are known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
    /// Bytes handed on or found in place.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
    /// Files, directories and links.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
    /// Those of them that were come to.
    pub fn entries_done(&self) -> u64 {
        self.entries_done.load(Ordering::Relaxed)
    }

    /// A transfer, or another attempt at it, begins.
    pub(crate) fn begin(&self, total: u64, entries: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.entries.store(entries, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.entries_done.store(0, Ordering::Relaxed);
    }
    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
    pub(crate) fn entry(&self) {
        self.entries_done.fetch_add(1, Ordering::Relaxed);
    }
}
