//! One stream's direction from us to the peer.

mod ordered;
mod placed;

use std::ops::Range;

use bytes::Bytes;

use self::ordered::Ordered;
use self::placed::Placed;
use super::super::frame::{Frame, StreamHeader};
use super::super::recovery::Content;
use super::{StreamError, StreamId};

/// What is sent, and how far it got.
#[derive(Debug)]
pub(super) struct Send {
    data: Data,
    state: State,
    /// The peer's MAX_STREAM_DATA.
    max: u64,
    /// STOP_SENDING came with this code.
    stopped: Option<u32>,
    /// `write` found no room left; nobody was told of new room since.
    full: bool,
}

#[derive(Debug)]
enum Data {
    None,
    Ordered(Ordered),
    Placed(Placed),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// More may be written.
    Open,
    /// Nothing more will be written.
    Finished { end: End },
    /// Everything was acknowledged, or nobody cares.
    Over,
    /// Given up; the peer must hear of it.
    Reset { code: u32, total: u64 },
}

/// The frame that ends the direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Due,
    Sent,
    Acknowledged,
}

/// A frame that was written.
pub(super) struct Emitted {
    pub(super) length: usize,
    pub(super) content: Content,
    /// Bytes sent for the first time.
    pub(super) fresh: u64,
    /// Bytes sent again.
    pub(super) again: u64,
}

