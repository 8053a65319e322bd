//! Frames to bytes.

use std::ops::RangeInclusive;

use super::{ACK_HEADER, ACK_RANGE, CLOSE_HEADER, Frame, MAX_ACK_RANGES, MAX_REASON, kind};

impl Frame<'_> {
    /// Bytes of a STREAM or PLACED frame in front of its data.
    pub(crate) const STREAM_HEADER: usize = 15;
    /// Bytes of a CRYPTO frame in front of its data.
    pub(crate) const CRYPTO_HEADER: usize = 7;

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ping | Self::HandshakeDone => 1,
            Self::Ack(ack) => ACK_HEADER + ack.ranges.len(),
            Self::Crypto { data, .. } => Self::CRYPTO_HEADER + data.len(),
            Self::Stream { data, .. } | Self::Placed { data, .. } => {
                Self::STREAM_HEADER + data.len()
            }
            Self::PlacedEnd { .. } | Self::MaxStreamData { .. } => 13,
            Self::MaxData(_) | Self::StopSending { .. } => 9,
            Self::MaxStreams(_) => 5,
            Self::ResetStream { .. } => 17,
            Self::Close { reason, .. } => CLOSE_HEADER + sendable(reason).len(),
        }
    }

    /// Writes the frame to the front of `buffer`, which has room; its length. A
    /// reason is cut to what a CLOSE can carry.
    ///
    /// # Panics
    ///
    /// Where `buffer` is shorter than [`len`](Self::len).
    #[inline]
    pub(crate) fn emit(&self, buffer: &mut [u8]) -> usize {
        let mut out = Writer { buffer, at: 0 };
        match *self {
            Self::Stream { stream, offset, end, data } => {
                let kind = if end { kind::STREAM_END } else { kind::STREAM };
                out.stream(kind, stream, offset, data);
            }
            Self::Placed { stream, offset, data } => {
                out.stream(kind::PLACED, stream, offset, data);
            }
            Self::Ping => out.bytes(&[kind::PING]),
            Self::Ack(ack) => {
                out.bytes(&[kind::ACK]);
                out.u64(ack.largest);
                out.u32(ack.delay_us);
                out.u32(ack.credit);
                out.u32(ack.first);
                out.bytes(&[(ack.ranges.len() / ACK_RANGE) as u8]);
                out.bytes(ack.ranges);
            }
            Self::Crypto { offset, data } => {
                out.bytes(&[kind::CRYPTO]);
                out.u32(offset);
                out.data(data);
            }
            Self::PlacedEnd { stream, total } => {
                out.bytes(&[kind::PLACED_END]);
                out.u32(stream);
                out.u64(total);
            }
            Self::MaxData(max) => {
                out.bytes(&[kind::MAX_DATA]);
                out.u64(max);
            }
            Self::MaxStreamData { stream, max } => {
                out.bytes(&[kind::MAX_STREAM_DATA]);
                out.u32(stream);
                out.u64(max);
            }
            Self::MaxStreams(max) => {
                out.bytes(&[kind::MAX_STREAMS]);
                out.u32(max);
            }
            Self::ResetStream { stream, code, total } => {
                out.bytes(&[kind::RESET_STREAM]);
                out.u32(stream);
                out.u32(code);
                out.u64(total);
            }
            Self::StopSending { stream, code } => {
                out.bytes(&[kind::STOP_SENDING]);
                out.u32(stream);
                out.u32(code);
            }
            Self::HandshakeDone => out.bytes(&[kind::HANDSHAKE_DONE]),
            Self::Close { code, reason } => {
                out.bytes(&[kind::CLOSE]);
                out.u32(code);
                out.data(sendable(reason).as_bytes());
            }
        }
        out.at
    }
}

/// Writes an ACK of `ranges` (highest first, disjoint, not adjacent, not empty),
/// as many as fit into `buffer` and 64; its length, 0 where not even one fits.
pub(crate) fn emit_ack(
    mut ranges: impl Iterator<Item = RangeInclusive<u64>>,
    delay_us: u32,
    credit: u32,
    buffer: &mut [u8],
) -> usize {
    let Some(first) = ranges.next() else { return 0 };
    let Some(room) = buffer.len().checked_sub(ACK_HEADER) else { return 0 };
    let room = (room / ACK_RANGE).min(MAX_ACK_RANGES);
    let (mut below, largest) = first.into_inner();
    let shortened = u32::try_from(largest.saturating_sub(below));
    let mut out = Writer { buffer, at: 0 };
    out.bytes(&[kind::ACK]);
    out.u64(largest);
    out.u32(delay_us);
    out.u32(credit);
    out.u32(shortened.unwrap_or(u32::MAX));
    let count_at = out.at;
    out.bytes(&[0]);
    if shortened.is_err() {
        return out.at;
    }
    let mut count = 0;
    for range in ranges.take(room) {
        let (start, end) = range.into_inner();
        let gap = below.checked_sub(end).and_then(|gap| u32::try_from(gap).ok()?.checked_sub(1));
        let length = (end - start).checked_add(1).and_then(|length| u32::try_from(length).ok());
        let (Some(gap @ 1..), Some(length)) = (gap, length) else { break };
        out.u32(gap);
        out.u32(length);
        below = start;
        count += 1;
    }
    out.buffer[count_at] = count;
    out.at
}

/// A STREAM or PLACED frame in front of its data, which is written in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamHeader {
    pub(crate) stream: u32,
    pub(crate) offset: u64,
    pub(crate) length: u16,
}

impl StreamHeader {
    /// Writes the header of a STREAM frame to the first
    /// [`STREAM_HEADER`](Frame::STREAM_HEADER) bytes of `buffer`.
    #[inline]
    pub(crate) fn emit_ordered(self, end: bool, buffer: &mut [u8]) {
        self.emit(if end { kind::STREAM_END } else { kind::STREAM }, buffer);
    }

    /// The same of a PLACED frame.
    #[inline]
    pub(crate) fn emit_placed(self, buffer: &mut [u8]) {
        self.emit(kind::PLACED, buffer);
    }

    #[inline]
    fn emit(self, kind: u8, buffer: &mut [u8]) {
        let mut header = [kind; Frame::STREAM_HEADER];
        header[1..5].copy_from_slice(&self.stream.to_be_bytes());
        header[5..13].copy_from_slice(&self.offset.to_be_bytes());
        header[13..].copy_from_slice(&self.length.to_be_bytes());
        buffer[..Frame::STREAM_HEADER].copy_from_slice(&header);
    }
}

/// As much of a reason as a CLOSE carries.
fn sendable(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline]
    fn stream(&mut self, kind: u8, stream: u32, offset: u64, data: &[u8]) {
        debug_assert!(data.len() <= usize::from(u16::MAX), "longer than any packet");
        StreamHeader { stream, offset, length: data.len() as u16 }.emit(kind, self.buffer);
        self.at = Frame::STREAM_HEADER;
        self.bytes(data);
    }

    #[inline]
    fn data(&mut self, data: &[u8]) {
        debug_assert!(data.len() <= usize::from(u16::MAX), "longer than any packet");
        self.bytes(&(data.len() as u16).to_be_bytes());
        self.bytes(data);
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}
