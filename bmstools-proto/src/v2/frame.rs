//! The frames inside of a packet (docs/protocol-v2.md, "Packets").

use std::ops::RangeInclusive;

mod emit;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use emit::{StreamHeader, emit_ack};
pub(crate) use parse::Frames;

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
    /// Pairs of gap and length, eight bytes each.
    pub(crate) ranges: &'a [u8],
}

impl Ack<'_> {
    /// The acknowledged ranges, from the highest down.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        let first = self.largest.saturating_sub(u64::from(self.first));
        let mut below = first;
        let (pairs, _) = self.ranges.as_chunks::<ACK_RANGE>();
        std::iter::once(first..=self.largest).chain(pairs.iter().map(move |&pair| {
            let (gap, length) = gap_and_length(pair);
            let end = below.saturating_sub(gap + 1);
            below = below.saturating_sub(gap + length);
            below..=end
        }))
    }
}

/// What does not parse: a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a malformed frame")]
pub(crate) struct Malformed;

const fn gap_and_length(pair: [u8; ACK_RANGE]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h] = pair;
    (u32::from_be_bytes([a, b, c, d]) as u64, u32::from_be_bytes([e, f, g, h]) as u64)
}

/// Ranges behind the first that an ACK has at most.
const MAX_ACK_RANGES: usize = 64;
/// Bytes of one of them.
const ACK_RANGE: usize = 8;
/// Bytes of an ACK in front of them.
const ACK_HEADER: usize = 22;
/// Bytes of a CLOSE in front of its reason.
const CLOSE_HEADER: usize = 7;
/// Bytes of a CLOSE's reason at most.
const MAX_REASON: usize = 256;

/// Frame types on the wire.
mod kind {
    pub(super) const PADDING: u8 = 0;
    pub(super) const PING: u8 = 1;
    pub(super) const ACK: u8 = 2;
    pub(super) const CRYPTO: u8 = 3;
    pub(super) const STREAM: u8 = 4;
    pub(super) const STREAM_END: u8 = 5;
    pub(super) const PLACED: u8 = 6;
    pub(super) const PLACED_END: u8 = 7;
    pub(super) const MAX_DATA: u8 = 8;
    pub(super) const MAX_STREAM_DATA: u8 = 9;
    pub(super) const MAX_STREAMS: u8 = 10;
    pub(super) const RESET_STREAM: u8 = 11;
    pub(super) const STOP_SENDING: u8 = 12;
    pub(super) const HANDSHAKE_DONE: u8 = 13;
    pub(super) const CLOSE: u8 = 14;
}
