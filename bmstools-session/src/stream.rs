//! Both directions of a stream.

mod core;
mod recv;
mod send;

pub(crate) use self::core::{End, StreamCore, cost};
pub(crate) use self::recv::RecvHalf;
pub use self::recv::RecvStream;
pub(crate) use self::send::SendHalf;
pub use self::send::SendStream;

use std::sync::Arc;

use crate::session::Alive;

/// A stream in nobody's hands yet. Dropped so, it is reset and stopped.
pub(crate) struct Halves {
    send: SendHalf,
    recv: RecvHalf,
}

impl Halves {
    pub(crate) fn new(core: Arc<StreamCore>) -> Self {
        Self { send: SendHalf::new(core.clone()), recv: RecvHalf::new(core) }
    }

    /// Puts it into somebody's hands: they keep the session.
    pub(crate) fn into_streams(self, session: &Arc<Alive>) -> (SendStream, RecvStream) {
        let send = SendStream::new(self.send, session.clone());
        let recv = RecvStream::new(self.recv, session.clone());
        (send, recv)
    }
}
