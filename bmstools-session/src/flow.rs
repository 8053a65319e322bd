//! Collecting what tasks consumed, so that the hub hears of it rarely.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bmstools_proto::v2::Config;

/// Bytes consumed that the hub has not been told of, with the amount that is worth
/// telling.
#[derive(Debug)]
pub(crate) struct Consumed {
    bytes: AtomicU64,
    step: u64,
    is_told: AtomicBool,
}

impl Consumed {
    /// Of a stream: a sixteenth of its window.
    pub(crate) fn of_stream(config: &Config) -> Self {
        Self::new(config.max_stream_data / 16)
    }

    /// Of all streams of a session, so that many small remainders never add up to the
    /// session's window.
    pub(crate) fn of_session(config: &Config) -> Self {
        Self::new(config.max_data / 16)
    }

    fn new(step: u64) -> Self {
        Self { bytes: AtomicU64::new(0), step, is_told: AtomicBool::new(false) }
    }

    /// Adds to it.
    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Whether the hub is to be told. True once until [`hear`](Self::hear).
    pub(crate) fn must_tell(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) >= self.step && !self.is_told.swap(true, Ordering::SeqCst)
    }

    /// The hub has been told: what is added from here on needs telling again.
    pub(crate) fn hear(&self) {
        self.is_told.store(false, Ordering::SeqCst);
    }

    /// Takes all of it.
    pub(crate) fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }

    /// Takes what a stream's [`take`](Self::take) gave from its session's.
    pub(crate) fn subtract(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }
}
