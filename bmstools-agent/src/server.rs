//! What the frame loop drives: the endpoint, and every session's work.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::header::Framing;
use bmstools_common::maps::SessionKey;
use bmstools_link::{Handler, Outgoing, Port};
use bmstools_proto::Stats;
use bmstools_proto::agent::{EndReason, Endpoint, Event, SessionId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use crate::auth::Wanted;
use crate::counters;
use crate::session::{Ending, Message, Shared, Work};

/// Ports by interface: a session of a bond may come by any of its slaves.
pub(crate) struct Groups(Vec<Range<usize>>);

impl Groups {
    /// Groups of adjacent ports, by the number of ports in each.
    pub(crate) fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        let mut begin = 0;
        let group = |size| {
            begin += size;
            begin - size..begin
        };
        Self(sizes.into_iter().map(group).collect())
    }

    /// The ports of the same interface as `port`, itself included.
    fn of(&self, port: usize) -> Range<usize> {
        self.0.iter().find(|group| group.contains(&port)).cloned().unwrap_or(port..port + 1)
    }
}

/// The server: one owner of the endpoint, on the frame loop's thread. Nothing
/// here blocks.
pub(crate) struct Server {
    /// The protocol.
    pub(crate) endpoint: Endpoint,
    /// Which ports belong together.
    pub(crate) groups: Groups,
    /// What others tell the loop.
    pub(crate) inbox: mpsc::Receiver<Message>,
    /// Where challenges are made.
    pub(crate) wanted: mpsc::Sender<Wanted>,
    /// Where sessions' tasks run.
    pub(crate) runtime: Handle,
    /// What they share.
    pub(crate) shared: Arc<Shared>,
    /// What stands around each session.
    pub(crate) sessions: HashMap<SessionId, Session>,
    /// Since when the server is stopping.
    pub(crate) stopping: Option<Instant>,
}

/// What stands around a session.
pub(crate) struct Session {
    peer: Peer,
    /// The key of the challenge sent last.
    fingerprint: String,
    /// Since it authenticated, until it ends.
    work: Option<Work>,
}

impl Server {
    /// What happened at the endpoint so far.
    pub(crate) fn stats(&self) -> Stats {
        self.endpoint.stats()
    }

    fn message(&mut self, now: Instant, message: Message, ports: &[Box<dyn Port>]) {
        match message {
            Message::Challenge(id, Some((challenge, fingerprint))) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.fingerprint = fingerprint;
                }
                self.endpoint.challenge(now, id, challenge);
            }
            Message::Challenge(id, None) => self.endpoint.no_challenge(now, id),
            Message::Response(id, response) => self.endpoint.respond(now, id, response),
            Message::Finished(id, failure) => self.endpoint.finish(now, id, failure),
            Message::Counters => {
                counters::log(&self.stats(), self.endpoint.session_count(), ports);
            }
            Message::Stop => {
                self.stopping.get_or_insert(now);
                let all: Vec<_> = self.endpoint.sessions().collect();
                for id in all {
                    self.close(now, id);
                }
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event, ports: &mut [Box<dyn Port>]) {
        match event {
            Event::Opened { session, key, dialect, peer, port } => {
                if self.stopping.is_none() && self.let_through(port, key, dialect.into(), ports) {
                    debug!(?session, %peer, ?dialect, "opened");
                    let entry = Session { peer, fingerprint: String::new(), work: None };
                    self.sessions.insert(session, entry);
                    self.endpoint.accept(now, session);
                } else {
                    self.endpoint.refuse(session);
                }
            }
            Event::ChallengeWanted { session, attempt } => {
                if self.wanted.try_send(Wanted { session, attempt }).is_err() {
                    warn!(?session, "too many sessions authenticate at once; one was closed");
                    self.close(now, session);
                }
            }
            Event::Authenticated { session, attempt } => {
                let Some(entry) = self.sessions.get_mut(&session) else { return };
                debug!(?session, peer = %entry.peer, attempt, key = entry.fingerprint, "authenticated");
                entry.work = Some(Work::start(&self.runtime, &self.shared, session));
            }
            Event::Request { session, request } => {
                let work = self.sessions.get(&session).and_then(|entry| entry.work.as_ref());
                if !work.is_some_and(|work| work.request(request)) {
                    error!(?session, "a request without a task to serve it; closing the session");
                    self.close(now, session);
                }
            }
            Event::Ended { session, reason } => self.ended(now, session, reason),
            Event::Drained { session, key, port } => {
                self.sessions.remove(&session);
                for port in &mut ports[self.groups.of(port)] {
                    port.remove_session(key);
                }
            }
        }
    }

    /// Lets a session's frames through at every port of its interface.
    fn let_through(
        &self,
        port: usize,
        key: SessionKey,
        framing: Framing,
        ports: &mut [Box<dyn Port>],
    ) -> bool {
        let group = &mut ports[self.groups.of(port)];
        for at in 0..group.len() {
            if let Err(error) = group[at].insert_session(key, framing) {
                warn!(%error, interface = group[at].info().interface, "an open was refused");
                for port in &mut group[..at] {
                    port.remove_session(key);
                }
                return false;
            }
        }
        true
    }

    fn ended(&mut self, now: Instant, id: SessionId, reason: EndReason) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        debug!(session = ?id, peer = %session.peer, ?reason, "ended");
        let ending = match reason {
            EndReason::Peer => Ending::Clean,
            EndReason::Aborted => Ending::Aborted,
            _ => Ending::Broken,
        };
        let finishes = session.work.take().is_some_and(|work| work.end(ending));
        if ending != Ending::Broken && !finishes {
            self.endpoint.finish(now, id, None);
        }
    }

    /// Ends a session from this side.
    fn close(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            // Breaks off what it has under way.
            session.work = None;
        }
        self.endpoint.close(now, id);
    }

    /// Whether operators have been told, or have had the time.
    fn has_stopped(&self, now: Instant) -> bool {
        self.stopping.is_some_and(|since| {
            let waited = now.saturating_duration_since(since);
            waited >= STOP_TIME || (waited >= STOP_PAUSE && self.endpoint.session_count() == 0)
        })
    }
}

impl Handler for Server {
    fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        self.endpoint.handle_frame(now, port, peer, frame);
    }

    fn turn(&mut self, now: Instant, ports: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        if self.has_stopped(now) {
            return ControlFlow::Break(());
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
        while let Ok(message) = self.inbox.try_recv() {
            self.message(now, message, ports);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.event(now, event, ports);
        }
        ControlFlow::Continue(())
    }

    fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let (peer, len) = self.endpoint.poll_transmit(now, port, buffer)?;
        Some(Outgoing { peer, len })
    }

    fn deadline(&self) -> Option<Instant> {
        let stop = self.stopping.map(|since| {
            let pause = since + STOP_PAUSE;
            if self.endpoint.session_count() == 0 { pause } else { since + STOP_TIME }
        });
        [stop, self.endpoint.poll_timeout()].into_iter().flatten().min()
    }
}

/// Time for the last frames to leave.
const STOP_PAUSE: Duration = Duration::from_millis(50);
/// Time after which sessions that are not gone are left behind.
const STOP_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
