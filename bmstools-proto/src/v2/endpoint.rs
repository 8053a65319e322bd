//! Signatures first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::maps::SessionKey;
use bytes::Bytes;

use super::config::Config;
use super::identity::{Identity, PublicKey};
use super::streams::{Chunk, StreamError, StreamId};

/// A session's name within its endpoint, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// How to open a session.
#[derive(Clone, Debug)]
pub struct Connect {
    /// With whom.
    pub peer: Peer,
    /// Through which port.
    pub port: usize,
    /// Bytes behind the Ethernet header that this port carries at most.
    pub mtu: usize,
    /// This side's session key: nobody else on the interface may use it.
    pub key: u16,
    /// Who this side is.
    pub identity: Identity,
    /// Whom the other side must prove to be.
    pub expected: PublicKey,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed")]
    Local,
    /// The peer closed it.
    #[error("the peer closed the session{}{reason} (code {code})", if reason.is_empty() { "" } else { ": " })]
    Peer { code: u32, reason: String },
    /// Nothing answered the open.
    #[error("no answer within {0:.1?}")]
    NoAnswer(Duration),
    /// The peer does not answer any more.
    #[error("nothing was heard for {0:.1?}")]
    Lost(Duration),
    /// Nothing happened for the idle timeout.
    #[error("idle")]
    Idle,
    /// The peer's key is not the one expected.
    #[error("the agent's key is {actual}, but {expected} was expected")]
    WrongKey { actual: String, expected: String },
    /// The agent does not trust this side's key.
    #[error("the agent does not accept the key {0}")]
    NotAuthorized(String),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(String),
    /// The handshake failed.
    #[error("the handshake failed: {0}")]
    Handshake(String),
}

/// What the endpoint's owner must know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A session began: its frames must be let through by every port of this
    /// interface before the next call of `poll_transmit`. `accepted`: the peer opened it.
    Begun { session: SessionId, key: SessionKey, peer: Peer, port: usize, accepted: bool },
    /// Both sides have proven who they are.
    Established { session: SessionId, peer_key: PublicKey, peer_software: String },
    /// The peer opened a stream.
    StreamOpened { session: SessionId, stream: StreamId },
    /// [`Endpoint::read`] has something. Once until it has been read dry.
    Readable { session: SessionId, stream: StreamId },
    /// [`Endpoint::room`] has grown after it was used up.
    Writable { session: SessionId, stream: StreamId },
    /// Everything up to the end of our direction was acknowledged.
    Finished { session: SessionId, stream: StreamId },
    /// The peer does not want what we send.
    Stopped { session: SessionId, stream: StreamId, code: u32 },
    /// A stream can be opened after [`StreamError::Limit`].
    StreamsAvailable { session: SessionId },
    /// The session is over; its streams are gone. Once a session that has begun.
    Closed { session: SessionId, reason: CloseReason },
    /// Nothing is sent or taken for this session any more: its key may go from the
    /// ports of this interface.
    Drained { session: SessionId, key: SessionKey, port: usize },
}

/// Counts of an endpoint, all sessions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames taken.
    pub received: u64,
    /// Frames of no session, or malformed.
    pub refused: u64,
    /// Frames whose seal did not open.
    pub unsealed: u64,
    /// Packet numbers seen before.
    pub replayed: u64,
    /// Opens without a good cookie.
    pub cookies_asked: u64,
    /// Opens beyond a limit.
    pub opens_refused: u64,
    /// Handshakes begun by peers.
    pub handshakes: u64,
    /// Handshakes that failed, wrong keys included.
    pub handshakes_failed: u64,
    /// Sessions established.
    pub established: u64,
    /// Frames sent.
    pub sent: u64,
    /// Packets found lost, whose contents were sent again.
    pub lost: u64,
    /// Key updates.
    pub key_updates: u64,
}

