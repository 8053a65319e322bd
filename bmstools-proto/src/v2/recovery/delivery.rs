//! How fast bytes are delivered (draft-ietf-ccwg-bbr, section 4.1).

use std::time::Instant;

use super::super::congestion::rate;
use super::super::rtt::Rtt;

/// What was delivered so far.
#[derive(Debug)]
pub(super) struct Delivery {
    delivered: u64,
    delivered_at: Instant,
    /// When the packet left that was the latest at the last acknowledgement.
    first_sent_at: Instant,
    /// Something other than the path bounds the rate until this much was delivered.
    limited_until: u64,
}

/// The state when a packet left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    pub(super) limited: bool,
}

impl Delivery {
    pub(super) fn new(now: Instant) -> Self {
        Self { delivered: 0, delivered_at: now, first_sent_at: now, limited_until: 0 }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A packet leaves while `in_flight` bytes are under way.
    pub(super) fn stamp(&mut self, now: Instant, in_flight: u64) -> Stamp {
        if in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            limited: self.limited_until > self.delivered,
        }
    }

    pub(super) fn limited(&mut self, in_flight: u64) {
        self.limited_until = self.delivered.saturating_add(in_flight).saturating_add(1);
    }

    /// `bytes` were delivered; the latest of the packets left at `sent_at` with `stamp`.
    /// Returns bytes a second, where the time is long enough to tell.
    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        bytes: u64,
        sent_at: Instant,
        stamp: &Stamp,
        rtt: &Rtt,
    ) -> Option<u64> {
        self.delivered = self.delivered.saturating_add(bytes);
        self.delivered_at = now;
        self.first_sent_at = sent_at;
        let sending = sent_at.saturating_duration_since(stamp.first_sent_at);
        let acknowledging = now.saturating_duration_since(stamp.delivered_at);
        let interval = sending.max(acknowledging);
        let long_enough = rtt.is_measured() && !interval.is_zero() && interval >= rtt.min();
        long_enough.then(|| rate(self.delivered - stamp.delivered, interval))
    }
}
