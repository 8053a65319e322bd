//! What tells congestion from damage.
//!
//! A loss with no queue in front of it is a frame damaged or dropped by somebody's
//! hiccup: sending less does not help. A queue shows in the round-trip time.

use std::time::{Duration, Instant};

/// The queue on the path and the part of bytes that is lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// The shortest round trip of this period and of the one before.
    shortest: [Option<Duration>; 2],
    period_start: Option<Instant>,
    round: Round,
    /// The shortest round trip in the round before.
    last_round: Option<Duration>,
    lost: u64,
    delivered: u64,
}

/// What one window of data met.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// It is over when what leaves with this much delivered is acknowledged.
    end: u64,
    shortest: Option<Duration>,
    samples: u32,
}

impl Signals {
    /// Takes the `time` that a packet took which left when `before` bytes had been
    /// delivered; `delivered` have been by now.
    pub(super) fn round_trip(&mut self, now: Instant, time: Duration, before: u64, delivered: u64) {
        let start = *self.period_start.get_or_insert(now);
        if now.saturating_duration_since(start) > PERIOD {
            self.period_start = Some(now);
            self.shortest = [None, self.shortest[0]];
        }
        self.shortest[0] = Some(self.shortest[0].map_or(time, |shortest| shortest.min(time)));
        if before >= self.round.end && self.round.samples >= ENOUGH_SAMPLES {
            self.last_round = self.round.shortest;
            self.round = Round { end: delivered, ..Round::default() };
        }
        self.round.samples += 1;
        self.round.shortest = Some(self.round.shortest.map_or(time, |shortest| shortest.min(time)));
    }

    /// Whether nothing for a round made it as fast as the path alone explains. One round
    /// trip says nothing, as the peer may have had no core to run on; nor do several,
    /// as they may belong to one burst.
    pub(super) fn queue_stands(&self) -> bool {
        let Some(base) = self.shortest.iter().flatten().min() else { return false };
        let long = |time: Duration| time > *base + *base / 32 + NOISE;
        self.last_round.is_some_and(long) && self.round.shortest.is_none_or(long)
    }

    /// Less is sent: congestion that stays has yet to show itself.
    pub(super) fn begin_anew(&mut self) {
        self.last_round = None;
        self.round.shortest = None;
        self.round.samples = 0;
        (self.lost, self.delivered) = (0, 0);
    }

    pub(super) fn delivered(&mut self, bytes: u64) {
        self.delivered = self.delivered.saturating_add(bytes);
    }

    pub(super) fn lost(&mut self, bytes: u64, frame_size: u64) {
        self.lost = self.lost.saturating_add(bytes);
        while self.lost.saturating_add(self.delivered) > MEMORY.saturating_mul(frame_size.max(1)) {
            self.lost /= 2;
            self.delivered /= 2;
        }
    }

    pub(super) fn not_lost(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_sub(bytes);
    }

    /// Whether more is lost than damage explains.
    pub(super) fn loses_much(&self, frame_size: u64) -> bool {
        let total = self.lost.saturating_add(self.delivered);
        total >= ENOUGH.saturating_mul(frame_size) && self.lost.saturating_mul(TOLERATED) > total
    }
}

/// Round trips in a round at least.
const ENOUGH_SAMPLES: u32 = 8;
/// A path's own round-trip time changes seldom: another switch, another host.
const PERIOD: Duration = Duration::from_secs(60);
/// What batches of frames and of acknowledgements, and wake-ups at both ends, add to a
/// round trip where no queue stands.
const NOISE: Duration = Duration::from_micros(250);
/// Frames over which losses are counted.
const MEMORY: u64 = 1024;
/// Frames from which a part of them can be told.
const ENOUGH: u64 = 256;
/// One part of this many may be lost: 5 %.
const TOLERATED: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn now() -> Instant {
        Instant::now()
    }

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn a_queue_stands_where_all_round_trips_of_a_round_are_long() {
        let (mut signals, now) = (Signals::default(), now());
        for _ in 0..20 {
            signals.round_trip(now, us(100), 0, 100);
            assert!(!signals.queue_stands());
        }
        for _ in 0..8 {
            signals.round_trip(now, us(900), 100, 200);
            assert!(!signals.queue_stands());
        }
        signals.round_trip(now, us(900), 200, 300);
        assert!(signals.queue_stands());
        signals.round_trip(now, us(120), 200, 300);
        assert!(!signals.queue_stands());
    }

    #[test]
    fn a_path_that_became_longer_is_believed_in_time() {
        let (mut signals, start) = (Signals::default(), now());
        signals.round_trip(start, us(100), 0, 0);
        for second in 0..=122 {
            let now = start + Duration::from_secs(second);
            signals.round_trip(now, us(900), second, second);
        }
        assert!(!signals.queue_stands());
    }

    #[test]
    fn losses_up_to_a_twentieth_are_tolerated() {
        for (part, much) in [(50, false), (25, false), (12, true), (3, true)] {
            let mut signals = Signals::default();
            for number in 0..10_000 {
                if number % part == 0 {
                    signals.lost(1500, 1500);
                } else {
                    signals.delivered(1500);
                }
            }
            assert_eq!(signals.loses_much(1500), much, "one in {part}");
        }
    }

    #[test]
    fn a_few_losses_at_the_beginning_are_not_much() {
        let mut signals = Signals::default();
        signals.delivered(15_000);
        signals.lost(15_000, 1500);
        assert!(!signals.loses_much(1500));
    }
}
