//! Bytes to frames.

use super::{ACK_RANGE, Ack, Frame, MAX_ACK_RANGES, MAX_REASON, Malformed, gap_and_length, kind};

/// The frames of a packet's plaintext, up to its padding. Ends after an error.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    pub(crate) const fn new(plaintext: &'a [u8]) -> Self {
        Self(plaintext)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.0.split_first()?;
        self.0 = &[];
        if kind == kind::PADDING {
            // Without an early exit, so that many bytes are looked at in one step.
            let zero = rest.iter().fold(0, |all, byte| all | byte) == 0;
            return (!zero).then_some(Err(Malformed));
        }
        let mut reader = Reader(rest);
        let frame = reader.frame(kind).ok_or(Malformed);
        if frame.is_ok() {
            self.0 = reader.0;
        }
        Some(frame)
    }
}

/// What is left of a packet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn frame(&mut self, kind: u8) -> Option<Frame<'a>> {
        Some(match kind {
            kind::PING => Frame::Ping,
            kind::ACK => Frame::Ack(self.ack()?),
            kind::CRYPTO => {
                let offset = self.u32()?;
                let data = self.data()?;
                offset.checked_add(u32::try_from(data.len()).ok()?)?;
                Frame::Crypto { offset, data }
            }
            kind::STREAM | kind::STREAM_END => {
                let (stream, offset, data) = self.stream()?;
                Frame::Stream { stream, offset, end: kind == kind::STREAM_END, data }
            }
            kind::PLACED => {
                let (stream, offset, data) = self.stream()?;
                Frame::Placed { stream, offset, data }
            }
            kind::PLACED_END => Frame::PlacedEnd { stream: self.u32()?, total: self.u64()? },
            kind::MAX_DATA => Frame::MaxData(self.u64()?),
            kind::MAX_STREAM_DATA => Frame::MaxStreamData { stream: self.u32()?, max: self.u64()? },
            kind::MAX_STREAMS => Frame::MaxStreams(self.u32()?),
            kind::RESET_STREAM => {
                Frame::ResetStream { stream: self.u32()?, code: self.u32()?, total: self.u64()? }
            }
            kind::STOP_SENDING => Frame::StopSending { stream: self.u32()?, code: self.u32()? },
            kind::HANDSHAKE_DONE => Frame::HandshakeDone,
            kind::CLOSE => {
                let code = self.u32()?;
                let reason = self.data()?;
                if reason.len() > MAX_REASON {
                    return None;
                }
                Frame::Close { code, reason: std::str::from_utf8(reason).ok()? }
            }
            _ => return None,
        })
    }

    #[inline]
    fn stream(&mut self) -> Option<(u32, u64, &'a [u8])> {
        let stream = self.u32()?;
        let offset = self.u64()?;
        let data = self.data()?;
        offset.checked_add(data.len() as u64)?;
        Some((stream, offset, data))
    }

    fn ack(&mut self) -> Option<Ack<'a>> {
        let largest = self.u64()?;
        let delay_us = self.u32()?;
        let credit = self.u32()?;
        let first = self.u32()?;
        let [count] = self.array()?;
        if usize::from(count) > MAX_ACK_RANGES {
            return None;
        }
        let ranges = self.take(usize::from(count) * ACK_RANGE)?;
        let mut below = largest.checked_sub(u64::from(first))?;
        for &pair in ranges.as_chunks().0 {
            let (gap, length) = gap_and_length(pair);
            if gap == 0 || length == 0 {
                return None;
            }
            below = below.checked_sub(gap + length)?;
        }
        Some(Ack { largest, delay_us, credit, first, ranges })
    }

    /// A u16 and as many bytes.
    #[inline]
    fn data(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    #[inline]
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}