/// Counts of one session.
#[derive(Clone, Debug, Default)]
pub struct SessionStats {
    /// Smoothed, smallest and latest round-trip time.
    pub rtt: Option<(Duration, Duration, Duration)>,
    /// Bytes behind the Ethernet header that a frame carries at present.
    pub frame_size: usize,
    /// Frames sent and received.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Packets found lost.
    pub lost: u64,
    /// Bytes that may be under way.
    pub window: u64,
    /// Key updates.
    pub key_updates: u64,
}

/// Either side of any number of sessions.
///
/// Frames, time and commands go in; frames, events and the next timeout come out.
/// Calls that may change what the polls return: every `handle_*` and every command.
/// Commands to sessions and streams that are gone do nothing or say so.
pub struct Endpoint {}

#[allow(unused_variables, clippy::unused_self, clippy::missing_errors_doc, reason = "skeleton")]
impl Endpoint {
    /// An endpoint without sessions. `seed` makes keys, nonces and cookies
    /// unpredictable.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        todo!()
    }
    /// Answers opens from here on as `identity` where the peer holds one of
    /// `authorized`; `None` answers none. Sessions that there are stay.
    pub fn accept(&mut self, identity: Option<(Identity, Arc<[PublicKey]>)>) {}
    /// Opens a session. [`Event::Begun`] follows, then [`Event::Established`] or
    /// [`Event::Closed`].
    pub fn connect(&mut self, now: Instant, connect: Connect) -> SessionId {
        todo!()
    }
    /// Takes a frame, from its bmstools header on. Bad frames are counted and change
    /// nothing.
    pub fn handle_frame(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {}
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {}
    /// When [`handle_timeout`](Self::handle_timeout) must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    /// What the owner must do next. Poll it dry after a batch of frames, not after
    /// each: what can be merged is.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Writes the next frame to send through `port` into `buffer` (the port's MTU).
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        port: usize,
        buffer: &mut [u8],
    ) -> Option<(Peer, usize)> {
        todo!()
    }
    /// Closes a session. [`Event::Drained`] follows.
    pub fn close(&mut self, now: Instant, session: SessionId, code: u32, reason: &str) {}
    /// Opens a stream.
    pub fn open_stream(&mut self, session: SessionId) -> Result<StreamId, StreamError> {
        todo!()
    }
    /// Higher goes first; equals take turns. 128 by default.
    pub fn set_priority(&mut self, session: SessionId, stream: StreamId, priority: u8) {}
    /// Limits what a session sends, in bytes a second.
    pub fn set_rate(&mut self, session: SessionId, bytes_per_second: Option<u64>) {}
    /// Bytes that this stream takes before its buffer is full. Writing more is
    /// possible, but nobody should.
    pub fn room(&self, session: SessionId, stream: StreamId) -> usize {
        todo!()
    }
    /// Queues all of `data`.
    pub fn write(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        data: Bytes,
    ) -> Result<(), StreamError> {
        todo!()
    }
    /// Queues all of `data` for this position: the stream is a placed one.
    pub fn write_at(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), StreamError> {
        todo!()
    }
    /// Ends our direction of a stream.
    pub fn finish(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        todo!()
    }
    /// Gives our direction of a stream up.
    pub fn reset(&mut self, now: Instant, session: SessionId, stream: StreamId, code: u32) {}
    /// Tells the peer to send no more on a stream.
    pub fn stop(&mut self, now: Instant, session: SessionId, stream: StreamId, code: u32) {}
    /// The next chunk of a stream, `None` where there is none yet.
    pub fn read(&mut self, session: SessionId, stream: StreamId) -> Option<Chunk> {
        todo!()
    }
    /// The application is done with so many bytes of what it read: the peer may send
    /// as many more.
    pub fn consumed(&mut self, now: Instant, session: SessionId, stream: StreamId, bytes: u64) {}
    /// Counts of all sessions.
    pub fn stats(&self) -> Stats {
        todo!()
    }
    /// Counts of one.
    pub fn session_stats(&self, session: SessionId) -> Option<SessionStats> {
        todo!()
    }
    /// Sessions that are established or in their handshake.
    pub fn session_count(&self) -> usize {
        todo!()
    }
}
