//! The operator's side: one session with one agent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::header::Dialect;
use bmstools_common::maps::SessionKey;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::assembler::{Limits, Message};
use crate::challenge::Answer;
use crate::config::Config;
use crate::connection::{Connection, Gone, Role};
use crate::control::{self, Type};
use crate::keys::PrivateKey;
use crate::response::{Code, Response};
use crate::stats::Stats;
use crate::wire::{Frame, Kind};

/// What to ask an agent for. One at a time: the next after the response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Run this with `/bin/bash -c`.
    Exec(Vec<u8>),
    /// Begin a file at this path.
    File(Vec<u8>),
    /// Append to the file; at most [`Client::max_data`] bytes, and in the v1
    /// dialect at least [`MIN_V1_DATA`].
    Data(Vec<u8>),
}

/// Data messages of the documented dialect cannot be shorter: a short frame's
/// padding could not be told from data.
pub const MIN_V1_DATA: usize = 32;

/// What the session's owner must know.
#[derive(Debug)]
pub enum Event {
    /// The agent answered the open.
    Opened,
    /// Authentication succeeded: requests may follow.
    Authenticated,
    /// The answer to the request under way.
    Response(Response),
    /// The agent confirmed the end. Nothing follows.
    Ended,
    /// The session failed. Nothing follows.
    Failed(SessionError),
}

/// Why a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nothing ever answered.
    #[error(
        "no answer from {peer} within {waited:.1?}: is the agent running, is the MAC address right, and is the VLAN reachable from this interface?"
    )]
    NoAnswer {
        /// Who was asked.
        peer: Peer,
        /// For how long.
        waited: Duration,
    },
    /// The agent answered before and no longer does.
    #[error(
        "lost contact with {peer}: nothing was acknowledged for {waited:.1?}; look whether the \
         agent still runs and the link is up, then try again"
    )]
    Lost {
        /// Who fell silent.
        peer: Peer,
        /// For how long.
        waited: Duration,
    },
    /// The agent refused the key.
    #[error("authentication refused by {peer}: {reason}")]
    AuthRefused {
        /// Who refused it.
        peer: Peer,
        /// Its words.
        reason: String,
    },
    /// No challenge of the agent could be decrypted.
    #[error("the key {fingerprint} is not one that {peer} accepts")]
    WrongKey {
        /// The key tried.
        fingerprint: String,
        /// Who sent the challenges.
        peer: Peer,
    },
    /// The agent ended the session.
    #[error("{0} ended the session")]
    EndedByAgent(Peer),
    /// The agent broke the protocol.
    #[error("{peer} broke the protocol: {what}")]
    Protocol {
        /// Who did.
        peer: Peer,
        /// How.
        what: String,
    },
}

/// Bytes of file data that an agent takes in one message.
const MAX_DATA: usize = 900_000;

/// One session.
///
/// Opens and authenticates by itself; then takes requests. Calls that may change
/// what the polls return: every `handle_*` and every command.
pub struct Client {
    config: Arc<Config>,
    connection: Connection,
    key: PrivateKey,
    rng: StdRng,
    state: State,
    opened_at: Instant,
    /// When the answer that is awaited must have come.
    answer_due: Option<Instant>,
    max_data: usize,
    request_len: usize,
    events: VecDeque<Event>,
    stats: Stats,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Opening,
    AwaitingChallenge { attempt: usize },
    AwaitingVerdict,
    Ready,
    AwaitingResponse,
    Ending,
    Over,
}

impl Client {
    /// A session that begins by opening. `seed` chooses the session's key: for an
    /// operator that is alone at its address.
    pub fn new(
        config: Config,
        dialect: Dialect,
        peer: Peer,
        key: PrivateKey,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let session_key = StdRng::from_seed(seed).gen_range(1..=u16::MAX);
        Self::with_session_key(config, dialect, peer, key, session_key, seed, now)
    }

