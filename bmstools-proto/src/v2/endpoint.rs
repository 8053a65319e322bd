//! Either side of any number of sessions: finds a frame's session, admits new ones,
//! keeps timers and turns.

mod event;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bmstools_common::ethernet::{Mac, Peer};
use bmstools_common::header::{V2_LEN, V2_OPEN_BODY, V2Header, v2_ptype};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

pub use self::event::{CloseReason, Connect, Event, SessionId, SessionStats, Stats};
use super::config::Config;
use super::connection::{Begin, Connection, Side, Taken};
use super::cookie::{COOKIE_LEN, Cookies, NONCE_LEN};
use super::identity::{Identity, PublicKey};
use super::params::Params;
use super::streams::{Chunk, StreamError, StreamId, Streams};
use super::tls::{self, Acceptor};

/// Either side of any number of sessions.
///
/// Frames, time and commands go in; frames, events and the next timeout come out.
/// Calls that may change what the polls return: every `handle_*` and every command.
/// Commands to sessions and streams that are gone do nothing or say so.
pub struct Endpoint {
    config: Arc<Config>,
    rng: StdRng,
    cookies: Cookies,
    acceptor: Option<Acceptor>,
    /// By this side's session key.
    sessions: BTreeMap<u16, Box<Connection>>,
    keys: BTreeMap<SessionId, u16>,
    /// Sessions that a peer opened, by what its opens carry.
    by_open: BTreeMap<(Peer, u16, [u8; NONCE_LEN]), u16>,
    /// Sessions that peers opened and that were never established, oldest first: those
    /// that failed are among them until nothing is left of them.
    handshakes: BTreeSet<SessionId>,
    /// Due times; a session is there at most once.
    timers: BTreeSet<(Instant, u16)>,
    /// Sessions that may have something to send, by port.
    ready: Vec<VecDeque<u16>>,
    /// The session of the frames that came last, and when, where it is still to be
    /// settled: once for all frames of a batch.
    unsettled: Option<(u16, Instant)>,
    /// Answers to opens without a cookie, by port.
    retries: Vec<VecDeque<(Peer, [u8; RETRY_LEN])>>,
    /// Frames of sessions since one of these left.
    since_retry: u32,
    events: VecDeque<Event>,
    next_id: u64,
    stats: Stats,
}

/// Bytes of a retry of ours.
const RETRY_LEN: usize = V2_LEN + NONCE_LEN + 1 + COOKIE_LEN;
/// Retries that wait for a port at most: more are dropped, and the open comes again.
const MAX_RETRIES: usize = 64;

