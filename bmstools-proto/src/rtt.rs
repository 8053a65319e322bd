//! Round-trip time and retransmission timeout (RFC 6298).

use std::time::Duration;

/// The estimator of RFC 6298, section 2.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    smoothed: Option<Duration>,
    variation: Duration,
    initial: Duration,
    leeway: Duration,
    max: Duration,
}

impl RttEstimator {
    pub(crate) const fn new(initial: Duration, leeway: Duration, max: Duration) -> Self {
        Self { smoothed: None, variation: Duration::ZERO, initial, leeway, max }
    }

    /// Takes a sample of a frame that was sent once (Karn's algorithm).
    pub(crate) fn sample(&mut self, rtt: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
            }
            Some(smoothed) => {
                self.variation = self.variation * 3 / 4 + smoothed.abs_diff(rtt) / 4;
                self.smoothed = Some(smoothed * 7 / 8 + rtt / 8);
            }
        }
    }

    /// The smoothed round-trip time; `None` before the first sample.
    pub(crate) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How long to wait for an acknowledgement after `backoff` timeouts in a row.
    pub(crate) fn timeout(&self, backoff: u32) -> Duration {
        let base = match self.smoothed {
            None => self.initial,
            Some(smoothed) => smoothed + (self.variation * 4).max(self.leeway),
        };
        base.saturating_mul(1 << backoff.min(16)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimator() -> RttEstimator {
        let ms = Duration::from_millis;
        RttEstimator::new(ms(200), ms(20), ms(2000))
    }

    #[test]
    fn the_timeout_follows_the_samples_of_rfc_6298() {
        let mut rtt = estimator();
        assert_eq!(rtt.timeout(0), Duration::from_millis(200));
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.timeout(0), Duration::from_millis(300));
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(100)));
        assert_eq!(rtt.timeout(0), Duration::from_millis(250));
    }

    #[test]
    fn a_long_and_steady_round_trip_leaves_room_for_a_hiccup() {
        let mut rtt = estimator();
        for _ in 0..500 {
            rtt.sample(Duration::from_millis(50));
        }
        assert_eq!(rtt.timeout(0), Duration::from_millis(70));
    }

    #[test]
    fn the_timeout_doubles_with_each_loss_up_to_its_limit() {
        let mut rtt = estimator();
        for _ in 0..50 {
            rtt.sample(Duration::from_micros(50));
        }
        assert_eq!(rtt.timeout(0), Duration::from_micros(20_050));
        assert_eq!(rtt.timeout(3), Duration::from_micros(160_400));
        assert_eq!(rtt.timeout(u32::MAX), Duration::from_millis(2000));
    }
}
