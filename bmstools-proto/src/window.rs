//! How many frames may be in flight.

use crate::config::Config;
use bmstools_common::header::Dialect;

/// Additive increase, multiplicative decrease (RFC 5681), in frames, between two
/// fixed bounds: a layer-2 path is short, and its loss is as often random as it
/// is congestion.
#[derive(Debug)]
pub(crate) struct Window {
    size: usize,
    slow_start_until: usize,
    acknowledged: usize,
    /// Losses of transmissions before this one belong to a reduction already made.
    recovered_from: u64,
    min: usize,
    max: usize,
}

impl Window {
    pub(crate) fn new(config: &Config, dialect: Dialect) -> Self {
        let (initial, min, max) = match dialect {
            Dialect::V1 => (config.initial_window, config.min_window, config.window),
            Dialect::V1Deployed => {
                (config.deployed_window, config.deployed_window, config.deployed_window)
            }
        };
        Self { size: initial, slow_start_until: max, acknowledged: 0, recovered_from: 0, min, max }
    }

    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Begins a message, whose transmissions are counted anew.
    pub(crate) const fn begin_message(&mut self) {
        self.recovered_from = 0;
    }

    /// A fragment was acknowledged.
    pub(crate) fn acknowledged(&mut self) {
        self.acknowledged += 1;
        if self.size < self.slow_start_until || self.acknowledged >= self.size {
            self.acknowledged = 0;
            self.size = (self.size + 1).min(self.max);
        }
    }

    /// Transmission `lost` was overtaken; `next` is the number of the next one.
    pub(crate) fn overtaken(&mut self, lost: u64, next: u64) {
        if lost >= self.recovered_from {
            self.recovered_from = next;
            self.size = (self.size * 7 / 10).max(self.min);
            self.slow_start_until = self.size;
        }
    }

    /// Nothing was acknowledged in time, twice in a row.
    pub(crate) fn timed_out(&mut self) {
        self.slow_start_until = (self.size / 2).max(self.min);
        self.size = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shrinks_once_a_round_trip_and_stays_in_its_bounds() {
        let config = Config::default();
        let mut window = Window::new(&config, Dialect::V1);
        for _ in 0..1000 {
            window.acknowledged();
        }
        assert_eq!(window.size(), config.window);
        window.overtaken(100, 150);
        window.overtaken(120, 160);
        assert_eq!(window.size(), config.window * 7 / 10);
        window.overtaken(150, 200);
        assert!(window.size() < config.window * 7 / 10);
        for _ in 0..10 {
            window.timed_out();
        }
        assert_eq!(window.size(), config.min_window);
    }
}
