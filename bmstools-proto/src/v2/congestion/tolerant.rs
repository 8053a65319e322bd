//! CUBIC for paths that damage frames.
//!
//! A loss reduces the window only where a queue stands on the path, or where more is
//! lost than damage explains. Slow start ends where a queue comes to stand, much like
//! HyStart++ (RFC 9406).

use std::time::Instant;

use super::super::rtt::Rtt;
use super::cubic::Cubic;
use super::signals::Signals;
use super::{Acked, Controller, INITIAL_WINDOW};

#[derive(Clone, Debug)]
pub(super) struct Tolerant {
    cubic: Cubic,
    signals: Signals,
    frame_size: u64,
    /// The present round of slow start is over when what leaves with this much
    /// delivered is acknowledged.
    round_end: u64,
    /// Rounds of slow start in a row that ended with a queue.
    rounds_with_queue: u32,
}

impl Tolerant {
    pub(super) fn new(frame_size: u64) -> Self {
        Self {
            cubic: Cubic::new(frame_size, BETA),
            signals: Signals::default(),
            frame_size,
            round_end: 0,
            rounds_with_queue: 0,
        }
    }

    /// Slows slow start down while a queue stands, which may go away again; after
    /// [`CAUTIOUS_ROUNDS`] it did not.
    fn watch_slow_start(&mut self, acked: &mut Acked) {
        let queue = self.signals.queue_stands();
        if queue {
            acked.bytes /= 4;
        }
        if acked.delivered_before >= self.round_end {
            self.round_end = acked.delivered;
            self.rounds_with_queue = if queue { self.rounds_with_queue + 1 } else { 0 };
            if self.rounds_with_queue >= CAUTIOUS_ROUNDS {
                self.cubic.end_slow_start();
            }
        }
    }
}

impl Controller for Tolerant {
    fn sent(&mut self, now: Instant, bytes: u64, in_flight: u64) {
        self.cubic.sent(now, bytes, in_flight);
    }

    fn acknowledged(&mut self, now: Instant, acked: &Acked, rtt: &Rtt, in_flight: u64) {
        self.signals.delivered(acked.bytes);
        // What left before the last reduction met the queue that caused it.
        if let Some(time) = acked.round_trip
            && !self.cubic.is_recovering(acked.sent_at)
        {
            self.signals.round_trip(now, time, acked.delivered_before, acked.delivered);
        }
        let mut acked = *acked;
        if self.cubic.in_slow_start() && !acked.app_limited {
            self.watch_slow_start(&mut acked);
        }
        self.cubic.acknowledged(now, &acked, rtt, in_flight);
    }

    fn lost(&mut self, now: Instant, bytes: u64, sent_at: Instant, in_flight: u64) {
        self.signals.lost(bytes, self.frame_size);
        if self.cubic.is_recovering(sent_at) {
            return self.cubic.lost(now, bytes, sent_at, in_flight);
        }
        let queue = self.signals.queue_stands();
        if queue || self.signals.loses_much(self.frame_size) {
            let before = self.cubic.window();
            self.cubic.lost(now, bytes, sent_at, in_flight);
            self.signals.begin_anew();
            if !queue {
                // So few frames a round trip are in nobody's way.
                self.cubic.raise_to(before.min(INITIAL_WINDOW * self.frame_size));
            }
        }
    }

    fn spurious(&mut self, now: Instant, bytes: u64, sent_at: Instant) {
        self.signals.not_lost(bytes);
        self.cubic.spurious(now, bytes, sent_at);
    }

    fn persistent_congestion(&mut self, now: Instant) {
        self.cubic.persistent_congestion(now);
        self.signals.begin_anew();
    }

    fn set_frame_size(&mut self, bytes: u64) {
        self.frame_size = bytes;
        self.cubic.set_frame_size(bytes);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn pacing_rate(&self, rtt: &Rtt) -> u64 {
        self.cubic.pacing_rate(rtt)
    }
}

const CAUTIOUS_ROUNDS: u32 = 5;
/// Less than TCP's 0.7: whoever shares the link does what the server is there for. With
/// 0.7, a BBR flow beside a push got less than a third of a link.
const BETA: f64 = 0.6;
