//! A token bucket in one number, so that it fits one atomic word in a map.

use crate::maps::Rate;

/// Decides on one event at `now_ns` for the bucket whose state is `state`.
///
/// The state is the time at which the bucket will be full again, in
/// nanoseconds of a monotonic clock; 0 is a full bucket. This is the generic
/// cell rate algorithm (ITU-T I.371): a token every `interval_ns`, at most
/// `burst` of them.
///
/// Returns the new state, or `None` where there is no token.
#[inline(always)]
pub const fn take(state: u64, now_ns: u64, rate: Rate) -> Option<u64> {
    let full_at = if state > now_ns { state } else { now_ns };
    let after = full_at.saturating_add(rate.interval_ns);
    // Divided, not `interval_ns * burst` compared: a saturating product takes 128
    // bits, which the BPF machine does not have.
    match (after - now_ns).saturating_sub(1).checked_div(rate.interval_ns) {
        Some(taken_before) if taken_before >= rate.burst => None,
        _ => Some(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { interval_ns: 10, burst: 3 };

    fn taken(state: &mut u64, now: u64) -> bool {
        taken_at(RATE, state, now)
    }

    fn taken_at(rate: Rate, state: &mut u64, now: u64) -> bool {
        match take(*state, now, rate) {
            Some(after) => {
                *state = after;
                true
            }
            None => false,
        }
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_an_interval() {
        let mut state = 0;
        for _ in 0..3 {
            assert!(taken(&mut state, 1000));
        }
        assert!(!taken(&mut state, 1000));
        assert!(!taken(&mut state, 1009));
        assert!(taken(&mut state, 1010));
        assert!(!taken(&mut state, 1010));
    }

    #[test]
    fn a_rested_bucket_holds_no_more_than_the_burst() {
        let mut state = 0;
        assert!(taken(&mut state, 0));
        let admitted = (0..100).filter(|_| taken(&mut state, 1_000_000)).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn a_rate_without_interval_is_no_limit_and_one_without_burst_lets_nothing_through() {
        let mut state = 0;
        assert!((0..100).all(|_| taken_at(Rate { interval_ns: 0, burst: 1 }, &mut state, 5)));
        assert!(!taken_at(Rate { interval_ns: 1, burst: 0 }, &mut state, 5));
    }

    #[test]
    fn a_burst_of_more_nanoseconds_than_a_number_holds_is_let_through() {
        let mut state = 0;
        let rate = Rate { interval_ns: u64::MAX / 4, burst: u64::MAX };
        assert!((0..10).all(|_| taken_at(rate, &mut state, 1)));
    }
}
