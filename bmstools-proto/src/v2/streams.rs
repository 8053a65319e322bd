//! Streams: order, placement, flow control, priorities (docs/protocol-v2.md, "Streams").

mod flow;
mod ranges;
mod receive;
mod recv;
mod schedule;
mod send;
#[cfg(test)]
mod tests;
mod transmit;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use self::flow::Incoming;
use self::recv::Recv;
use self::schedule::Schedule;
use self::send::Send;

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
    /// Lowest bit of the streams that this side opens.
    initiator: u32,
    /// Those that are not over.
    streams: BTreeMap<StreamId, Box<Stream>>,
    /// How many this side and the peer have opened.
    opened: u32,
    opened_by_peer: u32,
    /// How many of the peer's are over.
    ended_by_peer: u32,
    /// MAX_STREAMS of the peer and as it was told to the peer.
    peer_max_streams: u32,
    max_streams: u32,
    /// How many the peer may have open at once.
    streams_at_once: u32,
    /// MAX_STREAM_DATA that the peer begins with, and that it is given.
    peer_stream_data: u64,
    stream_data: u64,
    /// Bytes that the application may have under way in one stream.
    send_buffer: u64,
    /// `open` found the limit reached.
    wants_stream: bool,
    /// The peer's MAX_DATA, and what was sent of it.
    peer_max_data: u64,
    sent: u64,
    /// Bytes sent more than once.
    retransmitted: u64,
    incoming: Incoming,
    max_data_due: bool,
    max_streams_due: bool,
    /// Streams with control frames to send.
    control: VecDeque<StreamId>,
    schedule: Schedule,
    /// Streams that wait for the peer's MAX_DATA.
    blocked: Vec<StreamId>,
    events: VecDeque<StreamEvent>,
}

#[derive(Debug)]
struct Stream {
    send: Send,
    recv: Recv,
    priority: u8,
    /// In the schedule, in the list of the blocked, in the queue for control frames.
    scheduled: bool,
    blocked: bool,
    controlled: bool,
    /// Control frames that are due.
    max_due: bool,
    reset_due: bool,
    stop_due: Option<u32>,
    /// The code that the peer was asked to stop with.
    stop_code: u32,
}