impl Send {
    pub(super) const fn new(max: u64) -> Self {
        Self { data: Data::None, state: State::Open, max, stopped: None, full: false }
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Bytes written and not acknowledged.
    pub(super) fn buffered(&self) -> u64 {
        match &self.data {
            Data::None => 0,
            Data::Ordered(data) => data.buffered(),
            Data::Placed(data) => data.buffered(),
        }
    }

    fn unsent(&self) -> u64 {
        match &self.data {
            Data::None => 0,
            Data::Ordered(data) => data.unsent(),
            Data::Placed(data) => data.unsent(),
        }
    }

    /// What was sent, as MAX_STREAM_DATA counts.
    fn sent(&self) -> u64 {
        match &self.data {
            Data::None => 0,
            Data::Ordered(data) => data.sent(),
            Data::Placed(data) => data.sent(),
        }
    }

    fn has_lost(&self) -> bool {
        match &self.data {
            Data::None => false,
            Data::Ordered(data) => data.has_lost(),
            Data::Placed(data) => data.has_lost(),
        }
    }

    fn check_open(&self) -> Result<(), StreamError> {
        match (self.stopped, self.state) {
            (Some(code), _) => Err(StreamError::Stopped(code)),
            (None, State::Open) => Ok(()),
            _ => Err(StreamError::Closed),
        }
    }

    pub(super) fn write(&mut self, data: Bytes, buffer: u64) -> Result<(), StreamError> {
        self.check_open()?;
        if matches!(self.data, Data::None) {
            self.data = Data::Ordered(Ordered::default());
        }
        let Data::Ordered(ordered) = &mut self.data else { return Err(StreamError::Kind) };
        ordered.write(data);
        self.full |= self.buffered() >= buffer;
        Ok(())
    }

    pub(super) fn write_at(
        &mut self,
        offset: u64,
        data: Bytes,
        buffer: u64,
    ) -> Result<(), StreamError> {
        self.check_open()?;
        if matches!(self.data, Data::None) {
            self.data = Data::Placed(Placed::default());
        }
        let Data::Placed(placed) = &mut self.data else { return Err(StreamError::Kind) };
        if !placed.write(offset, data) {
            return Err(StreamError::Position);
        }
        self.full |= self.buffered() >= buffer;
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), StreamError> {
        self.check_open()?;
        if matches!(self.data, Data::None) {
            self.data = Data::Ordered(Ordered::default());
        }
        self.state = State::Finished { end: End::Due };
        Ok(())
    }

    /// Gives the direction up; whether the peer must hear of it.
    pub(super) fn reset(&mut self, code: u32) -> bool {
        if matches!(self.state, State::Over | State::Reset { .. }) {
            return false;
        }
        self.state = State::Reset { code, total: self.sent() };
        self.data = Data::None;
        self.full = false;
        true
    }

    /// STOP_SENDING came; whether it is of interest.
    pub(super) fn stop(&mut self, code: u32) -> bool {
        if self.stopped.is_some() || matches!(self.state, State::Over | State::Reset { .. }) {
            return false;
        }
        self.stopped = Some(code);
        true
    }

    /// RESET_STREAM's code and total, where one must be sent.
    pub(super) const fn reset_frame(&self) -> Option<(u32, u64)> {
        match self.state {
            State::Reset { code, total } => Some((code, total)),
            _ => None,
        }
    }

    pub(super) const fn reset_acknowledged(&mut self) {
        if matches!(self.state, State::Reset { .. }) {
            self.state = State::Over;
        }
    }

    /// The peer's MAX_STREAM_DATA, which never shrinks.
    pub(super) fn raise_max(&mut self, max: u64) {
        self.max = self.max.max(max);
    }

    /// Whether there is something to send that MAX_DATA does not hold up.
    pub(super) fn is_urgent(&self) -> bool {
        self.has_lost() || (self.end_is_due() && self.unsent() == 0)
    }

    /// Whether there is something to send within the stream's own limit.
    pub(super) fn is_ready(&self) -> bool {
        self.is_urgent() || (self.unsent() > 0 && self.sent() < self.max)
    }

    const fn end_is_due(&self) -> bool {
        matches!(self.state, State::Finished { end: End::Due })
    }

    /// Writes one frame into `buffer`, with up to `credit` bytes that were not sent
    /// before. `None` where there is nothing to send or too little room.
    #[inline]
    pub(super) fn emit(
        &mut self,
        stream: StreamId,
        credit: u64,
        buffer: &mut [u8],
    ) -> Option<Emitted> {
        let room = buffer.len().checked_sub(Frame::STREAM_HEADER)?.min(usize::from(u16::MAX));
        let (header, out) = buffer.split_at_mut(Frame::STREAM_HEADER);
        let out = &mut out[..room];
        let credit = credit.min(self.max.saturating_sub(self.sent()));
        let end_is_due = self.end_is_due();
        match &mut self.data {
            Data::None => None,
            Data::Ordered(data) => {
                let (range, again) = if data.has_lost() && room >= MIN_DATA {
                    (data.resend(out)?, true)
                } else {
                    let next = data.unsent().min(credit);
                    if next > room as u64 && room < MIN_DATA {
                        return None;
                    }
                    if next == 0 && !(end_is_due && data.unsent() == 0) {
                        return None;
                    }
                    (data.send(credit, out), false)
                };
                // Data sent again carries the end as well where it reaches it.
                let end = matches!(self.state, State::Finished { .. })
                    && range.end == data.written()
                    && data.unsent() == 0;
                if end && end_is_due {
                    self.state = State::Finished { end: End::Sent };
                }
                let length = (range.end - range.start) as u16;
                StreamHeader { stream: stream.0, offset: range.start, length }
                    .emit_ordered(end, header);
                let content = Content::Stream { stream, offset: range.start, len: length, end };
                Some(Emitted::new(Frame::STREAM_HEADER, length, content, again))
            }
            Data::Placed(data) => {
                let (range, again) = if data.has_lost() && room >= MIN_DATA {
                    (data.resend(out)?, true)
                } else if data.unsent() > 0 {
                    if credit == 0 || room < MIN_DATA {
                        return None;
                    }
                    (data.send(credit, out)?, false)
                } else {
                    if !end_is_due {
                        return None;
                    }
                    let frame = Frame::PlacedEnd { stream: stream.0, total: data.written() };
                    if buffer.len() < frame.len() {
                        return None;
                    }
                    let length = frame.emit(buffer);
                    self.state = State::Finished { end: End::Sent };
                    return Some(Emitted::new(length, 0, Content::PlacedEnd { stream }, false));
                };
                let length = (range.end - range.start) as u16;
                StreamHeader { stream: stream.0, offset: range.start, length }.emit_placed(header);
                let content = Content::Placed { stream, offset: range.start, len: length };
                Some(Emitted::new(Frame::STREAM_HEADER, length, content, again))
            }
        }
    }

    /// Whether the direction came to its end with this, which is not placed data.
    pub(super) fn acknowledge(&mut self, content: Content) -> bool {
        match (content, &mut self.data) {
            (Content::Stream { offset, len, end, .. }, Data::Ordered(data)) => {
                data.acknowledge(offset..offset + u64::from(len));
                self.end_acknowledged(end);
            }
            (Content::PlacedEnd { .. }, Data::Placed(_)) => self.end_acknowledged(true),
            _ => return false,
        }
        self.ends()
    }

    /// Whether the direction came to its end with these bytes.
    pub(super) fn placed_acknowledged(&mut self, range: Range<u64>) -> bool {
        let Data::Placed(data) = &mut self.data else { return false };
        data.acknowledge(range);
        self.ends()
    }

    fn ends(&mut self) -> bool {
        let all = match &self.data {
            Data::None => false,
            Data::Ordered(data) => data.all_acknowledged(),
            Data::Placed(data) => data.all_acknowledged(),
        };
        let ends = all && self.state == (State::Finished { end: End::Acknowledged });
        if ends {
            self.state = State::Over;
            self.data = Data::None;
        }
        ends
    }

    fn end_acknowledged(&mut self, end: bool) {
        if end && matches!(self.state, State::Finished { .. }) {
            self.state = State::Finished { end: End::Acknowledged };
        }
    }

    pub(super) fn lose(&mut self, content: Content) {
        let end_lost = match (content, &mut self.data) {
            (Content::Stream { offset, len, end, .. }, Data::Ordered(data)) => {
                data.lose(offset..offset + u64::from(len));
                end
            }
            (Content::Placed { offset, len, .. }, Data::Placed(data)) => {
                data.lose(offset..offset + u64::from(len));
                false
            }
            (Content::PlacedEnd { .. }, Data::Placed(_)) => true,
            _ => false,
        };
        if end_lost && self.state == (State::Finished { end: End::Sent }) {
            self.state = State::Finished { end: End::Due };
        }
    }

    /// Whether the application should be told that there is room again.
    pub(super) fn take_writable(&mut self, buffer: u64) -> bool {
        let writable = self.full && self.state == State::Open && self.buffered() <= buffer / 2;
        self.full &= !writable;
        writable
    }
}

impl Emitted {
    fn new(header: usize, length: u16, content: Content, again: bool) -> Self {
        let bytes = u64::from(length);
        let (fresh, again) = if again { (0, bytes) } else { (bytes, 0) };
        Self { length: header + usize::from(length), content, fresh, again }
    }
}

/// Data that is cut goes into frames of no less: more would be header than data.
const MIN_DATA: usize = 64;
