//! Streams: order, placement, flow control, priorities (docs/protocol-v2.md, "Streams").
//!
//! Signatures first.

use bytes::Bytes;

use super::frame::Frame;
use super::recovery::{Content, Contents};

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
pub(crate) struct Streams {}

impl Streams {
    /// `initiator`: 0 for the side that opened the session, 1 for the other.
    pub(crate) fn new(_initiator: u32, _config: &super::Config) -> Self {
        todo!()
    }

    pub(crate) fn set_peer_limits(&mut self, _limits: PeerLimits) {
        todo!()
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        todo!()
    }

    // ---- the application ----

    pub(crate) fn open(&mut self) -> Result<StreamId, StreamError> {
        todo!()
    }
    /// Higher goes first; equals take turns. 128 by default.
    pub(crate) fn set_priority(&mut self, _stream: StreamId, _priority: u8) {
        todo!()
    }
    /// Bytes that `write` and `write_at` will still take.
    pub(crate) fn room(&self, _stream: StreamId) -> usize {
        todo!()
    }
    /// Queues all of `data` (ordered). Kept until acknowledged, without copying.
    pub(crate) fn write(&mut self, _stream: StreamId, _data: Bytes) -> Result<(), StreamError> {
        todo!()
    }
    /// Queues all of `data` for this position (placed). No position twice.
    pub(crate) fn write_at(
        &mut self,
        _stream: StreamId,
        _offset: u64,
        _data: Bytes,
    ) -> Result<(), StreamError> {
        todo!()
    }
    /// Ends our direction (ordered, or placed if anything was placed or `placed`).
    pub(crate) fn finish(&mut self, _stream: StreamId) -> Result<(), StreamError> {
        todo!()
    }
    pub(crate) fn reset(&mut self, _stream: StreamId, _code: u32) {
        todo!()
    }
    /// Tells the peer not to send; what arrives is thrown away and credited.
    pub(crate) fn stop(&mut self, _stream: StreamId, _code: u32) {
        todo!()
    }
    /// The next chunk: ordered data in as large pieces as are there (frames of one
    /// batch are merged, up to 256 KiB), placed data in blocks of 256 KiB of the file
    /// where complete, and otherwise merged as they are when `flush` asks for them.
    pub(crate) fn read(&mut self, _stream: StreamId) -> Option<Chunk> {
        todo!()
    }
    /// The application is done with `bytes` of what it read: the peer may send as many
    /// more. MAX_DATA and MAX_STREAM_DATA go out when half a window is free.
    pub(crate) fn consumed(&mut self, _stream: StreamId, _bytes: u64) {
        todo!()
    }

    // ---- the connection ----

    /// Takes a STREAM, PLACED, PLACED_END, MAX_*, RESET_STREAM or STOP_SENDING frame.
    pub(crate) fn receive(&mut self, _frame: &Frame<'_>) -> Result<(), Violation> {
        todo!()
    }
    /// Whether there is a frame to send within the peer's limits.
    pub(crate) fn wants_transmit(&self) -> bool {
        todo!()
    }
    /// Writes as many frames as fit into `buffer`, control frames first, then the data
    /// of the streams by priority, retransmissions before new data; notes each in
    /// `contents`. Returns the bytes written.
    pub(crate) fn emit(&mut self, _buffer: &mut [u8], _contents: &mut Contents) -> usize {
        todo!()
    }
    pub(crate) fn acknowledged(&mut self, _content: Content) {
        todo!()
    }
    pub(crate) fn lost(&mut self, _content: Content) {
        todo!()
    }
    /// Streams that are not over.
    pub(crate) fn count(&self) -> usize {
        todo!()
    }
}
