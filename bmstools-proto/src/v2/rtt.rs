//! The round-trip time (RFC 9002, section 5).

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    latest: Duration,
    /// `None` before the first sample.
    smoothed: Option<Duration>,
    variation: Duration,
    min: Duration,
}

impl Rtt {
    pub(crate) fn new() -> Self {
        Self { latest: INITIAL, smoothed: None, variation: INITIAL / 2, min: INITIAL }
    }

    /// Takes a sample. `ack_delay` is what the peer says it waited, already cut to the
    /// most that it announced: it is believed only as far as the shortest round trip
    /// allows. Returns the sample without it.
    pub(crate) fn sample(&mut self, latest: Duration, ack_delay: Duration) -> Duration {
        let latest = latest.min(LONGEST);
        self.latest = latest;
        let Some(smoothed) = self.smoothed else {
            self.min = latest;
            self.smoothed = Some(latest);
            self.variation = latest / 2;
            return latest;
        };
        self.min = self.min.min(latest);
        let adjusted =
            latest.checked_sub(ack_delay).filter(|&sample| sample >= self.min).unwrap_or(latest);
        self.variation = (self.variation * 3 + smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = Some((smoothed * 7 + adjusted) / 8);
        adjusted
    }

    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL)
    }

    pub(crate) fn latest(&self) -> Duration {
        self.latest
    }

    pub(crate) fn min(&self) -> Duration {
        self.min
    }

    /// Whether there was a sample.
    pub(crate) fn is_measured(&self) -> bool {
        self.smoothed.is_some()
    }

    /// RFC 9002, section 6.2.1, without backoff, but at least [`SHORTEST_PROBE_TIMEOUT`].
    pub(crate) fn probe_timeout(&self, max_ack_delay: Duration) -> Duration {
        let expected = self.smoothed() + (self.variation * 4).max(GRANULARITY);
        expected.saturating_add(max_ack_delay).max(SHORTEST_PROBE_TIMEOUT)
    }
}

/// The round-trip time before anything was measured.
pub(crate) const INITIAL: Duration = Duration::from_millis(20);
/// No sample counts for more, so that no sum of these can overflow.
const LONGEST: Duration = Duration::from_secs(60);

/// RFC 9002's kGranularity. It recommends 1 ms because timers were that coarse; twenty
/// round trips of a layer-2 segment fit into that. The endpoint's owner sleeps with
/// nanoseconds and wakes up some 50 to 100 µs late: twice that.
pub(crate) const GRANULARITY: Duration = Duration::from_micros(200);

/// No probe timeout is shorter. Round trips of 50 µs that hardly vary would have a
/// probe sent after 250 µs, but the peer is a process that shares its cores: a
/// scheduler lets it wait for a time slice or two, of 3 ms each, before it can answer.
/// A probe sent too soon costs a frame, so it need not survive every hiccup; losses are
/// not concluded from it.
const SHORTEST_PROBE_TIMEOUT: Duration = Duration::from_millis(8);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_first_sample_counts_in_full() {
        let mut rtt = Rtt::new();
        assert!(!rtt.is_measured());
        assert_eq!(rtt.smoothed(), ms(20));
        rtt.sample(ms(40), ms(30));
        assert!(rtt.is_measured());
        assert_eq!((rtt.smoothed(), rtt.variation, rtt.min()), (ms(40), ms(20), ms(40)));
    }

    #[test]
    fn later_samples_are_smoothed() {
        let mut rtt = Rtt::new();
        rtt.sample(ms(40), ms(0));
        rtt.sample(ms(80), ms(0));
        assert_eq!((rtt.smoothed(), rtt.variation), (ms(45), ms(25)));
        assert_eq!((rtt.latest(), rtt.min()), (ms(80), ms(40)));
    }

    #[test]
    fn the_delay_is_believed_only_above_the_shortest_round_trip() {
        let mut rtt = Rtt::new();
        rtt.sample(ms(40), ms(0));
        rtt.sample(ms(48), ms(8));
        assert_eq!(rtt.smoothed(), ms(40));
        rtt.sample(ms(48), ms(9));
        assert_eq!(rtt.smoothed(), ms(41));
        rtt.sample(ms(40), Duration::MAX);
        assert!(rtt.smoothed() >= ms(40));
    }

    #[test]
    fn the_probe_timeout_has_a_floor_and_follows_long_round_trips() {
        let mut rtt = Rtt::new();
        for _ in 0..100 {
            rtt.sample(Duration::from_micros(50), Duration::ZERO);
        }
        assert_eq!(rtt.probe_timeout(Duration::from_micros(500)), SHORTEST_PROBE_TIMEOUT);
        for _ in 0..100 {
            rtt.sample(ms(50), Duration::ZERO);
        }
        assert!((ms(50)..ms(60)).contains(&rtt.probe_timeout(ms(5))));
    }

    #[test]
    fn absurd_values_break_nothing() {
        let mut rtt = Rtt::new();
        for sample in [Duration::MAX, Duration::ZERO, Duration::MAX] {
            rtt.sample(sample, Duration::MAX);
            rtt.sample(sample, Duration::ZERO);
            assert!(rtt.probe_timeout(Duration::MAX) >= SHORTEST_PROBE_TIMEOUT);
            assert!(rtt.smoothed() <= LONGEST);
        }
    }
}