impl Endpoint {
    /// An endpoint without sessions. `seed` makes keys, nonces and cookies
    /// unpredictable.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self {
            cookies: Cookies::new(secret, now, config.cookie_lifetime),
            config: Arc::new(config),
            rng,
            acceptor: None,
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            by_open: BTreeMap::new(),
            handshakes: BTreeSet::new(),
            timers: BTreeSet::new(),
            ready: Vec::new(),
            unsettled: None,
            retries: Vec::new(),
            since_retry: 0,
            events: VecDeque::new(),
            next_id: 0,
            stats: Stats::default(),
        }
    }

    /// Answers opens from here on as `identity` where the peer holds one of
    /// `authorized`; `None` answers none. Sessions that there are stay.
    pub fn accept(&mut self, identity: Option<(Identity, Arc<[PublicKey]>)>) {
        self.acceptor = identity.map(|(identity, keys)| Acceptor::new(&identity, keys));
    }

    /// Opens a session. [`Event::Begun`] follows, then [`Event::Established`] or
    /// [`Event::Closed`].
    pub fn connect(&mut self, now: Instant, connect: Connect) -> SessionId {
        let id = self.take_id();
        let Connect { peer, port, mtu, key, identity, expected } = connect;
        let params = Params::of(&self.config, mtu);
        let begun = match tls::connect(&identity, &expected, &params) {
            _ if key == 0 || self.sessions.contains_key(&key) => {
                Err("the session key is in use".to_owned())
            }
            Ok(tls) => Ok(tls),
            Err(error) => Err(format!("{error:?}")),
        };
        let tls = match begun {
            Ok(tls) => tls,
            Err(what) => {
                let reason = CloseReason::Handshake(what);
                self.events.push_back(Event::Closed { session: id, reason });
                return id;
            }
        };
        let mut nonce = [0; NONCE_LEN];
        self.rng.fill_bytes(&mut nonce);
        let (side, local_key, remote_key) = (Side::Operator, key, 0);
        let expected = Some(expected);
        let begin =
            Begin { id, side, peer, port, mtu, local_key, remote_key, nonce, tls, expected };
        self.insert(now, begin);
        id
    }

    /// Takes a frame, from its bmstools header on. Bad frames are counted and change
    /// nothing.
    pub fn handle_frame(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        self.stats.received += 1;
        match self.take_frame(now, port, peer, frame) {
            Taken::Opened => {}
            Taken::Refused => self.stats.refused += 1,
            Taken::Unsealed => self.stats.unsealed += 1,
            Taken::Replayed => self.stats.replayed += 1,
        }
    }

    fn take_frame(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) -> Taken {
        let Ok(header) = V2Header::parse(&*frame, 0) else { return Taken::Refused };
        if header.ptype == v2_ptype::OPEN {
            return self.take_open(now, port, peer, header, frame);
        }
        let key = header.dstkey;
        let Some(session) = self.sessions.get_mut(&key) else { return Taken::Refused };
        if session.peer != peer {
            return Taken::Refused;
        }
        let taken = if header.ptype == v2_ptype::RETRY {
            if session.receive_retry(frame) { Taken::Opened } else { Taken::Refused }
        } else {
            session.receive(now, port, header, V2_LEN, frame)
        };
        let can_wait = session.is_established() && !session.has_news();
        if self.unsettled.is_some_and(|(other, _)| other != key || !can_wait) {
            self.settle_received();
        }
        if can_wait {
            self.unsettled = Some((key, now));
        } else {
            self.settle(now, key);
        }
        taken
    }

    fn take_open(
        &mut self,
        now: Instant,
        port: usize,
        peer: Peer,
        header: V2Header,
        frame: &mut [u8],
    ) -> Taken {
        self.settle_received();
        let Some(acceptor) = &self.acceptor else { return Taken::Refused };
        let Some((nonce, cookie)) = open_parts(frame) else { return Taken::Refused };
        let operator_key = header.srckey;
        // An answer is never longer than the question.
        let is_short = frame.len() < V2_LEN + V2_OPEN_BODY;
        if operator_key == 0 || header.dstkey != 0 || is_short {
            return Taken::Refused;
        }
        if !self.cookies.check(now, peer, operator_key, &nonce, cookie) {
            self.stats.cookies_asked += 1;
            if self.retries.len() <= port {
                self.retries.resize_with(port + 1, VecDeque::new);
            }
            if self.retries[port].len() < MAX_RETRIES {
                let cookie = self.cookies.make(now, peer, operator_key, &nonce);
                self.retries[port].push_back((peer, retry(operator_key, &nonce, &cookie)));
            }
            return Taken::Opened;
        }
        let sealed_at = V2_LEN + NONCE_LEN + 1 + cookie.len();
        let of_open = (peer, operator_key, nonce);
        let key = match self.by_open.get(&of_open) {
            Some(&key) => key,
            None => {
                // Nothing is made of an open that does not open.
                let keys = tls::initial_keys(&nonce, true);
                let mut copy = frame.to_vec();
                let number = header.packet_number;
                if super::packet::open(&*keys.remote, number, sealed_at, &mut copy).is_none() {
                    return Taken::Unsealed;
                }
                let params = Params::of(&self.config, self.config.mtu);
                let Ok(tls) = acceptor.accept(&params) else { return Taken::Refused };
                let (mtu, remote_key, side) = (self.config.mtu, operator_key, Side::Agent);
                if !self.make_room(now, peer.mac) {
                    self.stats.opens_refused += 1;
                    return Taken::Refused;
                }
                let id = self.take_id();
                let local_key = self.free_key();
                let expected = None;
                let begin = Begin {
                    id,
                    side,
                    peer,
                    port,
                    mtu,
                    local_key,
                    remote_key,
                    nonce,
                    tls,
                    expected,
                };
                self.stats.handshakes += 1;
                self.handshakes.insert(id);
                self.by_open.insert(of_open, local_key);
                self.insert(now, begin);
                local_key
            }
        };
        let Some(session) = self.sessions.get_mut(&key) else { return Taken::Refused };
        let taken = session.receive(now, port, header, sealed_at, frame);
        self.settle(now, key);
        taken
    }

    /// Makes room for one more session of `mac`, at the cost of the oldest that is
    /// still in its handshake: whoever can prove an address and no more cannot keep
    /// others out.
    fn make_room(&mut self, now: Instant, mac: Mac) -> bool {
        let is_of_peer = |session: &Connection| session.is_agent() && session.peer.mac == mac;
        let of_peer = self.sessions.values().filter(|session| is_of_peer(session)).count();
        let displaced = if of_peer >= self.config.max_sessions_per_peer {
            self.handshakes.iter().copied().find(|id| {
                let session = self.keys.get(id).and_then(|key| self.sessions.get(key));
                session.is_some_and(|session| is_of_peer(session))
            })
        } else if self.sessions.len() >= self.config.max_sessions
            || self.handshakes.len() >= self.config.max_handshakes
        {
            self.handshakes.first().copied()
        } else {
            return true;
        };
        let Some(id) = displaced else { return false };
        let Some(&key) = self.keys.get(&id) else { return false };
        if let Some(session) = self.sessions.get_mut(&key) {
            session.displace();
        }
        self.settle(now, key);
        true
    }

    fn free_key(&mut self) -> u16 {
        loop {
            // There are more keys than sessions.
            let key = self.rng.gen_range(1..=u16::MAX);
            if !self.sessions.contains_key(&key) {
                return key;
            }
        }
    }

    fn take_id(&mut self) -> SessionId {
        let id = SessionId(self.next_id);
        self.next_id += 1;
        id
    }

    fn insert(&mut self, now: Instant, begin: Begin) {
        let (id, key, peer, port) = (begin.id, begin.local_key, begin.peer, begin.port);
        let accepted = begin.side == Side::Agent;
        let session = Connection::new(Arc::clone(&self.config), begin, now);
        let name = session.session_key();
        self.sessions.insert(key, Box::new(session));
        self.keys.insert(id, key);
        self.events.push_back(Event::Begun { session: id, key: name, peer, port, accepted });
        self.settle(now, key);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle_received();
        let due: Vec<u16> =
            self.timers.iter().take_while(|(at, _)| *at <= now).map(|&(_, key)| key).collect();
        for key in due {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            if let Some(timer) = session.timer.take() {
                self.timers.remove(&(timer, key));
            }
            session.handle_timeout(now);
            self.settle(now, key);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // What is unsettled is due at once.
        self.unsettled.map(|(_, at)| at).or_else(|| self.timers.first().map(|&(at, _)| at))
    }

    /// What the owner must do next. Poll it dry after a batch of frames, not after
    /// each: what can be merged is.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.settle_received();
        self.events.pop_front()
    }

    /// Writes the next frame to send through `port` into `buffer` (the port's MTU).
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        port: usize,
        buffer: &mut [u8],
    ) -> Option<(Peer, usize)> {
        self.settle_received();
        // A flood of opens must not hold sessions up, nor sessions new ones.
        if self.since_retry >= FRAMES_A_RETRY
            && let Some(sent) = self.next_retry(port, buffer)
        {
            return Some(sent);
        }
        if let Some(sent) = self.next_of_sessions(now, port, buffer) {
            self.since_retry = self.since_retry.saturating_add(1);
            return Some(sent);
        }
        self.next_retry(port, buffer)
    }

    fn next_retry(&mut self, port: usize, buffer: &mut [u8]) -> Option<(Peer, usize)> {
        let (peer, retry) = self.retries.get_mut(port)?.pop_front()?;
        buffer.get_mut(..RETRY_LEN)?.copy_from_slice(&retry);
        self.stats.sent += 1;
        self.since_retry = 0;
        Some((peer, RETRY_LEN))
    }

    fn next_of_sessions(
        &mut self,
        now: Instant,
        port: usize,
        buffer: &mut [u8],
    ) -> Option<(Peer, usize)> {
        loop {
            let &key = self.ready.get(port)?.front()?;
            let sent = match self.sessions.get_mut(&key) {
                Some(session) if session.queued && session.port == port => {
                    session.poll_transmit(now, buffer).map(|len| (session.peer, len))
                }
                _ => None,
            };
            // The session keeps its turn for a whole batch: the endpoint's owner sends in
            // batches, and a session's frames in a row are cheaper than mixed ones.
            if let Some(sent) = sent {
                self.stats.sent += 1;
                self.take_turn(now, port, key);
                return Some(sent);
            }
            if let Some(ready) = self.ready.get_mut(port) {
                ready.pop_front();
            }
            if let Some(session) = self.sessions.get_mut(&key) {
                session.queued = false;
                // One that has nothing after all waits for its next event or timer.
                let moved = session.port != port;
                self.settle_with(now, key, moved);
            }
        }
    }

    /// After a frame of the session in front: the next session's turn after
    /// [`FRAMES_A_TURN`] frames.
    fn take_turn(&mut self, now: Instant, port: usize, key: u16) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.turn += 1;
        let over = session.turn >= FRAMES_A_TURN;
        let goes_on = session.wants_transmit(now);
        if !over && goes_on {
            return;
        }
        session.turn = 0;
        session.queued = goes_on;
        if let Some(ready) = self.ready.get_mut(port) {
            ready.pop_front();
            if goes_on {
                ready.push_back(key);
            }
        }
        if !goes_on {
            self.settle(now, key);
        }
    }

    /// Closes a session. [`Event::Drained`] follows.
    pub fn close(&mut self, now: Instant, session: SessionId, code: u32, reason: &str) {
        let Some(&key) = self.keys.get(&session) else { return };
        if let Some(session) = self.sessions.get_mut(&key) {
            session.close(now, code, reason);
        }
        self.settle(now, key);
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Where the session is not established, or the peer allows no more.
    pub fn open_stream(&mut self, session: SessionId) -> Result<StreamId, StreamError> {
        self.streams(session).ok_or(StreamError::Closed)?.open()
    }

    /// Higher goes first; equals take turns. 128 by default.
    pub fn set_priority(&mut self, session: SessionId, stream: StreamId, priority: u8) {
        if let Some(streams) = self.streams(session) {
            streams.set_priority(stream, priority);
        }
    }

    /// Limits what a session sends, in bytes a second.
    pub fn set_rate(&mut self, session: SessionId, bytes_per_second: Option<u64>) {
        if let Some(&key) = self.keys.get(&session)
            && let Some(session) = self.sessions.get_mut(&key)
        {
            session.set_rate(bytes_per_second);
        }
    }

    /// Bytes that this stream takes before its buffer is full. Writing more is
    /// possible, but nobody should.
    pub fn room(&self, session: SessionId, stream: StreamId) -> usize {
        let session = self.keys.get(&session).and_then(|key| self.sessions.get(key));
        session.and_then(|session| session.streams_ref()).map_or(0, |s| s.room(stream))
    }

    /// Queues all of `data`.
    ///
    /// # Errors
    ///
    /// Where the stream or the session is closed, or the peer has stopped it.
    pub fn write(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        data: Bytes,
    ) -> Result<(), StreamError> {
        self.with(now, session, |streams| streams.write(stream, data))
    }

    /// Queues all of `data` for this position: the stream is a placed one.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_at(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), StreamError> {
        self.with(now, session, |streams| streams.write_at(stream, offset, data))
    }

    /// Ends our direction of a stream.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn finish(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
    ) -> Result<(), StreamError> {
        self.with(now, session, |streams| streams.finish(stream))
    }

    /// Gives our direction of a stream up.
    pub fn reset(&mut self, now: Instant, session: SessionId, stream: StreamId, code: u32) {
        let _ = self.with(now, session, |streams| {
            streams.reset(stream, code);
            Ok(())
        });
    }

    /// Tells the peer to send no more on a stream.
    pub fn stop(&mut self, now: Instant, session: SessionId, stream: StreamId, code: u32) {
        let _ = self.with(now, session, |streams| {
            streams.stop(stream, code);
            Ok(())
        });
    }

    /// The next chunk of a stream, `None` where there is none yet. What arrived before
    /// the peer's goodbye can be read until [`Event::Closed`] has been polled.
    pub fn read(&mut self, session: SessionId, stream: StreamId) -> Option<Chunk> {
        let key = self.keys.get(&session)?;
        self.sessions.get_mut(key)?.arrived()?.read(stream)
    }

    /// The application is done with so many bytes of what it read: the peer may send
    /// as many more.
    pub fn consumed(&mut self, now: Instant, session: SessionId, stream: StreamId, bytes: u64) {
        let _ = self.with(now, session, |streams| {
            streams.consumed(stream, bytes);
            Ok(())
        });
    }

    /// Counts of all sessions.
    pub fn stats(&self) -> Stats {
        let live = self.sessions.values().filter(|session| !session.is_closed());
        live.fold(self.stats, |all, session| {
            let of_session = session.stats();
            Stats {
                lost: all.lost + of_session.lost,
                key_updates: all.key_updates + of_session.key_updates,
                ..all
            }
        })
    }

    /// Counts of one.
    pub fn session_stats(&self, session: SessionId) -> Option<SessionStats> {
        let key = self.keys.get(&session)?;
        self.sessions.get(key).map(|session| session.stats())
    }

    /// Sessions that are established or in their handshake.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    fn streams(&mut self, session: SessionId) -> Option<&mut Streams> {
        let key = self.keys.get(&session)?;
        self.sessions.get_mut(key)?.streams()
    }

    fn with(
        &mut self,
        now: Instant,
        session: SessionId,
        command: impl FnOnce(&mut Streams) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let &key = self.keys.get(&session).ok_or(StreamError::Closed)?;
        let session = self.sessions.get_mut(&key).ok_or(StreamError::Closed)?;
        let done = command(session.streams().ok_or(StreamError::Closed)?);
        self.settle(now, key);
        done
    }
}

