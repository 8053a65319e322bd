//! Packets under way: acknowledgement, loss, probe timeouts (RFC 9002).
//!
//! Signatures first.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::congestion::Pacer;
use super::rtt::Rtt;
use super::streams::StreamId;

/// Something that must reach the peer, kept with the packet that carried it. Small and
/// `Copy`: most packets carry one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// CRYPTO bytes of a level.
    Crypto {
        level: u8,
        offset: u32,
        len: u16,
    },
    Stream {
        stream: StreamId,
        offset: u64,
        len: u16,
        end: bool,
    },
    Placed {
        stream: StreamId,
        offset: u64,
        len: u16,
    },
    PlacedEnd {
        stream: StreamId,
    },
    MaxData,
    MaxStreamData {
        stream: StreamId,
    },
    MaxStreams,
    ResetStream {
        stream: StreamId,
    },
    StopSending {
        stream: StreamId,
    },
    HandshakeDone,
    /// An ACK whose largest was this: acknowledged, older ranges need no repetition.
    Ack {
        largest: u64,
    },
    /// A probe for frames of this size: its loss is no sign of congestion and nothing
    /// is sent again.
    SizeProbe {
        size: u16,
    },
}

/// What a packet carried. No allocation for up to 2 contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {}

impl Contents {
    pub(crate) fn push(&mut self, _content: Content) {
        todo!()
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = Content> + '_ {
        std::iter::empty()
    }
    pub(crate) fn is_empty(&self) -> bool {
        todo!()
    }
}

/// A packet to remember.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// Bytes behind the Ethernet header.
    pub(crate) size: u16,
    /// Encryption level: 0 initial, 1 handshake, 2 data.
    pub(crate) level: u8,
    /// Whether it calls for an acknowledgement. Those that do not are not in flight.
    pub(crate) eliciting: bool,
    pub(crate) contents: Contents,
}

/// What became of packets.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Contents of newly acknowledged packets.
    pub(crate) acknowledged: Vec<Content>,
    /// Contents of packets found lost: to be sent again.
    pub(crate) lost: Vec<Content>,
}

/// An acknowledgement of what was never sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bogus;

#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) rtt: Rtt,
    pub(crate) pacer: Pacer,
}

impl Recovery {
    pub(crate) fn new(_now: Instant, _frame_size: u64, _credit: u32) -> Self {
        todo!()
    }

    /// Packets found lost so far, for statistics.
    pub(crate) fn lost_packets(&self) -> u64 {
        todo!()
    }

    /// Whether window and credit allow another eliciting packet of `size` bytes, pacing
    /// aside. Always true for probes (`take_probe`).
    pub(crate) fn may_send(&self, _size: u64) -> bool {
        todo!()
    }

    /// When pacing lets the next frame leave; `None` is at once.
    pub(crate) fn pace(&mut self, _now: Instant, _size: u64) -> Option<Instant> {
        todo!()
    }

    /// Notes a packet that leaves.
    pub(crate) fn sent(&mut self, _packet: Sent) {
        todo!()
    }

    /// Notes that there was nothing more to send although it was allowed.
    pub(crate) fn app_limited(&mut self) {
        todo!()
    }

    /// Takes an acknowledgement. `largest` is the first range's end. Fills `outcome`
    /// (whose vectors are reused by the caller: no allocation a frame).
    pub(crate) fn acknowledged(
        &mut self,
        _now: Instant,
        _ranges: impl Iterator<Item = RangeInclusive<u64>>,
        _delay: Duration,
        _credit: u32,
        _outcome: &mut Outcome,
    ) -> Result<(), Bogus> {
        todo!()
    }

    /// The peer's longest delay of acknowledgements (handshake: 0).
    pub(crate) fn set_max_ack_delay(&mut self, _delay: Duration) {
        todo!()
    }

    pub(crate) fn set_credit(&mut self, _frames: u32) {
        todo!()
    }

    pub(crate) fn set_frame_size(&mut self, _bytes: u64) {
        todo!()
    }

    /// Treats everything sent under `level` as acknowledged: its keys are gone.
    pub(crate) fn forget_level(&mut self, _level: u8) {
        todo!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due: time-threshold loss or
    /// probe timeout (with backoff).
    pub(crate) fn timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Detects losses by time, or begins a probe: then `take_probe` gives up to 2.
    pub(crate) fn handle_timeout(&mut self, _now: Instant, _outcome: &mut Outcome) {
        todo!()
    }

    /// Whether a probe packet must be sent now, window or not; what is oldest and
    /// unacknowledged should go in it (its contents are given as lost by
    /// `handle_timeout`), or PING.
    pub(crate) fn take_probe(&mut self) -> bool {
        todo!()
    }

    pub(crate) fn wants_probe(&self) -> bool {
        todo!()
    }

    /// Probe timeouts in a row without any acknowledgement.
    pub(crate) fn probe_count(&self) -> u32 {
        todo!()
    }

    /// When the oldest eliciting packet that nothing was acknowledged after left.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        todo!()
    }

    /// Eliciting packets and bytes under way.
    pub(crate) fn in_flight(&self) -> (u32, u64) {
        todo!()
    }

    pub(crate) fn window(&self) -> u64 {
        todo!()
    }
}
