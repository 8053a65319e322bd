//! The frame loop's side.

mod commands;
mod entry;
mod events;

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Instant;

use bmstools_common::ethernet::Peer;
use bmstools_link::{Handler, Outgoing, Port, Waker};
use bmstools_proto::v2::{CloseReason, Config, Endpoint, SessionId, Stats, StreamId};
use bytes::Bytes;
use tokio::sync::oneshot;

use self::entry::Entry;
use crate::command::Command;
use crate::handle::{Common, Handle};
use crate::queue::Queue;

/// Ports of one interface (a session may come by any of a bond's slaves).
pub type Groups = Vec<Range<usize>>;

/// The frame loop's side: one owner of the endpoint. Nothing here blocks.
///
/// [`receive`](Self::receive) and [`transmit`](Self::transmit) are for frames of version
/// 2 alone. Dropped, it ends every session without a word to the peers.
pub struct Hub {
    config: Config,
    endpoint: Endpoint,
    groups: Groups,
    common: Arc<Common>,
    sessions: HashMap<SessionId, Entry>,
    stopping: Option<Stopping>,
    /// Streams whose room is to be told at the end of the turn.
    touched: Vec<(SessionId, StreamId)>,
    /// Kept for their memory; empty between uses.
    commands: Vec<Command>,
    chunks: Vec<(u64, Bytes)>,
}

/// A hub that shuts down.
struct Stopping {
    code: u32,
    reason: &'static str,
    /// `None` is too far away to be told.
    until: Option<Instant>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Hub {
    /// A hub without sessions on a loop that `waker` wakes. Its ports are numbered
    /// through all `groups`. `seed` must not be guessable.
    pub fn new(
        config: Config,
        groups: Groups,
        waker: Waker,
        seed: [u8; 32],
        now: Instant,
    ) -> (Self, Handle) {
        let common = Arc::new(Common::new(Queue::new(waker)));
        let handle = Handle::new(common.clone());
        let hub = Self {
            endpoint: Endpoint::new(config.clone(), seed, now),
            config,
            groups,
            common,
            sessions: HashMap::new(),
            stopping: None,
            touched: Vec::new(),
            commands: Vec::new(),
            chunks: Vec::new(),
        };
        (hub, handle)
    }

    /// Takes a received frame, from its bmstools header on.
    pub fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        self.endpoint.handle_frame(now, port, peer, frame);
    }

    /// Does everything that is not a frame, and breaks where the hub was shut down.
    pub fn turn(&mut self, now: Instant, ports: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
        self.take_commands(now);
        self.take_events(now, ports);
        self.tell_room();
        self.stop(now)
    }

    /// Writes the next frame to send on `port` into `buffer`.
    pub fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let (peer, len) = self.endpoint.poll_transmit(now, port, buffer)?;
        Some(Outgoing { peer, len })
    }

    /// When [`turn`](Self::turn) must be called next, frames or not.
    pub fn deadline(&self) -> Option<Instant> {
        let stop = self.stopping.as_ref().and_then(|stopping| stopping.until);
        [stop, self.endpoint.poll_timeout()].into_iter().flatten().min()
    }

    /// Counts of all sessions.
    pub fn stats(&self) -> Stats {
        self.endpoint.stats()
    }

    pub(crate) fn queue(&self) -> Arc<Queue> {
        self.common.queue.clone()
    }

    /// The ports are gone: ends every session with the reason.
    pub(crate) fn fail(&mut self, error: &std::io::Error) {
        let reason = CloseReason::Link(error.to_string());
        self.common.set_reason(&reason);
        self.end_all(&reason);
    }

    fn end_all(&mut self, reason: &CloseReason) {
        for (_, mut entry) in self.sessions.drain() {
            entry.end(reason);
            entry.drained();
        }
    }

    /// The ports of the same interface as `port`, itself included.
    fn group(&self, port: usize) -> Range<usize> {
        self.groups.iter().find(|group| group.contains(&port)).cloned().unwrap_or(port..port + 1)
    }

    /// Whether the time has come.
    fn stop(&mut self, now: Instant) -> ControlFlow<()> {
        let Some(stopping) = &mut self.stopping else { return ControlFlow::Continue(()) };
        let is_late = stopping.until.is_some_and(|until| until <= now);
        if !is_late && !self.sessions.is_empty() {
            return ControlFlow::Continue(());
        }
        for waiting in stopping.waiting.drain(..) {
            let _ = waiting.send(());
        }
        ControlFlow::Break(())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.common.close(self.endpoint.stats());
        self.end_all(&CloseReason::Local);
    }
}

impl Handler for Hub {
    fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        self.receive(now, port, peer, frame);
    }

    fn turn(&mut self, now: Instant, ports: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        self.turn(now, ports)
    }

    fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        self.transmit(now, port, buffer)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }
}

/// Codes of CLOSE (docs/protocol-v2.md, "Keep-alive, idle and close").
pub(crate) mod code {
    pub(crate) const DONE: u32 = 0;
    pub(crate) const ENDING: u32 = 2;
    pub(crate) const LIMIT: u32 = 3;
}
