//! What an endpoint is asked for and what it tells.

use std::time::Duration;

use bmstools_common::ethernet::Peer;
use bmstools_common::maps::SessionKey;

use super::super::identity::{Identity, PublicKey};
use super::super::streams::StreamId;

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
    /// More packets did not open than the cipher can bear (RFC 9001, section 6.6).
    #[error("too many packets did not open: the session's keys are used up")]
    KeysUsedUp,
    /// The network interface failed, or has no room for the session.
    #[error("the network interface failed: {0}")]
    Link(String),
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
    /// Bytes of the streams' data that were sent more than once.
    pub retransmitted: u64,
    /// Bytes that may be under way.
    pub window: u64,
    /// Key updates.
    pub key_updates: u64,
}
