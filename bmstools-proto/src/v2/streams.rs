//! Streams: order, placement, flow control, priorities (docs/protocol-v2.md, "Streams").

mod flow;
mod ranges;
mod receive;
mod recv;
mod schedule;
mod send;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod transmit;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::flow::Incoming;
use self::session::Session;
use self::stream::Stream;

/// A stream's name within its session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

/// What [`Endpoint::read`](super::Endpoint::read) gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chunk {
    /// Bytes: of an ordered stream the next, of a placed one those of this position.
    Data {
        /// Where they belong.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Everything has been given.
    End,
    /// The peer gave the stream up.
    Reset {
        /// Why, in the application's terms.
        code: u32,
    },
}

/// Why a stream cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// No such stream, or it is over.
    #[error("the stream is closed")]
    Closed,
    /// The peer does not want it.
    #[error("the peer stopped the stream with code {0}")]
    Stopped(u32),
    /// As many streams are open as the peer allows.
    #[error("no stream to be had: the peer's limit is reached")]
    Limit,
    /// Ordered and placed data do not mix in one direction.
    #[error("the stream's data is of the other kind")]
    Kind,
    /// Something was placed there before, or it is beyond the end of numbers.
    #[error("the position cannot be written, or was already")]
    Position,
}

/// What happened to streams, for the endpoint's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StreamEvent {
    /// The peer opened it.
    Opened(StreamId),
    /// There is something to read. Once until it has been read dry.
    Readable(StreamId),
    /// There is room again after `write` had none.
    Writable(StreamId),
    /// Everything up to the end was acknowledged.
    Finished(StreamId),
    /// STOP_SENDING came.
    Stopped(StreamId, u32),
    /// A stream can be opened after `open` had none.
    Available,
}

/// The peer broke a rule: the session is closed with code 1 and this reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Violation(pub(crate) &'static str);

/// The limits that the peer announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerLimits {
    pub(crate) max_data: u64,
    pub(crate) max_stream_data: u64,
    pub(crate) max_streams: u32,
}

/// All streams of a session.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Those that are not over.
    streams: BTreeMap<StreamId, Box<Stream>>,
    session: Session,
}

impl Streams {
    /// `initiator`: 0 for the side that opened the session, 1 for the other.
    pub(crate) fn new(initiator: u32, config: &super::Config) -> Self {
        Self { streams: BTreeMap::new(), session: Session::new(initiator, config) }
    }

    /// The limits that came with the handshake; before them nothing is sent.
    pub(crate) fn set_peer_limits(&mut self, limits: PeerLimits) {
        self.session.peer_stream_data = limits.max_stream_data;
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.with(id, |stream, _| stream.send.raise_max(limits.max_stream_data));
        }
        self.raise_max_data(limits.max_data);
        self.session.raise_max_streams(limits.max_streams);
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.session.events.pop_front()
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Where the peer allows no more; [`StreamEvent::Available`] follows then.
    pub(crate) fn open(&mut self) -> Result<StreamId, StreamError> {
        let id = self.session.open().ok_or(StreamError::Limit)?;
        self.insert(id);
        Ok(id)
    }

    fn insert(&mut self, id: StreamId) {
        self.streams.insert(id, Box::new(self.session.new_stream()));
    }

    /// Higher goes first; equals take turns. 128 by default.
    pub(crate) fn set_priority(&mut self, stream: StreamId, priority: u8) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let old = std::mem::replace(&mut state.priority, priority);
        if state.scheduled && old != priority {
            self.session.schedule.remove(stream, old);
            self.session.schedule.push(stream, priority);
        }
    }

    /// Bytes that `write` and `write_at` should still be given.
    pub(crate) fn room(&self, stream: StreamId) -> usize {
        let buffered = self.streams.get(&stream).map_or(u64::MAX, |state| state.send.buffered());
        self.session.send_buffer.saturating_sub(buffered) as usize
    }

    /// Queues all of `data` (ordered). Kept until acknowledged, without copying.
    ///
    /// # Errors
    ///
    /// Where the direction was finished, given up or stopped, or is a placed one.
    pub(crate) fn write(&mut self, stream: StreamId, data: Bytes) -> Result<(), StreamError> {
        let buffer = self.session.send_buffer;
        self.with(stream, |state, _| state.send.write(data, buffer))
            .unwrap_or(Err(StreamError::Closed))
    }

    /// Queues all of `data` for this position (placed). No position twice. Empty data
    /// makes the direction a placed one.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and where the position is taken.
    pub(crate) fn write_at(
        &mut self,
        stream: StreamId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), StreamError> {
        let buffer = self.session.send_buffer;
        self.with(stream, |state, _| state.send.write_at(offset, data, buffer))
            .unwrap_or(Err(StreamError::Closed))
    }

    /// Ends our direction: a placed one if anything was placed, otherwise an ordered one.
    ///
    /// # Errors
    ///
    /// Where it was ended, given up or stopped before.
    pub(crate) fn finish(&mut self, stream: StreamId) -> Result<(), StreamError> {
        self.with(stream, |state, _| state.send.finish()).unwrap_or(Err(StreamError::Closed))
    }

    /// Gives our direction up: what was not acknowledged is forgotten.
    pub(crate) fn reset(&mut self, stream: StreamId, code: u32) {
        self.with(stream, |state, _| state.reset_due |= state.send.reset(code));
    }

    /// Tells the peer not to send; what was not read and what arrives is thrown away
    /// and credited. What was read is still to be [`consumed`](Self::consumed).
    pub(crate) fn stop(&mut self, stream: StreamId, code: u32) {
        self.with(stream, |state, incoming| {
            if state.recv.stop(incoming) {
                state.stop_due = Some(code);
                state.stop_code = code;
            }
        });
    }

    /// The next chunk: ordered data in as large pieces as are there (frames of one
    /// batch are merged, up to 256 KiB); placed data in blocks of 256 KiB of the file,
    /// or in parts of them where the rest is long in coming or there is none.
    pub(crate) fn read(&mut self, stream: StreamId) -> Option<Chunk> {
        self.with(stream, |state, incoming| state.recv.read(incoming)).flatten()
    }

    /// The application is done with `bytes` of what it read: the peer may send as many
    /// more. MAX_DATA and MAX_STREAM_DATA go out when a quarter of a window is free.
    /// To be called for everything that was read, streams that are over or stopped
    /// included: otherwise the session's window shrinks for good.
    pub(crate) fn consumed(&mut self, stream: StreamId, bytes: u64) {
        self.session.consumed(bytes);
        self.with(stream, |state, _| state.recv.consume(bytes));
    }

    /// Streams that are not over.
    pub(crate) fn count(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of data that were sent more than once.
    pub(crate) const fn retransmitted(&self) -> u64 {
        self.session.retransmitted
    }

    /// Changes a stream, and draws the conclusions.
    fn with<R>(
        &mut self,
        id: StreamId,
        change: impl FnOnce(&mut Stream, &mut Incoming) -> R,
    ) -> Option<R> {
        let stream = self.streams.get_mut(&id)?;
        let result = change(stream, &mut self.session.incoming);
        if self.session.settle(id, stream) {
            self.streams.remove(&id);
        }
        Some(result)
    }
}