impl Streams {
    /// `initiator`: 0 for the side that opened the session, 1 for the other.
    pub(crate) fn new(initiator: u32, config: &super::Config) -> Self {
        Self {
            initiator: initiator & 1,
            streams: BTreeMap::new(),
            opened: 0,
            opened_by_peer: 0,
            ended_by_peer: 0,
            peer_max_streams: 0,
            max_streams: config.max_streams.min(MAX_STREAMS),
            streams_at_once: config.max_streams.min(MAX_STREAMS),
            peer_stream_data: 0,
            stream_data: config.max_stream_data,
            send_buffer: config.send_buffer as u64,
            wants_stream: false,
            peer_max_data: 0,
            sent: 0,
            retransmitted: 0,
            incoming: Incoming::new(config.max_data),
            max_data_due: false,
            max_streams_due: false,
            control: VecDeque::new(),
            schedule: Schedule::default(),
            blocked: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// The limits that came with the handshake; before them nothing is sent.
    pub(crate) fn set_peer_limits(&mut self, limits: PeerLimits) {
        self.peer_stream_data = self.peer_stream_data.max(limits.max_stream_data);
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.with(id, |stream, _| stream.send.raise_max(limits.max_stream_data));
        }
        self.raise_max_data(limits.max_data);
        self.raise_max_streams(limits.max_streams);
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Where the peer allows no more; [`StreamEvent::Available`] follows then.
    pub(crate) fn open(&mut self) -> Result<StreamId, StreamError> {
        if self.opened >= self.peer_max_streams.min(MAX_STREAMS) {
            self.wants_stream = true;
            return Err(StreamError::Limit);
        }
        let id = StreamId(self.opened * 2 + self.initiator);
        self.opened += 1;
        self.insert(id);
        Ok(id)
    }

    fn insert(&mut self, id: StreamId) {
        let stream = Stream::new(self.peer_stream_data, self.stream_data);
        self.streams.insert(id, Box::new(stream));
    }

    /// Higher goes first; equals take turns. 128 by default.
    pub(crate) fn set_priority(&mut self, stream: StreamId, priority: u8) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let old = std::mem::replace(&mut state.priority, priority);
        if state.scheduled && old != priority {
            self.schedule.remove(stream, old);
            self.schedule.push(stream, priority);
        }
    }

    /// Bytes that `write` and `write_at` should still be given.
    pub(crate) fn room(&self, stream: StreamId) -> usize {
        let buffered = self.streams.get(&stream).map_or(u64::MAX, |state| state.send.buffered());
        self.send_buffer.saturating_sub(buffered) as usize
    }

    /// Queues all of `data` (ordered). Kept until acknowledged, without copying.
    ///
    /// # Errors
    ///
    /// Where the direction was finished, given up or stopped, or is a placed one.
    pub(crate) fn write(&mut self, stream: StreamId, data: Bytes) -> Result<(), StreamError> {
        let buffer = self.send_buffer;
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
        let buffer = self.send_buffer;
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
        self.with(stream, |state, session| {
            if state.recv.stop(session) {
                state.stop_due = Some(code);
                state.stop_code = code;
            }
        });
    }

    /// The next chunk: ordered data in as large pieces as are there (frames of one
    /// batch are merged, up to 256 KiB); placed data in blocks of 256 KiB of the file,
    /// or in parts of them where the rest is long in coming or there is none.
    pub(crate) fn read(&mut self, stream: StreamId) -> Option<Chunk> {
        // Whatever changes here concerns nobody before the end.
        let state = self.streams.get_mut(&stream)?;
        let chunk = state.recv.read(&mut self.incoming);
        if matches!(chunk, Some(Chunk::End | Chunk::Reset { .. })) {
            self.settle(stream);
        }
        chunk
    }

    /// The application is done with `bytes` of what it read: the peer may send as many
    /// more. MAX_DATA and MAX_STREAM_DATA go out when a quarter of a window is free.
    /// To be called for everything that was read, streams that are over or stopped
    /// included: otherwise the session's window shrinks for good.
    pub(crate) fn consumed(&mut self, stream: StreamId, bytes: u64) {
        self.incoming.consume(bytes);
        self.max_data_due |= self.incoming.window.is_due();
        self.with(stream, |state, _| state.recv.consume(bytes));
    }

    /// Streams that are not over.
    pub(crate) fn count(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of data that were sent more than once.
    pub(crate) const fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// Changes a stream, and draws the conclusions.
    fn with<R>(
        &mut self,
        stream: StreamId,
        change: impl FnOnce(&mut Stream, &mut Incoming) -> R,
    ) -> Option<R> {
        let state = self.streams.get_mut(&stream)?;
        let result = change(state, &mut self.incoming);
        self.settle(stream);
        Some(result)
    }

    /// Brings queues and events in line with a stream's state, and forgets the stream
    /// where it is over.
    fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        self.max_data_due |= self.incoming.window.is_due();
        if stream.recv.take_readable() {
            self.events.push_back(StreamEvent::Readable(id));
        }
        stream.max_due |= stream.recv.max_is_due();
        let over = stream.send.is_over() && stream.recv.is_over();
        stream.drop_control();
        if stream.has_control() != stream.controlled {
            stream.controlled = !stream.controlled;
            if stream.controlled {
                self.control.push_back(id);
            } else {
                self.control.retain(|other| *other != id);
            }
        }
        let sendable = stream.is_sendable(self.sent < self.peer_max_data);
        if sendable != stream.scheduled {
            stream.scheduled = sendable;
            if sendable {
                self.schedule.push(id, stream.priority);
            } else {
                self.schedule.remove(id, stream.priority);
            }
        }
        if !sendable && stream.send.is_ready() && !stream.blocked {
            stream.blocked = true;
            self.blocked.push(id);
        }
        if over {
            if stream.blocked {
                self.blocked.retain(|other| *other != id);
            }
            self.streams.remove(&id);
            if id.0 & 1 != self.initiator {
                self.ended_by_peer += 1;
                self.check_max_streams();
            }
        }
    }

    /// MAX_STREAMS is due once the peer has used half of what it may.
    fn check_max_streams(&mut self) {
        let used = self.opened_by_peer - self.ended_by_peer;
        let left = self.max_streams - self.opened_by_peer;
        let new = self.ended_by_peer.saturating_add(self.streams_at_once).min(MAX_STREAMS);
        debug_assert!(used <= self.streams_at_once);
        self.max_streams_due |= new > self.max_streams && left <= self.streams_at_once / 2;
    }
}

impl Stream {
    const fn new(peer_max: u64, window: u64) -> Self {
        Self {
            send: Send::new(peer_max),
            recv: Recv::new(window),
            priority: 128,
            scheduled: false,
            blocked: false,
            controlled: false,
            max_due: false,
            reset_due: false,
            stop_due: None,
            stop_code: 0,
        }
    }

    const fn has_control(&self) -> bool {
        self.max_due || self.reset_due || self.stop_due.is_some()
    }

    /// Forgets control frames that are of no use any more.
    fn drop_control(&mut self) {
        self.max_due &= self.recv.wants_more();
        self.reset_due &= self.send.reset_frame().is_some();
        self.stop_due = self.stop_due.filter(|_| self.recv.is_stopped());
    }

    /// Whether there is data to send; `credit`: whether MAX_DATA allows more.
    fn is_sendable(&self, credit: bool) -> bool {
        self.send.is_urgent() || (credit && self.send.is_ready())
    }
}

/// Streams that one side can name.
const MAX_STREAMS: u32 = 1 << 31;
