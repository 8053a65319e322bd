//! How many bytes may be under way, and how fast they may leave.

mod cubic;
mod pacer;
mod signals;
mod tolerant;

use std::time::{Duration, Instant};

pub(crate) use pacer::Pacer;

use super::rtt::Rtt;

/// Decides how much may be under way.
pub(crate) trait Controller: std::fmt::Debug + Send {
    /// Bytes left in one packet; `in_flight` includes them.
    fn sent(&mut self, now: Instant, bytes: u64, in_flight: u64);
    /// Packets were newly acknowledged: one call per ACK frame.
    fn acknowledged(&mut self, now: Instant, acked: &Acked, rtt: &Rtt, in_flight: u64);
    /// Packets were found lost: one call per detection. `sent_at`: when the latest of
    /// them left.
    fn lost(&mut self, now: Instant, bytes: u64, sent_at: Instant, in_flight: u64);
    /// A packet that was found lost, and left at `sent_at`, has arrived after all.
    fn spurious(&mut self, now: Instant, bytes: u64, sent_at: Instant);
    /// Nothing that was sent for several probe timeouts arrived (RFC 9002, section 7.6).
    fn persistent_congestion(&mut self, now: Instant);
    /// The path carries frames of this many bytes.
    fn set_frame_size(&mut self, bytes: u64);
    /// Bytes that may be under way.
    fn window(&self) -> u64;
    /// Bytes a second that may leave.
    fn pacing_rate(&self, rtt: &Rtt) -> u64;
}

/// What an ACK acknowledged newly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) bytes: u64,
    /// When the latest of them left.
    pub(crate) sent_at: Instant,
    /// Whether something other than the controller (the application, the peer's
    /// credit) bounded what was under way when it left.
    pub(crate) app_limited: bool,
    /// The round-trip time without the peer's delay, where this ACK tells it.
    pub(crate) round_trip: Option<Duration>,
    /// Bytes delivered in all when the latest of them left, and in all by now.
    pub(crate) delivered_before: u64,
    pub(crate) delivered: u64,
}

/// The controller for a new path that carries frames of `frame_size` bytes.
pub(crate) fn new(frame_size: u64) -> Box<dyn Controller> {
    Box::new(tolerant::Tolerant::new(frame_size))
}

/// Frames that may be under way before anything is known.
const INITIAL_WINDOW: u64 = 64;
/// Frames that may be under way whatever happens: less than the receiver acknowledges at
/// once would make every exchange wait for its timer.
const MIN_WINDOW: u64 = 16;
/// No window is larger, so that no product of one overflows.
const MAX_WINDOW: u64 = 1 << 40;

/// `bytes` in `time`, as bytes a second.
pub(super) fn rate(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// The time that `bytes` take at `rate` bytes a second; an hour at most.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(3_600_000_000_000))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
