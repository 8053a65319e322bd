//! What the frame loop drives: the endpoint, and every session's work.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::header::{Framing, VERSION_2};
use bmstools_common::maps::SessionKey;
use bmstools_link::{Handler, Outgoing, Port};
use bmstools_proto::agent::{EndReason, Endpoint, Event, SessionId};
use bmstools_session::Hub;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use crate::auth::Wanted;
use crate::counters::Counted;
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

    /// The groups.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// The ports of the same interface as `port`, itself included.
    fn of(&self, port: usize) -> Range<usize> {
        self.0.iter().find(|group| group.contains(&port)).cloned().unwrap_or(port..port + 1)
    }
}

/// The server: one owner of the endpoints, on the frame loop's thread. Nothing
/// here blocks.
pub(crate) struct Server {
    /// Version 1.
    pub(crate) endpoint: Endpoint,
    /// Whether version 1 is spoken.
    pub(crate) v1: bool,
    /// Version 2, where it is spoken.
    pub(crate) v2: Option<V2>,
    /// Frames of a version that is not spoken.
    pub(crate) ignored: u64,
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

/// The frame loop's side of version 2.
pub(crate) struct V2 {
    hub: Hub,
    handle: bmstools_session::Handle,
    /// Whether all of its sessions are gone for good.
    over: bool,
    /// Whether the next frame to send is its turn.
    first: bool,
}

impl V2 {
    /// With the hub and its handle.
    pub(crate) fn new((hub, handle): (Hub, bmstools_session::Handle)) -> Self {
        Self { hub, handle, over: false, first: false }
    }
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
    /// What happened so far.
    pub(crate) fn counted(&self, ports: &[Box<dyn Port>]) -> Counted {
        let v1 = (self.endpoint.session_count(), &self.endpoint.stats());
        let v2 = self.v2.as_ref().map(|v2| (v2.handle.session_count(), v2.hub.stats()));
        Counted::new(v1, v2, self.ignored, ports)
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
            Message::Counters => self.counted(ports).log(),
            Message::Counted(answer) => drop(answer.send(self.counted(ports))),
            Message::Stop => {
                self.stopping.get_or_insert(now);
                let all: Vec<_> = self.endpoint.sessions().collect();
                for id in all {
                    self.close(now, id);
                }
                if let Some(v2) = &self.v2 {
                    let handle = v2.handle.clone();
                    self.runtime.spawn(async move { handle.shut_down(STOP_TIME).await });
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
            waited >= STOP_TIME || (waited >= STOP_PAUSE && self.is_empty())
        })
    }

    fn is_empty(&self) -> bool {
        self.endpoint.session_count() == 0 && self.v2.as_ref().is_none_or(|v2| v2.over)
    }

    fn transmit_v1(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let (peer, len) = self.endpoint.poll_transmit(now, port, buffer)?;
        Some(Outgoing { peer, len })
    }
}

impl Handler for Server {
    fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        match (&mut self.v2, frame.first()) {
            (Some(v2), Some(&VERSION_2)) => v2.hub.receive(now, port, peer, frame),
            (None, Some(&VERSION_2)) => self.ignored += 1,
            _ if self.v1 => self.endpoint.handle_frame(now, port, peer, frame),
            _ => self.ignored += 1,
        }
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
        if let Some(v2) = self.v2.as_mut().filter(|v2| !v2.over) {
            v2.over = v2.hub.turn(now, ports).is_break();
        }
        ControlFlow::Continue(())
    }

    /// The versions take turns, frame by frame.
    fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let first = self.v2.as_mut().is_some_and(|v2| {
            v2.first = !v2.first;
            v2.first
        });
        if !first && let Some(outgoing) = self.transmit_v1(now, port, buffer) {
            return Some(outgoing);
        }
        let outgoing = self.v2.as_mut().and_then(|v2| v2.hub.transmit(now, port, buffer));
        if first && outgoing.is_none() {
            return self.transmit_v1(now, port, buffer);
        }
        outgoing
    }

    fn deadline(&self) -> Option<Instant> {
        let stop = self.stopping.map(|since| {
            let pause = since + STOP_PAUSE;
            if self.is_empty() { pause } else { since + STOP_TIME }
        });
        let v2 = self.v2.as_ref().and_then(|v2| v2.hub.deadline());
        [stop, self.endpoint.poll_timeout(), v2].into_iter().flatten().min()
    }
}

/// Time for the last frames to leave.
const STOP_PAUSE: Duration = Duration::from_millis(50);
/// Time after which sessions that are not gone are left behind.
const STOP_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