    /// A session that begins by opening under this session key, which is not 0 and
    /// which nobody else uses who sends from the same address.
    pub fn with_session_key(
        config: Config,
        dialect: Dialect,
        peer: Peer,
        key: PrivateKey,
        session_key: u16,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let config = Arc::new(config);
        let rng = StdRng::from_seed(seed);
        let keys = (session_key, 0);
        let vlan_field = peer.vlan.id().map_or(0, u32::from);
        let transport = Arc::clone(&config);
        let mut connection =
            Connection::new(transport, Role::Operator, dialect, peer, keys, vlan_field, now);
        connection.send(now, Message { kind: Kind::Open, data: Vec::new() });
        let max_data = match dialect {
            Dialect::V1 => MAX_DATA,
            Dialect::V1Deployed => deployed_unit(&config),
        };
        Self {
            config,
            connection,
            key,
            rng,
            state: State::Opening,
            opened_at: now,
            answer_due: None,
            max_data,
            request_len: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// What the link must let through before the first frame is sent.
    pub const fn session_key(&self) -> SessionKey {
        self.connection.session_key()
    }

    /// Takes a frame, from its bmstools header on. Bad frames are counted and
    /// change nothing.
    pub fn handle_frame(&mut self, now: Instant, peer: Peer, frame: &mut [u8]) {
        self.stats.received += 1;
        if self.take_frame(now, peer, frame).is_none() {
            self.stats.refused += 1;
        }
    }

    fn take_frame(&mut self, now: Instant, peer: Peer, bytes: &[u8]) -> Option<()> {
        let connection = &mut self.connection;
        let frame = Frame::parse(bytes, connection.dialect).ok()?;
        if peer != connection.peer || frame.dstkey != connection.local_key {
            return None;
        }
        let knows_agent = connection.remote_key != 0;
        if !knows_agent {
            match frame.kind {
                Kind::Ack => {}
                Kind::Open if frame.srckey != 0 && frame.sequence == 0 && frame.count == 1 => {
                    connection.remote_key = frame.srckey;
                }
                _ => return None,
            }
        }
        let limits =
            Limits { message: self.config.max_response, fragments: u16::MAX, may_begin: true };
        let message = connection.receive(now, &frame, limits, &mut self.stats).ok()?;
        if let Some(message) = message {
            self.take_message(now, message);
        }
        Some(())
    }

    fn take_message(&mut self, now: Instant, message: Message) {
        match (message.kind, self.state) {
            (Kind::End, State::Ending) => self.over(Event::Ended),
            (Kind::End, State::Over) => {}
            (Kind::End, _) => {
                self.connection.abandon();
                self.connection.send(now, Message { kind: Kind::End, data: Vec::new() });
                self.fail(SessionError::EndedByAgent(self.connection.peer));
            }
            (Kind::Open, State::Opening) => {
                self.events.push_back(Event::Opened);
                self.ask_for_challenge(now, 0);
            }
            (Kind::Control, State::AwaitingChallenge { attempt }) => {
                self.take_challenge(now, attempt, &message.data);
            }
            (Kind::Data, State::Ending) => {
                if let Ok(response) = Response::from_json(&message.data) {
                    self.events.push_back(Event::Response(response));
                }
            }
            (Kind::Data, State::Over) => {}
            (Kind::Data, _) => match Response::from_json(&message.data) {
                Ok(response) => self.take_response(now, response),
                Err(error) => self.broken(format!("its response is not JSON: {error}")),
            },
            (kind, state) => self.broken(format!("sent {kind:?} while {state:?}")),
        }
    }

    fn ask_for_challenge(&mut self, now: Instant, attempt: usize) {
        self.send_control(now, Type::Authenticate, b"");
        self.await_answer(now, State::AwaitingChallenge { attempt });
    }

    fn take_challenge(&mut self, now: Instant, attempt: usize, message: &[u8]) {
        let Some((Type::Authenticate, cipher)) = control::parse(message) else {
            return self.broken("sent another control message than a challenge".into());
        };
        match Answer::from_challenge(&self.key, cipher, &mut self.rng) {
            Some(answer) => {
                self.send_control(now, Type::Authenticate, answer.as_bytes());
                self.await_answer(now, State::AwaitingVerdict);
            }
            // Under another of the agent's keys, perhaps: ours may be the next.
            None if attempt + 1 < self.config.max_challenges => {
                self.ask_for_challenge(now, attempt + 1);
            }
            None => self.wrong_key(),
        }
    }

    fn take_response(&mut self, now: Instant, response: Response) {
        match self.state {
            State::AwaitingVerdict if response.code == Code::Success => {
                self.rest(now);
                self.events.push_back(Event::Authenticated);
            }
            State::AwaitingChallenge { attempt } if attempt > 0 => self.wrong_key(),
            State::AwaitingVerdict | State::AwaitingChallenge { .. } => {
                let reason = response.msg.unwrap_or_else(|| response.code.name().to_owned());
                self.fail(SessionError::AuthRefused { peer: self.connection.peer, reason });
            }
            State::AwaitingResponse => {
                self.adapt_max_data();
                self.rest(now);
                self.events.push_back(Event::Response(response));
            }
            state => self.broken(format!("sent a response while {state:?}")),
        }
    }

    /// Every message to a deployed agent whose fragments do not all fit in the
    /// window risks a needless repetition once something is lost: grow only while
    /// nothing is.
    fn adapt_max_data(&mut self) {
        if self.connection.dialect == Dialect::V1Deployed {
            self.max_data = if self.connection.has_repeated() {
                deployed_unit(&self.config)
            } else {
                (self.max_data * 2).min(MAX_DATA)
            };
        }
    }

    fn wrong_key(&mut self) {
        let fingerprint = self.key.public_key().fingerprint();
        self.fail(SessionError::WrongKey { fingerprint, peer: self.connection.peer });
    }

    fn broken(&mut self, what: String) {
        self.fail(SessionError::Protocol { peer: self.connection.peer, what });
    }

    fn fail(&mut self, error: SessionError) {
        self.over(Event::Failed(error));
    }

    fn over(&mut self, event: Event) {
        if self.state != State::Over {
            self.state = State::Over;
            self.answer_due = None;
            self.events.push_back(event);
        }
    }

    fn send_control(&mut self, now: Instant, ctype: Type, data: &[u8]) {
        let data = control::emit(ctype, data);
        self.connection.send(now, Message { kind: Kind::Control, data });
    }

    fn await_answer(&mut self, now: Instant, state: State) {
        self.state = state;
        self.connection.expect(now, true);
        self.answer_due = (self.connection.dialect == Dialect::V1Deployed)
            .then(|| now + self.config.deployed_response_timeout);
    }

    fn rest(&mut self, now: Instant) {
        self.state = State::Ready;
        self.connection.expect(now, false);
        self.answer_due = None;
    }

    /// Does what is due. Call when [`poll_timeout`](Self::poll_timeout) has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Over {
            return;
        }
        let peer = self.connection.peer;
        let waited = now.saturating_duration_since(self.opened_at);
        if self.state == State::Opening && waited >= self.config.open_timeout {
            return self.fail(SessionError::NoAnswer { peer, waited });
        }
        if self.answer_due.is_some_and(|due| due <= now) {
            let waited = self.config.deployed_response_timeout;
            return self.fail(SessionError::Lost { peer, waited });
        }
        if let Err(Gone { silence }) = self.connection.handle_timeout(now) {
            self.fail(match self.state {
                State::Opening => SessionError::NoAnswer { peer, waited },
                _ => SessionError::Lost { peer, waited: silence },
            });
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next. Changed
    /// by every call but the polls for events.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.state == State::Over {
            return None;
        }
        let opened =
            (self.state == State::Opening).then(|| self.opened_at + self.config.open_timeout);
        [opened, self.answer_due, self.connection.timeout(now)].into_iter().flatten().min()
    }

