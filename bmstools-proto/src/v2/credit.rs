//! Receive credit: how many frames of the peer may be under way to this side.

use std::time::Duration;

use super::Config;
use super::rtt::Rtt;

/// The credit at ports that take frames of up to `mtu` bytes, over a path of this round
/// trip.
///
/// What is under way should fit the processor's cache on its way to where it is used, so
/// it is little where the path is short; a longer one needs as many more as it is longer.
pub(crate) fn of(config: &Config, mtu: usize, rtt: &Rtt) -> u32 {
    let near = config.max_bytes_in_flight / mtu.max(1) as u64;
    let round_trip = if rtt.is_measured() { rtt.min() } else { Duration::ZERO };
    let far = u128::from(near) * round_trip.as_micros() / SHORT.as_micros();
    let frames = u128::from(near).max(far);
    let most = config.max_frames_in_flight.max(LEAST);
    u32::try_from(frames).unwrap_or(most).clamp(LEAST, most)
}

/// Packets that call for an acknowledgement until one is sent: a part of the credit, so
/// that the sender hears of more before it has used up what it has.
pub(crate) fn ack_every(credit: u32) -> u32 {
    (credit / 3).clamp(1, MOST_UNACKNOWLEDGED)
}

/// Frames that every side lets be under way to it.
pub(crate) const LEAST: u32 = 16;
/// A round trip up to which a path is short: those of one segment, and of the work at
/// both of its ends.
const SHORT: Duration = Duration::from_millis(1);
const MOST_UNACKNOWLEDGED: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(round_trip: Duration) -> Rtt {
        let mut rtt = Rtt::new();
        rtt.sample(round_trip, Duration::ZERO);
        rtt
    }

    #[test]
    fn it_is_bytes_on_short_paths_and_grows_with_long_ones() {
        let config = Config { max_bytes_in_flight: 600_000, ..Config::default() };
        let at = |mtu, us| of(&config, mtu, &measured(Duration::from_micros(us)));
        assert_eq!(of(&config, 1500, &Rtt::new()), 400);
        assert_eq!((at(1500, 50), at(1500, 1000), at(1500, 2500)), (400, 400, 1000));
        assert_eq!((at(3000, 50), at(3000, 2000)), (200, 400));
        assert_eq!((at(1500, 60_000_000), at(0, 1)), (config.max_frames_in_flight, 2048));
        assert_eq!(at(usize::MAX, 1), LEAST);
    }

    #[test]
    fn it_stays_within_what_the_ring_holds() {
        let config = Config { max_frames_in_flight: 64, ..Config::default() };
        assert_eq!(of(&config, 1500, &Rtt::new()), 64);
        let config = Config { max_frames_in_flight: 0, ..Config::default() };
        assert_eq!(of(&config, 1500, &Rtt::new()), LEAST);
    }

    #[test]
    fn acknowledgements_come_before_the_credit_is_used_up() {
        assert_eq!([1, 16, 400, 2048].map(ack_every), [1, 5, 133, 256]);
    }
}
