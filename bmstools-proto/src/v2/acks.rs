//! What was received: duplicates, the acknowledgement that is due.
//!
//! Signatures first.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The packet numbers that were received: at most 64 ranges and a window of at least
/// 4,096 numbers below the largest; lower ones count as seen.
#[derive(Debug)]
pub(crate) struct Received {}

impl Received {
    pub(crate) fn new(_ack_every: u32, _max_ack_delay: Duration) -> Self {
        todo!()
    }

    /// Whether `number` was received or is too old to know. Asked before the seal is
    /// opened: cheap.
    pub(crate) fn is_duplicate(&self, _number: u64) -> bool {
        todo!()
    }

    /// Notes a packet that opened. `eliciting`: it holds more than ACK, PADDING and
    /// CLOSE. `at_once`: its acknowledgement must not be delayed (it also is not where
    /// the packet is out of order).
    pub(crate) fn note(&mut self, _now: Instant, _number: u64, _eliciting: bool, _at_once: bool) {
        todo!()
    }

    /// Whether an acknowledgement is due now.
    pub(crate) fn is_due(&self, _now: Instant) -> bool {
        todo!()
    }

    /// Whether anything eliciting waits to be acknowledged (send it along for free).
    pub(crate) fn is_pending(&self) -> bool {
        todo!()
    }

    /// When one will be due.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        todo!()
    }

    /// The ranges received, from the highest down, and the microseconds since the
    /// largest arrived.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        std::iter::empty()
    }

    pub(crate) fn delay_us(&self, _now: Instant) -> u32 {
        todo!()
    }

    /// The acknowledgement was sent: nothing is due.
    pub(crate) fn sent(&mut self) {
        todo!()
    }

    /// The peer has seen an acknowledgement up to `number` (it acknowledged the packet
    /// that held it): ranges below need not be repeated. They still count as seen.
    pub(crate) fn forget_below(&mut self, _number: u64) {
        todo!()
    }

    pub(crate) fn largest(&self) -> Option<u64> {
        todo!()
    }
}