    /// What the owner must know next.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Writes the next frame into `buffer` (256 bytes at least); its receiver and
    /// its length. Goes on after the end, until what was received last is
    /// acknowledged.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(Peer, usize)> {
        let len = self.connection.poll_transmit(now, buffer, &mut self.stats)?;
        Some((self.connection.peer, len))
    }

    /// Sends a request.
    ///
    /// # Panics
    ///
    /// Before [`Event::Authenticated`], or while another is under way.
    pub fn request(&mut self, now: Instant, request: Request) {
        if self.state == State::Over {
            return;
        }
        assert_eq!(self.state, State::Ready, "one request at a time, after authentication");
        let is_command = matches!(request, Request::Exec(_));
        match request {
            Request::Exec(command) => self.send_control(now, Type::Execute, &command),
            Request::File(path) => self.send_control(now, Type::ReceiveFile, &path),
            Request::Data(data) => {
                self.request_len = data.len();
                self.connection.send(now, Message { kind: Kind::Data, data });
            }
        }
        self.await_answer(now, State::AwaitingResponse);
        if is_command {
            self.answer_due = None;
        }
    }

    /// Ends the session, whatever is under way. [`Event::Ended`] follows, or
    /// [`Event::Failed`]; before that an [`Event::Response`] where the agent could
    /// not put a file in place.
    pub fn end(&mut self, now: Instant) {
        match self.state {
            State::Over | State::Ending => {}
            // There is nobody to tell yet.
            State::Opening => {
                self.connection.abandon();
                self.over(Event::Ended);
            }
            _ => {
                self.connection.abandon();
                self.connection.send(now, Message { kind: Kind::End, data: Vec::new() });
                self.await_answer(now, State::Ending);
            }
        }
    }

    /// Bytes that the next data request may carry at most. Grows and shrinks with
    /// the link in the deployed dialect.
    pub const fn max_data(&self) -> usize {
        self.max_data
    }

    /// Bytes of the data request under way that the agent has acknowledged.
    pub fn acknowledged(&self) -> usize {
        if self.connection.is_sent() {
            self.request_len
        } else {
            self.connection.acknowledged_bytes()
        }
    }

    /// Smoothed round-trip time; `None` before the first sample.
    pub const fn round_trip_time(&self) -> Option<Duration> {
        self.connection.round_trip_time()
    }

    /// Frames sent again so far.
    pub const fn retransmitted(&self) -> u64 {
        self.stats.retransmitted
    }

    /// What happened so far.
    pub const fn stats(&self) -> Stats {
        self.stats
    }
}

/// Bytes of a message whose fragments all fit in a deployed agent's window.
fn deployed_unit(config: &Config) -> usize {
    config.deployed_window * (config.mtu - Dialect::V1Deployed.header_len())
}
