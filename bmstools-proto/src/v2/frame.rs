//! The frames inside of a packet (docs/protocol-v2.md, "Packets").
//!
//! Signatures first.

use std::ops::RangeInclusive;

/// A frame as it stands in a received packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame<'a> {
    Ping,
    Ack(Ack<'a>),
    Crypto { offset: u32, data: &'a [u8] },
    Stream { stream: u32, offset: u64, end: bool, data: &'a [u8] },
    Placed { stream: u32, offset: u64, data: &'a [u8] },
    PlacedEnd { stream: u32, total: u64 },
    MaxData(u64),
    MaxStreamData { stream: u32, max: u64 },
    MaxStreams(u32),
    ResetStream { stream: u32, code: u32, total: u64 },
    StopSending { stream: u32, code: u32 },
    HandshakeDone,
    Close { code: u32, reason: &'a str },
}

/// An acknowledgement; its ranges have been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ack<'a> {
    pub(crate) largest: u64,
    pub(crate) delay_us: u32,
    pub(crate) credit: u32,
    pub(crate) first: u32,
    pub(crate) ranges: &'a [u8],
}

impl Ack<'_> {
    /// The acknowledged ranges, from the highest down.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        let _ = self.ranges;
        std::iter::empty()
    }
}

/// What does not parse: a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a malformed frame")]
pub(crate) struct Malformed;

/// The frames of a packet's plaintext, up to its padding. Ends after an error.
pub(crate) struct Frames<'a>(#[allow(dead_code, reason = "skeleton")] &'a [u8]);

impl<'a> Frames<'a> {
    pub(crate) const fn new(plaintext: &'a [u8]) -> Self {
        Self(plaintext)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

impl Frame<'_> {
    /// Bytes of a STREAM or PLACED frame in front of its data.
    pub(crate) const STREAM_HEADER: usize = 15;
    /// Bytes of a CRYPTO frame in front of its data.
    pub(crate) const CRYPTO_HEADER: usize = 7;

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        todo!()
    }

    /// Writes the frame to the front of `buffer`, which has room; its length.
    pub(crate) fn emit(&self, _buffer: &mut [u8]) -> usize {
        todo!()
    }
}

/// Writes an ACK of `ranges` (highest first, disjoint, not adjacent, not empty),
/// as many as fit into `buffer` and 64; its length, 0 where not even one fits.
pub(crate) fn emit_ack(
    _ranges: impl Iterator<Item = RangeInclusive<u64>>,
    _delay_us: u32,
    _credit: u32,
    _buffer: &mut [u8],
) -> usize {
    todo!()
}
