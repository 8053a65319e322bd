//! The agent's side: many sessions, whoever opens them.

mod session;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bmstools_common::ethernet::{Mac, Peer};
use bmstools_common::header::{Dialect, V1Header, ptype};
use bmstools_common::maps::SessionKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use crate::challenge::Challenge;
use crate::config::Config;
use crate::response::Response;
pub use crate::stats::Stats;
use crate::wire::Frame;
use session::Session;

/// Names a session of one endpoint; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(u64);

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// The operator ended it, everything it sent being complete.
    Peer,
    /// The operator ended it in the middle of a message or a request: what was
    /// under way shall not stay.
    Aborted,
    /// The operator no longer acknowledges anything.
    PeerGone,
    /// Nothing happened for too long.
    Idle,
    /// It had not authenticated, and another needed its place.
    Displaced,
    /// It did not authenticate in time.
    Unauthenticated,
}

/// What an authenticated session asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Run this with `/bin/bash -c`. Answer with [`Response::data`].
    Exec {
        /// The command line, as it came.
        command: Vec<u8>,
    },
    /// Begin a file at this path.
    File {
        /// The path, as it came; may be empty.
        path: Vec<u8>,
    },
    /// Append to the file that was begun.
    Data {
        /// At most [`Config::max_message`] bytes.
        data: Vec<u8>,
    },
}

/// What the endpoint's owner must do.
#[derive(Debug)]
pub enum Event {
    /// Somebody opens a session. Make frames with `key` come up from the link,
    /// then call [`Endpoint::accept`]; or call [`Endpoint::refuse`].
    Opened {
        /// The session.
        session: SessionId,
        /// What the link must let through.
        key: SessionKey,
        /// The session's dialect, which the link must know too.
        dialect: Dialect,
        /// Who opens it.
        peer: Peer,
        /// The port that the open came through.
        port: usize,
    },
    /// The session wants to authenticate, for the `attempt`th time (from 0). Call
    /// [`Endpoint::challenge`] with [`Challenge::new`] under authorised key number
    /// `attempt` (deployed operators try once: the first), off the frame loop; or
    /// [`Endpoint::no_challenge`] where there are no more keys.
    ChallengeWanted {
        /// The session.
        session: SessionId,
        /// How often it asked before.
        attempt: usize,
    },
    /// The session proved that it holds the private key.
    Authenticated {
        /// The session.
        session: SessionId,
        /// Which attempt succeeded: tells which key was used.
        attempt: usize,
    },
    /// Do this and call [`Endpoint::respond`] exactly once. A session has at most
    /// one request under way; the next comes after the response.
    Request {
        /// The session.
        session: SessionId,
        /// What to do.
        request: Request,
    },
    /// The session is over: stop its work. Where the reason is
    /// [`EndReason::Peer`] or [`EndReason::Aborted`], call [`Endpoint::finish`] when
    /// what it left is safe; with any but the first, nothing that was begun shall be
    /// put in place.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// The session is forgotten: stop letting its frames through.
    Drained {
        /// The session.
        session: SessionId,
        /// What was given with [`Event::Opened`].
        key: SessionKey,
        /// The port given with [`Event::Opened`].
        port: usize,
    },
}

/// All sessions of one agent.
///
/// Calls that may change what the polls return: every `handle_*` and every
/// command. After any of them, poll events, transmissions and the timeout.
pub struct Endpoint {
    config: Arc<Config>,
    rng: StdRng,
    /// By our key.
    sessions: BTreeMap<u16, Session>,
    keys: BTreeMap<SessionId, u16>,
    /// The newest session of a peer's key: a repeated open finds it.
    by_peer: BTreeMap<(Peer, u16), u16>,
    unauthenticated: BTreeSet<SessionId>,
    timers: BTreeSet<(Instant, u16)>,
    /// Sessions with something to send, by port.
    ready: Vec<VecDeque<u16>>,
    events: VecDeque<Event>,
    reassemblies: usize,
    next_id: u64,
    stats: Stats,
}