/// Nonce and cookie of an open's body.
fn open_parts(frame: &[u8]) -> Option<([u8; NONCE_LEN], &[u8])> {
    let body = frame.get(V2_LEN..)?;
    let (nonce, rest) = body.split_first_chunk::<NONCE_LEN>()?;
    let (&len, rest) = rest.split_first()?;
    Some((*nonce, rest.get(..usize::from(len))?))
}

fn retry(operator_key: u16, nonce: &[u8; NONCE_LEN], cookie: &[u8; COOKIE_LEN]) -> [u8; RETRY_LEN] {
    let (ptype, dstkey) = (v2_ptype::RETRY, operator_key);
    let header = V2Header { ptype, srckey: 0, dstkey, packet_number: 0 };
    let mut retry = [0; RETRY_LEN];
    retry[..V2_LEN].copy_from_slice(&header.emit());
    retry[V2_LEN..V2_LEN + NONCE_LEN].copy_from_slice(nonce);
    // 20.
    retry[V2_LEN + NONCE_LEN] = COOKIE_LEN as u8;
    retry[V2_LEN + NONCE_LEN + 1..].copy_from_slice(cookie);
    retry
}

/// Frames of sessions between two retries, where both wait.
const FRAMES_A_RETRY: u32 = 8;
/// Frames that a session sends in a row before another's turn.
const FRAMES_A_TURN: u32 = 16;
