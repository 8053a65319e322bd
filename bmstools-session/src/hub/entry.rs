//! What the hub keeps of a session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bmstools_common::ethernet::Peer;
use bmstools_proto::v2::{CloseReason, StreamId};
use tokio::sync::oneshot;

use crate::command::ConnectReply;
use crate::flow::Consumed;
use crate::session::Shared;
use crate::stream::{Halves, StreamCore};

/// A session from its beginning until it is drained.
pub(super) struct Entry {
    pub(super) peer: Peer,
    pub(super) is_accepted: bool,
    /// Whether the endpoint has it: one that it could not even open is never drained.
    pub(super) has_begun: bool,
    /// Whether everybody has been told that it is over.
    pub(super) is_over: bool,
    /// Who waits for it to be established.
    pub(super) awaited: Option<(u64, ConnectReply)>,
    /// Why the hub itself closed it.
    pub(super) failure: Option<CloseReason>,
    /// Since it is established.
    pub(super) live: Option<Live>,
}

/// An established session.
pub(super) struct Live {
    pub(super) shared: Arc<Shared>,
    pub(super) consumed: Arc<Consumed>,
    pub(super) streams: HashMap<StreamId, Stream>,
    /// Who waits for the peer to allow more streams.
    pub(super) wanted: VecDeque<oneshot::Sender<Halves>>,
}

/// A stream until nobody has either half of it.
pub(super) struct Stream {
    pub(super) core: Arc<StreamCore>,
    /// Cost of writes that reached the endpoint since the stream was told.
    pub(super) applied: usize,
    /// Whether it is among the touched.
    pub(super) is_touched: bool,
    /// Bytes handed over, not consumed.
    pub(super) unconsumed: u64,
    /// Whether the end of the peer's direction was handed over.
    pub(super) is_ended: bool,
    /// Whether the peer has used it.
    pub(super) is_used: bool,
    /// Whether anybody wants what comes.
    pub(super) is_wanted: bool,
    pub(super) has_sender: bool,
    pub(super) has_receiver: bool,
}

impl Entry {
    pub(super) fn new(peer: Peer, awaited: Option<(u64, ConnectReply)>) -> Self {
        let is_accepted = awaited.is_none();
        Self {
            peer,
            is_accepted,
            has_begun: false,
            is_over: false,
            awaited,
            failure: None,
            live: None,
        }
    }

    /// The session is over: tells everybody.
    pub(super) fn end(&mut self, reason: &CloseReason) {
        self.is_over = true;
        if let Some((_, reply)) = self.awaited.take() {
            let _ = reply.send(Err(reason.clone()));
        }
        if let Some(live) = &mut self.live {
            for (_, stream) in live.streams.drain() {
                stream.core.end(reason);
            }
            // First the reason, then the replies that will not come.
            live.shared.end(reason.clone());
            live.wanted.clear();
        }
    }

    /// The session, unless it is over.
    pub(super) fn live(&mut self) -> Option<&mut Live> {
        self.live.as_mut().filter(|_| !self.is_over)
    }

    /// Nothing is heard of it any more.
    pub(super) fn drained(&self) {
        if let Some(live) = &self.live {
            live.shared.drained();
        }
    }
}

impl Stream {
    pub(super) fn new(core: Arc<StreamCore>) -> Self {
        Self {
            core,
            applied: 0,
            is_touched: false,
            unconsumed: 0,
            is_ended: false,
            is_used: false,
            is_wanted: true,
            has_sender: true,
            has_receiver: true,
        }
    }

    /// Bytes consumed since the last time.
    pub(super) fn take_consumed(&mut self) -> u64 {
        let bytes = self.core.take_consumed().min(self.unconsumed);
        self.unconsumed -= bytes;
        bytes
    }

    /// Nobody reads any more: all that was handed over counts as consumed.
    pub(super) fn give_up(&mut self) -> u64 {
        self.is_wanted = false;
        self.core.discard();
        self.core.take_consumed();
        std::mem::take(&mut self.unconsumed)
    }

    /// Whether nobody has it any more.
    pub(super) fn is_orphan(&self) -> bool {
        !self.has_sender && !self.has_receiver
    }
}
