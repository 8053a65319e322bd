//! Version 2 sessions as asynchronous streams.
//!
//! A [`Hub`] is the frame loop's side: it owns the [`Endpoint`] and is called by
//! whatever implements [`bmstools_link::Handler`] (the agent's server, the operator's
//! driver thread). Everybody else holds a [`Session`] and opens or accepts streams on
//! it from tokio tasks. Nothing on the loop's side blocks or waits.
//!
//! Signatures first.
//! message.rs):

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_link::{Outgoing, Port, Waker};
use bmstools_proto::v2::identity::{Identity, PublicKey};
use bmstools_proto::v2::{CloseReason, Config, SessionStats, Stats};
use bytes::Bytes;

/// The frame loop's side.
pub struct Hub {}

/// Everybody else's side of a hub. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

/// Ports of one interface (a session may come by any of a bond's slaves).
pub type Groups = Vec<Range<usize>>;

#[allow(unused_variables, clippy::unused_self, clippy::missing_errors_doc, reason = "skeleton")]
impl Hub {
    /// A hub without sessions.
    pub fn new(
        config: Config,
        groups: Groups,
        waker: Waker,
        seed: [u8; 32],
        now: Instant,
    ) -> (Self, Handle) {
        todo!()
    }
    pub fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {}
    pub fn turn(&mut self, now: Instant, ports: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        todo!()
    }
    pub fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        todo!()
    }
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
}

/// How to open a session (see [`bmstools_proto::v2::Connect`]); the session key is
/// chosen and claimed by the caller.
#[derive(Clone, Debug)]
pub struct Target {
    pub peer: Peer,
    pub port: usize,
    pub mtu: usize,
    pub key: u16,
    pub identity: Identity,
    pub expected: PublicKey,
}

#[allow(unused_variables, clippy::unused_self, clippy::missing_errors_doc, reason = "skeleton")]
impl Handle {
    /// Answers opens as `identity` for holders of `authorized` keys.
    pub fn accept_with(&self, identity: Option<(Identity, Arc<[PublicKey]>)>) {}
    /// The next session that a peer opened and that is established. `None` once the
    /// hub is gone.
    pub async fn accept(&self) -> Option<Session> {
        todo!()
    }
    /// Opens a session; ready once established.
    pub async fn connect(&self, target: Target) -> Result<Session, CloseReason> {
        todo!()
    }
    /// Closes every session (code 2, "the agent is ending"), accepts no more, and makes
    /// `Hub::turn` break once all are drained or `within` has passed.
    pub async fn shut_down(&self, within: Duration) {}
    pub async fn stats(&self) -> Stats {
        todo!()
    }
    pub fn session_count(&self) -> usize {
        todo!()
    }
}

/// One session. Cheap to clone. Dropping the last clone of one, streams included,
/// closes it (code 0).
#[derive(Clone)]
pub struct Session {}

#[allow(unused_variables, clippy::unused_self, clippy::missing_errors_doc, reason = "skeleton")]
impl Session {
    pub fn peer(&self) -> Peer {
        todo!()
    }
    pub fn peer_key(&self) -> &PublicKey {
        todo!()
    }
    pub fn peer_software(&self) -> &str {
        todo!()
    }
    /// Waits while the peer's limit is reached.
    pub async fn open_stream(&self) -> Result<(SendStream, RecvStream), SessionError> {
        todo!()
    }
    /// The next stream that the peer opened, in order.
    pub async fn accept_stream(&self) -> Result<(SendStream, RecvStream), SessionError> {
        todo!()
    }
    /// The peer's stream of this number (named in a message), whether it has been
    /// opened yet or not. Taken so, `accept_stream` does not give it.
    pub async fn take_stream(&self, id: u32) -> Result<(SendStream, RecvStream), SessionError> {
        todo!()
    }
    pub async fn stats(&self) -> Option<SessionStats> {
        todo!()
    }
    /// Limits what this session sends.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {}
    /// Says goodbye; ready when the peer has confirmed or does not answer.
    pub async fn close(&self, code: u32, reason: &str) {}
    /// Ready when the session is over.
    pub async fn closed(&self) -> CloseReason {
        todo!()
    }
}

/// Why a session or stream failed under somebody's hands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    #[error("the session ended: {0}")]
    Ended(CloseReason),
    #[error("the peer gave the stream up (code {0})")]
    Reset(u32),
    #[error("the peer stopped the stream (code {0})")]
    Stopped(u32),
    #[error("the stream ended before the message did")]
    Truncated,
    #[error("a malformed message: {0}")]
    Malformed(String),
}

/// Our direction of a stream. Dropped unfinished, it is reset with code 0.
pub struct SendStream {}

#[allow(unused_variables, clippy::unused_self, clippy::missing_errors_doc, reason = "skeleton")]
impl SendStream {
    pub fn id(&self) -> u32 {
        todo!()
    }
    /// Higher goes first; 128 by default.
    pub fn set_priority(&self, priority: u8) {}
    /// Ready when there is room for it; not when it has arrived. Cancel-safe: either
    /// all of `data` is queued or nothing.
    pub async fn write(&mut self, data: Bytes) -> Result<(), SessionError> {
        todo!()
    }
    /// The same for a placed stream.
    pub async fn write_at(&mut self, offset: u64, data: Bytes) -> Result<(), SessionError> {
        todo!()
    }
    /// One message: length and CBOR.
    pub async fn send<M: minicbor::Encode<()>>(&mut self, message: &M) -> Result<(), SessionError> {
        todo!()
    }
    /// Ends the direction; what was written still arrives.
    pub fn finish(&mut self) {}
    /// Ready when everything up to the end was acknowledged, or the stream failed.
    pub async fn acknowledged(&mut self) -> Result<(), SessionError> {
        todo!()
    }
    pub fn reset(&mut self, code: u32) {}
    /// Ready when the peer stops the stream or the session ends.
    pub async fn stopped(&mut self) -> SessionError {
        todo!()
    }
}

/// The peer's direction of a stream. Dropped unread, the peer is told to stop (code 0).
pub struct RecvStream {}

#[allow(unused_variables, clippy::unused_self, clippy::missing_errors_doc, reason = "skeleton")]
impl RecvStream {
    pub fn id(&self) -> u32 {
        todo!()
    }
    /// The next bytes of an ordered stream; `None` at its end. Cancel-safe. What is
    /// returned counts as consumed.
    pub async fn read(&mut self) -> Result<Option<Bytes>, SessionError> {
        todo!()
    }
    /// The next block of a placed stream with its position; `None` when everything has
    /// come. Cancel-safe. NOT consumed until [`consumed`](Self::consumed) says so, so
    /// that a slow disk holds the sender back.
    pub async fn read_placed(&mut self) -> Result<Option<(u64, Bytes)>, SessionError> {
        todo!()
    }
    pub fn consumed(&self, bytes: u64) {}
    /// The next message; `None` where the stream ends in front of one. Cancel-safe.
    pub async fn receive<M: for<'b> minicbor::Decode<'b, ()>>(
        &mut self,
    ) -> Result<Option<M>, SessionError> {
        todo!()
    }
    pub fn stop(&mut self, code: u32) {}
}
