//! One session: packets in, packets out.
//!
//! [`receive`] takes a frame apart, [`transmit`] puts the next one together; this file
//! holds what both share and the timers.

#[cfg(test)]
mod forge;
mod handshake;
mod receive;
mod transmit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::maps::SessionKey;

use super::acks::Received;
use super::config::Config;
use super::cookie::NONCE_LEN;
use super::crypto_stream::CryptoStream;
use super::endpoint::{CloseReason, SessionId, SessionStats};
use super::identity::PublicKey;
use super::packet::SessionKeys;
use super::recovery::{Content, Outcome, Recovery};
use super::sizing::{BASE, Sizing};
use super::streams::Streams;
use super::tls::{DirectionalPair, Tls};

/// Encryption levels: the initial keys, the handshake's, the session's.
pub(super) const INITIAL: usize = 0;
pub(super) const HANDSHAKE: usize = 1;
pub(super) const DATA: usize = 2;

/// Which end of a session this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Operator,
    Agent,
}

/// Why a session cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The peer broke the protocol so.
    Violation(&'static str),
    /// The session ends for this, and the peer is told this code and reason.
    Close(CloseReason, u32, String),
}

impl From<super::streams::Violation> for Fault {
    fn from(violation: super::streams::Violation) -> Self {
        Self::Violation(violation.0)
    }
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Asks for a cookie: the next open leaves at `again_at`.
    Asking { again_at: Instant, wait: Duration },
    /// Keys are being agreed on.
    Handshaking,
    /// Both sides know each other.
    Established,
    /// CLOSE was sent, or is to be: it leaves at `again_at` until it is confirmed.
    Closing { again_at: Instant, wait: Duration, until: Instant },
    /// The peer's CLOSE came: `answer` says whether one of ours is owed.
    Draining { answer: bool, until: Instant },
    /// Nothing is left.
    Drained,
}

/// What the endpoint is told beside the streams' events.
#[derive(Debug)]
pub(super) enum Happened {
    Established { peer_key: PublicKey, peer_software: String },
    Closed(CloseReason),
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    Opened,
    Refused,
    Unsealed,
    Replayed,
}

pub(super) struct Connection {
    pub(super) id: SessionId,
    config: Arc<Config>,
    side: Side,
    pub(super) peer: Peer,
    pub(super) port: usize,
    pub(super) opened_port: usize,
    pub(super) local_key: u16,
    /// 0 while unknown.
    pub(super) remote_key: u16,
    /// Bytes behind the Ethernet header that our ports take.
    mtu: usize,
    pub(super) nonce: [u8; NONCE_LEN],
    cookie: Vec<u8>,

    state: State,
    opened_at: Instant,
    tls: Option<Tls>,
    expected: Option<PublicKey>,
    levels: [Option<DirectionalPair>; 2],
    crypto: [CryptoStream; 2],
    keys: Option<SessionKeys>,
    /// The level that what TLS writes next belongs to.
    write_level: usize,
    /// The highest level that the peer has shown to have keys for.
    peer_level: usize,

    next_number: u64,
    received: Received,
    recovery: Recovery,
    streams: Streams,
    sizing: Sizing,
    outcome: Outcome,

    /// ACKs sent since anything that called for one.
    bare_acks: u32,
    done_due: bool,
    ping_due: bool,
    /// Pacing holds frames back until then.
    paced_until: Option<Instant>,
    last_received: Instant,
    last_ping: Instant,
    idle_timeout: Duration,
    /// An unauthentic CLOSE, and when it is believed.
    rumour: Option<(CloseReason, Instant)>,
    /// The CLOSE that we send.
    farewell: (u32, String),
    happened: Option<Happened>,
    sent_frames: u64,
    received_frames: u64,

    /// For the endpoint's queue and timers.
    pub(super) queued: bool,
    pub(super) queued_port: usize,
    /// Frames sent in this turn.
    pub(super) turn: u32,
    pub(super) timer: Option<Instant>,
}

/// How a session comes into being.
pub(super) struct Begin {
    pub(super) id: SessionId,
    pub(super) side: Side,
    pub(super) peer: Peer,
    pub(super) port: usize,
    pub(super) mtu: usize,
    pub(super) local_key: u16,
    pub(super) remote_key: u16,
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) tls: Tls,
    /// Whom an operator wants the agent to be.
    pub(super) expected: Option<PublicKey>,
}

