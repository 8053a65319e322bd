//! The round-trip time (RFC 9002, section 5).
//!
//! Signatures first.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {}

impl Rtt {
    pub(crate) fn new() -> Self {
        todo!()
    }
    pub(crate) fn sample(&mut self, _latest: Duration, _ack_delay: Duration) {
        todo!()
    }
    pub(crate) fn smoothed(&self) -> Duration {
        todo!()
    }
    pub(crate) fn variation(&self) -> Duration {
        todo!()
    }
    pub(crate) fn latest(&self) -> Duration {
        todo!()
    }
    pub(crate) fn min(&self) -> Duration {
        todo!()
    }
    /// Whether there was a sample.
    pub(crate) fn is_measured(&self) -> bool {
        todo!()
    }
    /// RFC 9002, section 6.2.1, without backoff.
    pub(crate) fn probe_timeout(&self, _max_ack_delay: Duration) -> Duration {
        todo!()
    }
}