impl Endpoint {
    /// An endpoint without sessions. `seed` makes session keys unpredictable.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            config: Arc::new(config),
            rng: StdRng::from_seed(seed),
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            unauthenticated: BTreeSet::new(),
            timers: BTreeSet::new(),
            ready: Vec::new(),
            events: VecDeque::new(),
            reassemblies: 0,
            next_id: 0,
            stats: Stats::default(),
        }
    }

    /// Takes a frame, from its bmstools header on. Bad frames are counted and
    /// change nothing.
    pub fn handle_frame(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        self.stats.received += 1;
        if self.take_frame(now, port, peer, frame).is_none() {
            self.stats.refused += 1;
        }
    }

    fn take_frame(&mut self, now: Instant, port: usize, peer: Peer, frame: &[u8]) -> Option<()> {
        let header = V1Header::parse(frame, 0).ok()?;
        if header.ptype == ptype::OPEN && header.dstkey == 0 {
            return self.take_open(now, port, peer, frame);
        }
        let key = header.dstkey;
        let session = self.sessions.get_mut(&key)?;
        if session.connection.peer != peer {
            return None;
        }
        let frame = Frame::parse(frame, session.connection.dialect).ok()?;
        let was_authenticated = session.is_authenticated();
        let reassembling = session.holds_reassembly();
        let may_begin = reassembling
            || !session.is_authenticated()
            || self.reassemblies < self.config.max_reassemblies;
        let taken = session.receive(now, &frame, may_begin, &mut self.stats, &mut self.events);
        self.reassemblies += usize::from(session.holds_reassembly());
        self.reassemblies -= usize::from(reassembling);
        if taken.is_ok() {
            session.port = port;
        }
        if session.is_authenticated() && !was_authenticated {
            self.unauthenticated.remove(&session.id);
        }
        self.settle(now, key);
        taken.ok()
    }

    fn take_open(&mut self, now: Instant, port: usize, peer: Peer, bytes: &[u8]) -> Option<()> {
        let dialect = Dialect::of_open(bytes, 0);
        let frame = Frame::parse(bytes, dialect).ok()?;
        if frame.srckey == 0 || frame.sequence != 0 || frame.count != 1 {
            return None;
        }
        if let Some(&key) = self.by_peer.get(&(peer, frame.srckey))
            && let Some(session) = self.sessions.get_mut(&key)
            && session.is_fresh()
            && session.connection.dialect == dialect
        {
            session.repeat_open(now, &frame, &mut self.stats);
            self.settle(now, key);
            return Some(());
        }
        self.make_room(peer.mac)?;
        let key = loop {
            let key = self.rng.gen_range(1..=u16::MAX);
            if !self.sessions.contains_key(&key) {
                break key;
            }
        };
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let config = Arc::clone(&self.config);
        let session = Session::open(id, config, dialect, peer, port, key, &frame, now);
        self.events.push_back(Event::Opened {
            session: id,
            key: session.connection.session_key(),
            dialect,
            peer,
            port,
        });
        self.stats.opened += 1;
        self.sessions.insert(key, session);
        self.keys.insert(id, key);
        self.by_peer.insert((peer, frame.srckey), key);
        self.unauthenticated.insert(id);
        self.settle(now, key);
        Some(())
    }

    /// Makes room for one more session of `mac`, at the cost of one that has not
    /// authenticated: strangers cannot keep operators out by holding sessions, nor by
    /// holding them in an operator's name.
    fn make_room(&mut self, mac: Mac) -> Option<()> {
        let is_of_peer = |session: &Session| session.connection.peer.mac == mac;
        let of_peer = self.sessions.values().filter(|session| is_of_peer(session)).count();
        let full = self.sessions.len() >= self.config.max_sessions
            || self.unauthenticated.len() >= self.config.max_unauthenticated;
        let oldest = if of_peer >= self.config.max_sessions_per_peer {
            let mut strangers = self.unauthenticated.iter().copied();
            strangers.find(|id| self.by_id(*id).is_some_and(is_of_peer))
        } else if full {
            self.most_held()
        } else {
            return Some(());
        };
        let Some(oldest) = oldest else {
            self.stats.opens_refused += 1;
            return None;
        };
        self.end(oldest, EndReason::Displaced);
        Some(())
    }

    /// The oldest of those that have not authenticated, of the address that has most of
    /// them: a flood displaces its own, not the operator who is about to authenticate.
    fn most_held(&self) -> Option<SessionId> {
        let mut held: BTreeMap<Mac, (usize, Reverse<SessionId>)> = BTreeMap::new();
        for &id in &self.unauthenticated {
            let Some(session) = self.by_id(id) else { continue };
            held.entry(session.connection.peer.mac).or_insert((0, Reverse(id))).0 += 1;
        }
        held.into_values().max().map(|(_, Reverse(oldest))| oldest)
    }

    fn by_id(&self, id: SessionId) -> Option<&Session> {
        self.keys.get(&id).and_then(|key| self.sessions.get(key))
    }

    /// Does what is due. Call when [`poll_timeout`](Self::poll_timeout) has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.timer = None;
            if let Some(reason) = session.handle_timeout(now) {
                let id = session.id;
                self.end(id, reason);
            } else {
                self.settle(now, key);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next. Changed
    /// by every call but the polls for events.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// What the owner must do next.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Writes the next frame to send through `port` into `buffer` (256 bytes at
    /// least); its receiver and its length.
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        port: usize,
        buffer: &mut [u8],
    ) -> Option<(Peer, usize)> {
        loop {
            let key = self.ready.get_mut(port)?.pop_front()?;
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.queued = false;
            let moved = session.port != port;
            let sent = if moved {
                None
            } else {
                session.connection.poll_transmit(now, buffer, &mut self.stats)
            };
            let peer = session.connection.peer;
            self.settle(now, key);
            if let Some(len) = sent {
                return Some((peer, len));
            }
        }
    }

    /// Answers an open. Unknown sessions are ignored, here and below: the session
    /// may have ended meanwhile.
    pub fn accept(&mut self, now: Instant, session: SessionId) {
        self.with(now, session, |session, _| session.accept(now));
    }

    /// Forgets an open without a word.
    pub fn refuse(&mut self, session: SessionId) {
        if let Some(&key) = self.keys.get(&session) {
            self.stats.opens_refused += 1;
            self.forget(key);
        }
    }

    /// Sends the challenge asked for by [`Event::ChallengeWanted`].
    pub fn challenge(&mut self, now: Instant, session: SessionId, challenge: Challenge) {
        self.with(now, session, |session, _| session.challenge(now, challenge));
    }

    /// Says that there is no key left to make a challenge with.
    pub fn no_challenge(&mut self, now: Instant, session: SessionId) {
        self.with(now, session, |session, stats| session.no_challenge(now, stats));
    }

    /// Answers the session's request.
    pub fn respond(&mut self, now: Instant, session: SessionId, response: Response) {
        self.with(now, session, |session, _| session.respond(now, &response));
    }

    /// Confirms the operator's end of a session, after `failure` where something
    /// could not be kept (a file that could not be put in place).
    pub fn finish(&mut self, now: Instant, session: SessionId, failure: Option<Response>) {
        self.with(now, session, |session, _| session.finish(now, failure.as_ref()));
    }

    /// Ends a session from this side and tells the operator.
    /// [`Event::Drained`] follows when it knows, or does not answer.
    pub fn close(&mut self, now: Instant, session: SessionId) {
        self.with(now, session, |session, _| session.close(now));
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.keys.keys().copied()
    }

    /// How many sessions are open.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// What happened so far.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    fn with(
        &mut self,
        now: Instant,
        id: SessionId,
        command: impl FnOnce(&mut Session, &mut Stats),
    ) {
        let Some(&key) = self.keys.get(&id) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        command(session, &mut self.stats);
        session.next_from_inbox(now, &mut self.stats, &mut self.events);
        self.settle(now, key);
    }

    /// Brings queues and timers up to date with what a session wants, and forgets
    /// it when it is done.
    fn settle(&mut self, now: Instant, key: u16) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.is_done() {
            return self.forget(key);
        }
        if !session.queued && session.connection.wants_transmit(now) {
            session.queued = true;
            session.queued_port = session.port;
            if self.ready.len() <= session.port {
                self.ready.resize_with(session.port + 1, VecDeque::new);
            }
            self.ready[session.port].push_back(key);
        }
        let wanted = session.timeout(now);
        // A timer that fires early only looks again: moving it with every frame
        // would cost more.
        if let Some(wanted) = wanted
            && session.timer.is_none_or(|timer| wanted < timer)
        {
            if let Some(timer) = session.timer.replace(wanted) {
                self.timers.remove(&(timer, key));
            }
            self.timers.insert((wanted, key));
        }
    }

    fn end(&mut self, id: SessionId, reason: EndReason) {
        let Some(&key) = self.keys.get(&id) else { return };
        if self.sessions.get(&key).is_some_and(|session| !session.has_ended()) {
            self.events.push_back(Event::Ended { session: id, reason });
        }
        self.forget(key);
    }

    fn forget(&mut self, key: u16) {
        let Some(session) = self.sessions.remove(&key) else { return };
        let connection = &session.connection;
        self.reassemblies -= usize::from(session.holds_reassembly());
        self.keys.remove(&session.id);
        self.unauthenticated.remove(&session.id);
        let of_peer = (connection.peer, connection.remote_key);
        if self.by_peer.get(&of_peer) == Some(&key) {
            self.by_peer.remove(&of_peer);
        }
        if let Some(timer) = session.timer {
            self.timers.remove(&(timer, key));
        }
        if session.queued
            && let Some(ready) = self.ready.get_mut(session.queued_port)
        {
            // Left there, it would stay for as long as the port cannot send.
            ready.retain(|&other| other != key);
        }
        self.events.push_back(Event::Drained {
            session: session.id,
            key: connection.session_key(),
            port: session.opened_port,
        });
    }
}

#[cfg(test)]
mod tests;