impl Connection {
    pub(super) fn new(config: Arc<Config>, begin: Begin, now: Instant) -> Self {
        let is_agent = begin.side == Side::Agent;
        let initial = super::tls::initial_keys(&begin.nonce, is_agent);
        let state = match begin.side {
            Side::Operator => State::Asking { again_at: now, wait: FIRST_WAIT },
            Side::Agent => State::Handshaking,
        };
        let recovery = Recovery::new(now, BASE as u64, config.max_frames_in_flight);
        let streams = Streams::new(u32::from(is_agent), &config);
        let received = Received::new(1, config.max_ack_delay);
        let idle_timeout = config.idle_timeout;
        let mut connection = Self {
            id: begin.id,
            config,
            side: begin.side,
            peer: begin.peer,
            port: begin.port,
            opened_port: begin.port,
            local_key: begin.local_key,
            remote_key: begin.remote_key,
            mtu: begin.mtu,
            nonce: begin.nonce,
            cookie: Vec::new(),
            state,
            opened_at: now,
            tls: Some(begin.tls),
            expected: begin.expected,
            levels: [Some(initial), None],
            crypto: Default::default(),
            keys: None,
            write_level: INITIAL,
            peer_level: INITIAL,
            next_number: 0,
            received,
            recovery,
            streams,
            sizing: Sizing::new(),
            outcome: Outcome::default(),
            bare_acks: 0,
            done_due: false,
            ping_due: false,
            paced_until: None,
            last_received: now,
            last_ping: now,
            idle_timeout,
            rumour: None,
            farewell: (0, String::new()),
            happened: None,
            sent_frames: 0,
            received_frames: 0,
            queued: false,
            queued_port: begin.port,
            turn: 0,
            timer: None,
        };
        if begin.side == Side::Operator {
            connection.write_tls();
        }
        connection
    }

    pub(super) fn session_key(&self) -> SessionKey {
        SessionKey::v2(self.peer, self.local_key)
    }

    pub(super) fn is_agent(&self) -> bool {
        self.side == Side::Agent
    }

