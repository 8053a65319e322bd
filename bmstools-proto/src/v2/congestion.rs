//! How many bytes may be under way, and how fast they may leave.
//!
//! Signatures first.
//! that random loss is not taken for congestion, and a pacer.

use std::time::{Duration, Instant};

use super::rtt::Rtt;

/// Decides how much may be under way.
pub(crate) trait Controller: std::fmt::Debug + Send {
    /// Bytes left in one packet; `in_flight` includes them.
    fn sent(&mut self, now: Instant, bytes: u64, in_flight: u64);
    /// Packets were newly acknowledged: one call per ACK frame. `app_limited`: the
    /// sender had nothing more to send.
    fn acknowledged(&mut self, now: Instant, acked: &Acked, rtt: &Rtt, in_flight: u64);
    /// Packets were found lost: one call per detection. `sent_at`: when the latest of
    /// them left.
    fn lost(&mut self, now: Instant, bytes: u64, sent_at: Instant, in_flight: u64);
    /// The path carries frames of this many bytes.
    fn set_frame_size(&mut self, bytes: u64);
    /// Bytes that may be under way.
    fn window(&self) -> u64;
    /// Bytes a second that may leave; `None` leaves it to window and round-trip time.
    fn pacing_rate(&self) -> Option<u64>;
}

/// What an ACK acknowledged newly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) bytes: u64,
    /// When the largest of them left.
    pub(crate) sent_at: Instant,
    pub(crate) app_limited: bool,
    /// Delivered bytes per second as RFC 9002 does not have it but delivery-rate
    /// estimation does (draft-ietf-ccwg-bbr, section 4.1.1), where known.
    pub(crate) delivery_rate: Option<u64>,
}

pub(crate) fn new(_frame_size: u64) -> Box<dyn Controller> {
    todo!()
}

/// Spreads frames over time: bursts are bounded (64 frames), the rate is 1.25 times
/// window over smoothed round-trip time or what the controller says; an optional cap
/// (`--rate`).
#[derive(Debug)]
pub(crate) struct Pacer {}

impl Pacer {
    pub(crate) fn new(_now: Instant) -> Self {
        todo!()
    }
    pub(crate) fn set_cap(&mut self, _bytes_per_second: Option<u64>) {
        todo!()
    }
    /// When the next frame of `bytes` may leave: `None` is at once.
    pub(crate) fn delay(
        &mut self,
        _now: Instant,
        _bytes: u64,
        _rtt: &Rtt,
        _controller: &dyn Controller,
    ) -> Option<Instant> {
        todo!()
    }
    pub(crate) fn sent(&mut self, _now: Instant, _bytes: u64) {
        todo!()
    }
    #[allow(dead_code, reason = "skeleton")]
    fn unused(_: Duration) {}
}
