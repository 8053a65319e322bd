//! What tasks tell the hub.

use std::sync::Arc;
use std::time::Duration;

use bmstools_proto::v2::identity::{Identity, PublicKey};
use bmstools_proto::v2::{CloseReason, SessionId, SessionStats, Stats, StreamId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::handle::Target;
use crate::session::Session;
use crate::stream::Halves;

/// A command. One whose addressee is gone is dropped, and with it its reply.
pub(crate) enum Command {
    /// Answer opens so.
    Accept(Option<(Identity, Arc<[PublicKey]>)>),
    /// Open a session.
    Connect { target: Box<Target>, attempt: u64, reply: ConnectReply },
    /// Nobody waits for this attempt any more.
    Abandon(u64),
    /// Tell the counts.
    Stats(oneshot::Sender<Stats>),
    /// Close everything, then break the loop.
    ShutDown { code: u32, reason: &'static str, within: Duration, done: oneshot::Sender<()> },
    /// For a session.
    Session(SessionId, SessionCommand),
    /// For a stream.
    Stream(SessionId, StreamId, StreamCommand),
}

/// Where a session that was asked for goes.
pub(crate) type ConnectReply = oneshot::Sender<Result<Session, CloseReason>>;

impl Command {
    /// Whether the loop is to do it soon. What is not waits for the loop's next turn,
    /// whatever that is for: nothing is sent for it, and nobody waits for it.
    pub(crate) fn is_urgent(&self) -> bool {
        !matches!(self, Self::Stream(_, _, StreamCommand::Priority(_) | StreamCommand::SendDropped))
    }
}

/// A command to a session.
pub(crate) enum SessionCommand {
    /// Open a stream, as soon as the peer allows it.
    Open(oneshot::Sender<Halves>),
    /// Collect what its streams consumed.
    Credit,
    /// Limit what it sends.
    Rate(Option<u64>),
    /// Tell the counts.
    Stats(oneshot::Sender<SessionStats>),
    /// Say goodbye.
    Close { code: u32, reason: String },
}

/// A command to a stream.
pub(crate) enum StreamCommand {
    /// Ordered data.
    Write(Bytes),
    /// Placed data.
    Place(u64, Bytes),
    /// Ordered data, behind which nothing follows.
    Last(Bytes),
    /// Nothing follows.
    Finish,
    /// Give our direction up.
    Reset(u32),
    /// Send this sooner or later than others.
    Priority(u8),
    /// Collect what was consumed.
    Credit,
    /// Send no more.
    Stop(u32),
    /// Nobody writes any more.
    SendDropped,
    /// Nobody reads any more.
    RecvDropped,
}
