//! Spreads frames over time.

use std::time::{Duration, Instant};

/// Two token buckets: one bounds bursts to 64 frames at the rate that the path is
/// thought to carry, the other keeps an optional cap exactly.
#[derive(Debug)]
pub(crate) struct Pacer {
    path: Option<Bucket>,
    cap: Option<Bucket>,
    created: Instant,
}

impl Pacer {
    /// Lets everything through until it knows a rate.
    pub(crate) fn new(now: Instant) -> Self {
        Self { path: None, cap: None, created: now }
    }

    /// No more than this over any second and longer (`--rate`).
    pub(crate) fn set_cap(&mut self, bytes_per_second: Option<u64>) {
        self.cap = bytes_per_second.map(|rate| {
            let bucket = self.cap.take().unwrap_or(Bucket::new(self.created));
            bucket.with_rate(rate, CAP_BURST)
        });
    }

    /// The path carries `bytes_per_second` in frames of `frame_size` bytes.
    pub(crate) fn set_rate(&mut self, bytes_per_second: u64, frame_size: u64) {
        let bucket = self.path.take().unwrap_or(Bucket::new(self.created));
        let burst = super::time_for(BURST * frame_size, bytes_per_second);
        self.path = Some(bucket.with_rate(bytes_per_second, burst));
    }

    /// When the next frame may leave: `None` is at once.
    pub(crate) fn delay(&self, now: Instant) -> Option<Instant> {
        let wait = |bucket: &Option<Bucket>| bucket.as_ref().and_then(|bucket| bucket.delay(now));
        wait(&self.path).max(wait(&self.cap))
    }

    /// A frame of `bytes` left.
    pub(crate) fn sent(&mut self, now: Instant, bytes: u64) {
        for bucket in [&mut self.path, &mut self.cap].into_iter().flatten() {
            bucket.take(now, bytes);
        }
    }
}

/// A token bucket, kept as the time from which it is not in debt.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    free_at: Instant,
    /// How far `free_at` lies behind the present where the bucket is full.
    burst: Duration,
    /// Nanoseconds that a byte takes, with 20 bits of fraction.
    nanos_per_byte: u64,
}

impl Bucket {
    fn new(free_at: Instant) -> Self {
        Self { free_at, burst: Duration::ZERO, nanos_per_byte: 0 }
    }

    fn with_rate(self, rate: u64, burst: Duration) -> Self {
        let nanos_per_byte = (1_000_000_000 << FRACTION) / rate.max(1);
        Self { burst, nanos_per_byte, ..self }
    }

    fn cost(&self, bytes: u64) -> Duration {
        Duration::from_nanos(self.nanos_per_byte.saturating_mul(bytes) >> FRACTION)
    }

    /// Waits a little longer than for the next frame, so that a fast path costs a timer
    /// for a batch of frames and not one for each.
    fn delay(&self, now: Instant) -> Option<Instant> {
        (self.free_at > now).then(|| self.free_at + (self.burst / 2).min(QUANTUM))
    }

    fn take(&mut self, now: Instant, bytes: u64) {
        let full = now.checked_sub(self.burst).unwrap_or(now);
        self.free_at = self.free_at.max(full) + self.cost(bytes).min(LONGEST);
    }
}

/// Frames in a burst at most.
const BURST: u64 = 64;
/// What a cap makes good after its owner woke up late; small enough that no second
/// exceeds it by more than a hundredth.
const CAP_BURST: Duration = Duration::from_millis(10);
const QUANTUM: Duration = Duration::from_micros(50);
/// No frame holds back the next for longer, whatever the rate.
const LONGEST: Duration = Duration::from_secs(10);
const FRACTION: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn now() -> Instant {
        Instant::now()
    }

    /// Bytes that leave in `time` where the sender sleeps as told and `late` longer.
    fn run(pacer: &mut Pacer, start: Instant, time: Duration, late: Duration) -> (u64, u32) {
        let (mut now, mut bytes, mut timers) = (start, 0, 0);
        while now < start + time {
            match pacer.delay(now) {
                None => {
                    pacer.sent(now, 1500);
                    bytes += 1500;
                }
                Some(at) => {
                    assert!(at > now);
                    timers += 1;
                    now = at + late;
                }
            }
        }
        (bytes, timers)
    }

    #[test]
    fn a_cap_is_kept_within_a_twentieth_however_late_the_sender_wakes() {
        for rate in [100_000, 10_000_000, 1_000_000_000] {
            for late in [0, 100, 2_000].map(Duration::from_micros) {
                let start = now();
                let mut pacer = Pacer::new(start);
                pacer.set_cap(Some(rate));
                let (bytes, _) = run(&mut pacer, start, Duration::from_secs(1), late);
                assert!(bytes.abs_diff(rate) <= rate / 20, "{bytes} at {rate}, late by {late:?}");
            }
        }
    }

    #[test]
    fn bursts_are_bounded_after_a_pause() {
        let start = now();
        let mut pacer = Pacer::new(start);
        pacer.set_rate(1_000_000, 1500);
        let later = start + Duration::from_secs(100);
        let burst = (0..1000).take_while(|_| {
            let free = pacer.delay(later).is_none();
            pacer.sent(later, 1500);
            free
        });
        assert!((64..=65).contains(&burst.count()));
    }

    #[test]
    fn a_fast_path_costs_no_timer_a_frame() {
        let start = now();
        let mut pacer = Pacer::new(start);
        pacer.set_rate(1_250_000_000, 1500);
        let (bytes, timers) = run(&mut pacer, start, Duration::from_millis(100), Duration::ZERO);
        assert!(bytes.abs_diff(125_000_000) < 6_000_000, "{bytes}");
        assert!(u64::from(timers) * 16 <= bytes / 1500, "{timers} timers");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = now();
        let mut pacer = Pacer::new(start);
        pacer.set_cap(Some(1));
        pacer.set_cap(None);
        for _ in 0..10_000 {
            assert_eq!(pacer.delay(start), None);
            pacer.sent(start, 1500);
        }
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        let start = now();
        for rate in [0, 1, u64::MAX] {
            let mut pacer = Pacer::new(start);
            pacer.set_rate(rate, u64::from(u16::MAX));
            pacer.set_cap(Some(rate));
            for _ in 0..100 {
                pacer.sent(start, u64::from(u16::MAX));
                let _ = pacer.delay(start);
            }
        }
    }
}