    pub(super) fn is_established(&self) -> bool {
        self.state == State::Established
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Asking { .. } | State::Handshaking)
    }

    /// Whether the owner knows that it is over.
    pub(super) fn is_closed(&self) -> bool {
        !self.is_handshaking() && !self.is_established()
    }

    pub(super) fn is_drained(&self) -> bool {
        self.state == State::Drained
    }

    /// Whether streams can be used.
    pub(super) fn streams(&mut self) -> Option<&mut Streams> {
        (self.state == State::Established).then_some(&mut self.streams)
    }

    pub(super) fn streams_ref(&self) -> Option<&Streams> {
        (self.state == State::Established).then_some(&self.streams)
    }

    /// Whether what arrived can be read: also where the peer's goodbye followed it.
    pub(super) fn arrived(&mut self) -> Option<&mut Streams> {
        matches!(self.state, State::Established | State::Draining { .. })
            .then_some(&mut self.streams)
    }

    /// Whether something happened that nobody has taken.
    pub(super) fn has_news(&self) -> bool {
        self.happened.is_some()
    }

    pub(super) fn take_happened(&mut self) -> Option<Happened> {
        self.happened.take()
    }

    pub(super) fn set_rate(&mut self, bytes_per_second: Option<u64>) {
        self.recovery.pacer.set_cap(bytes_per_second);
    }

    pub(super) fn stats(&self) -> SessionStats {
        let rtt = &self.recovery.rtt;
        SessionStats {
            rtt: rtt.is_measured().then(|| (rtt.smoothed(), rtt.min(), rtt.latest())),
            frame_size: self.sizing.current(),
            sent: self.sent_frames,
            received: self.received_frames,
            lost: self.recovery.lost_packets(),
            retransmitted: self.streams.retransmitted(),
            window: self.recovery.window(),
            key_updates: self.keys.as_ref().map_or(0, SessionKeys::updates),
        }
    }

    /// Closes the session from this side.
    pub(super) fn close(&mut self, now: Instant, code: u32, reason: &str) {
        self.end(now, CloseReason::Local, code, reason.to_owned());
    }

    /// Ends the session for a fault of either side.
    fn fail(&mut self, now: Instant, fault: Fault) {
        match fault {
            Fault::Violation(what) => {
                self.end(now, CloseReason::Violation(what.to_owned()), 1, what.to_owned());
            }
            Fault::Close(why, code, reason) => self.end(now, why, code, reason),
        }
    }

    fn end(&mut self, now: Instant, why: CloseReason, code: u32, reason: String) {
        if !self.is_handshaking() && !self.is_established() {
            return;
        }
        self.happened = Some(Happened::Closed(why));
        self.farewell = (code, reason);
        let wait = self.probe_timeout().min(MAX_WAIT);
        // A peer that was never heard has nothing to close.
        self.state = if matches!(self.state, State::Asking { .. }) || self.remote_key == 0 {
            State::Drained
        } else {
            State::Closing { again_at: now, wait, until: now + FAREWELL.max(wait * 6) }
        };
        self.leave();
    }

    /// Ends the session without a word.
    fn vanish(&mut self, why: CloseReason) {
        if self.is_handshaking() || self.is_established() {
            self.happened = Some(Happened::Closed(why));
        }
        self.state = State::Drained;
        self.leave();
    }

    /// Ends a handshake in favour of another's.
    pub(super) fn displace(&mut self) {
        self.vanish(CloseReason::Handshake("displaced by another".to_owned()));
    }

    /// The peer's CLOSE, at a level that is authentic.
    fn closed_by_peer(&mut self, now: Instant, why: CloseReason) {
        let until = now + (self.probe_timeout().min(MAX_WAIT) * 3).max(LINGER);
        match self.state {
            State::Drained => {}
            State::Closing { .. } => self.state = State::Drained,
            State::Draining { until, .. } => self.state = State::Draining { answer: true, until },
            State::Asking { .. } | State::Handshaking | State::Established => {
                self.happened = Some(Happened::Closed(why));
                self.farewell = (0, String::new());
                self.state = State::Draining { answer: true, until };
                // The streams stay until the session is drained: what came before the
                // goodbye is the application's.
                self.tls = None;
                self.paced_until = None;
            }
        }
    }

    /// The peer has the handshake's keys: what was sealed with the initial keys, which
    /// anybody can have made, counts for nothing from here on, nor do its numbers.
    fn forget_initial(&mut self) {
        self.levels[INITIAL] = None;
        self.crypto[INITIAL] = CryptoStream::default();
        self.recovery.forget_level(INITIAL as u8);
        self.received = Received::new(1, self.config.max_ack_delay);
        self.rumour = None;
    }

    /// Frees what only a live session needs.
    fn leave(&mut self) {
        self.streams = Streams::new(u32::from(self.is_agent()), &self.config);
        self.tls = None;
        self.paced_until = None;
    }

    fn probe_timeout(&self) -> Duration {
        self.recovery.rtt.probe_timeout(self.config.max_ack_delay)
    }

    /// Bytes behind the Ethernet header that a frame of ours may have.
    fn frame_room(&self, buffer: usize, size: usize) -> usize {
        self.peer.vlan.payload_room(self.mtu.min(buffer)).min(size)
    }

    // ---- timers ----

    /// When [`handle_timeout`](Self::handle_timeout) is due. What waits only to be sent
    /// needs no timer once its time has come.
    pub(super) fn timeout(&self, now: Instant) -> Option<Instant> {
        let later = |at: &Instant| *at > now;
        let earliest = match self.state {
            State::Asking { again_at, .. } => {
                [Some(again_at).filter(later), Some(self.handshake_due()), None]
            }
            State::Handshaking => [
                Some(self.handshake_due()),
                self.rumour.as_ref().map(|(_, at)| *at),
                self.recovery.timeout(),
            ],
            State::Established => {
                let idle = Some(self.last_received + self.idle_timeout);
                let lost = self.recovery.unanswered_since().map(|at| at + self.config.give_up);
                let (lost, paced) = (lost.filter(later), self.paced_until.filter(later));
                let first = [self.ping_at(), paced, lost, self.sizing.timeout()];
                [idle, self.recovery.timeout(), first.into_iter().flatten().min()]
            }
            State::Closing { again_at, until, .. } => {
                [Some(again_at).filter(later), Some(until), None]
            }
            State::Draining { until, .. } => [Some(until), None, None],
            State::Drained => [None; 3],
        };
        let live = matches!(self.state, State::Handshaking | State::Established);
        let ack = if live { self.received.due_at().filter(later) } else { None };
        earliest.into_iter().chain([ack]).flatten().min()
    }

    fn handshake_due(&self) -> Instant {
        self.opened_at + self.config.handshake_timeout
    }

    /// When a PING keeps the session from being idle.
    fn ping_at(&self) -> Option<Instant> {
        let waits = self.config.keep_alive || self.streams.count() > 0;
        let since = self.last_received.max(self.last_ping);
        (waits && !self.ping_due).then(|| since + self.idle_timeout / 3)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Asking { .. } | State::Handshaking if now >= self.handshake_due() => {
                let waited = self.config.handshake_timeout;
                let why = if self.last_received == self.opened_at && self.cookie.is_empty() {
                    CloseReason::NoAnswer(waited)
                } else {
                    CloseReason::Handshake(format!("not finished within {waited:.1?}"))
                };
                self.vanish(why);
            }
            State::Asking { .. } | State::Drained => {}
            State::Handshaking => {
                if let Some((_, at)) = &self.rumour
                    && *at <= now
                    && let Some((why, _)) = self.rumour.take()
                {
                    return self.vanish(why);
                }
                self.recover(now);
            }
            State::Established => {
                let silence = now.saturating_duration_since(self.last_received);
                let give_up = self.config.give_up;
                if silence >= self.idle_timeout {
                    return self.vanish(CloseReason::Idle);
                }
                if self.recovery.unanswered_since().is_some_and(|at| at + give_up <= now)
                    && self.recovery.probe_count() >= MIN_PROBES
                {
                    return self.vanish(CloseReason::Lost(silence));
                }
                if self.paced_until.is_some_and(|at| at <= now) {
                    self.paced_until = None;
                }
                if self.ping_at().is_some_and(|at| at <= now) {
                    self.ping_due = true;
                    self.last_ping = now;
                }
                self.sizing.handle_timeout(now);
                self.recover(now);
            }
            State::Closing { until, .. } | State::Draining { until, .. } => {
                if until <= now {
                    self.state = State::Drained;
                }
            }
        }
    }

    fn recover(&mut self, now: Instant) {
        if self.recovery.timeout().is_some_and(|at| at <= now) {
            let mut outcome = std::mem::take(&mut self.outcome);
            self.recovery.handle_timeout(now, &mut outcome);
            self.settle(now, &mut outcome);
            self.outcome = outcome;
            if self.recovery.probe_count() >= BLACK_HOLE_PROBES && self.sizing.fall_back() {
                self.recovery.set_frame_size(BASE as u64);
            }
        }
    }

    /// Tells everybody what became of what was sent, and empties `outcome`.
    fn settle(&mut self, now: Instant, outcome: &mut Outcome) {
        let mut acknowledged = outcome.acknowledged.drain(..).peekable();
        while let Some(content) = acknowledged.next() {
            match content {
                Content::Ack { largest } => self.received.forget_below(largest),
                Content::SizeProbe { size } => {
                    if self.sizing.acknowledged(usize::from(size)) {
                        self.recovery.set_frame_size(self.sizing.current() as u64);
                    }
                }
                Content::Crypto { .. } | Content::HandshakeDone => {}
                Content::Placed { stream, offset, len } => {
                    // Packets in a row carry pieces of a file in a row.
                    let mut end = offset + u64::from(len);
                    while let Some(Content::Placed { len, .. }) = acknowledged.next_if(|next| {
                        matches!(*next, Content::Placed { stream: other, offset, .. }
                            if other == stream && offset == end)
                    }) {
                        end += u64::from(len);
                    }
                    self.streams.placed_acknowledged(stream, offset..end);
                }
                _ => self.streams.acknowledged(content),
            }
        }
        drop(acknowledged);
        for content in outcome.lost.drain(..) {
            match content {
                Content::Crypto { level, offset, len } => {
                    if let Some(crypto) = self.crypto.get_mut(usize::from(level)) {
                        crypto.lost(offset, len);
                    }
                }
                Content::HandshakeDone => self.done_due = true,
                Content::SizeProbe { size } => self.sizing.lost(now, usize::from(size)),
                Content::Ack { .. } => {}
                _ => self.streams.lost(content),
            }
        }
    }
}

/// How long the first open waits for its answer; twice as long each further time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait between opens and between CLOSEs.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How long CLOSE is repeated to a peer that does not confirm it.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a peer's CLOSE is answered.
const LINGER: Duration = Duration::from_millis(200);
/// How long a CLOSE that anybody could have made is doubted.
const DOUBT: Duration = Duration::from_secs(1);
/// Probe timeouts without an answer before the peer counts as gone: this host may have
/// been the one that stood still.
const MIN_PROBES: u32 = 3;
/// Probe timeouts in a row after which long frames are suspected.
const BLACK_HOLE_PROBES: u32 = 3;
