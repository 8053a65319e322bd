//! One session of an agent: who may ask for what, and when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bmstools_common::ethernet::Peer;
use bmstools_common::header::Dialect;

use super::{EndReason, Event, Request, SessionId};
use crate::assembler::{Limits, Message, Refused};
use crate::challenge::{Answer, Challenge};
use crate::config::Config;
use crate::connection::{Connection, Role};
use crate::control::{self, Type};
use crate::response::{Code, Response};
use crate::stats::Stats;
use crate::wire::{Frame, Kind};

/// Fragments of a message before authentication: its few bytes fit in one, even
/// from peers that cut small.
const UNAUTHENTICATED_FRAGMENTS: u16 = 8;

pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) connection: Connection,
    /// Where its open came in.
    pub(super) opened_port: usize,
    /// Where its last frame came in, and its frames go out.
    pub(super) port: usize,
    /// Whether it stands in the queue of sessions with something to send of
    /// `queued_port`.
    pub(super) queued: bool,
    pub(super) queued_port: usize,
    /// When it looks at its timeouts next.
    pub(super) timer: Option<Instant>,
    config: Arc<Config>,
    state: State,
    opened_at: Instant,
    /// Whether a message followed the open.
    used: bool,
    authenticated: bool,
    attempts: usize,
    /// The answer to the challenge that is out; taken by the first that comes.
    expected: Option<Answer>,
    under_way: UnderWay,
    /// A message that waits for the one under way. The next is not acknowledged.
    inbox: Option<Message>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The owner has not accepted the open.
    Opening,
    Open,
    /// The operator ended it; the owner has not finished.
    Ending,
    /// The end is on its way to the operator.
    Closing {
        until: Instant,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnderWay {
    Nothing,
    Challenge,
    Request,
}

impl Session {
    #[allow(clippy::too_many_arguments, reason = "one caller, and each is one fact of the open")]
    pub(super) fn open(
        id: SessionId,
        config: Arc<Config>,
        dialect: Dialect,
        peer: Peer,
        port: usize,
        key: u16,
        open: &Frame<'_>,
        now: Instant,
    ) -> Self {
        let keys = (key, open.srckey);
        let transport = Arc::clone(&config);
        let connection =
            Connection::new(transport, Role::Agent, dialect, peer, keys, open.vlan, now);
        let mut session = Self {
            id,
            connection,
            opened_port: port,
            port,
            queued: false,
            queued_port: port,
            timer: None,
            config,
            state: State::Opening,
            opened_at: now,
            used: false,
            authenticated: false,
            attempts: 0,
            expected: None,
            under_way: UnderWay::Nothing,
            inbox: None,
        };
        session.repeat_open(now, open, &mut Stats::default());
        session
    }

    /// Takes an open frame: acknowledges it.
    pub(super) fn repeat_open(&mut self, now: Instant, open: &Frame<'_>, stats: &mut Stats) {
        // Nothing but the acknowledgement comes of it, first or repeated.
        let _ = self.connection.receive(now, open, self.limits(false), stats);
    }

    /// Whether nothing but the open has come.
    pub(super) const fn is_fresh(&self) -> bool {
        !self.used
    }

    pub(super) const fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether it counts against the limit on messages that are put together.
    pub(super) const fn holds_reassembly(&self) -> bool {
        self.authenticated && self.connection.is_reassembling()
    }

    /// Whether the owner has been told of the end.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ending | State::Closing { .. })
    }

    /// Whether the session can be forgotten.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Closing { .. }) && self.connection.is_quiet()
    }

    fn limits(&self, may_begin: bool) -> Limits {
        if self.authenticated {
            let message = self.config.max_message;
            Limits { message, fragments: u16::MAX, may_begin }
        } else {
            let message = self.config.max_unauthenticated_message;
            Limits { message, fragments: UNAUTHENTICATED_FRAGMENTS, may_begin }
        }
    }

    /// Takes a frame.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        may_begin: bool,
        stats: &mut Stats,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Refused> {
        let awaited = match frame.kind {
            Kind::Ack | Kind::End => true,
            Kind::Open => false,
            Kind::Data | Kind::Control => {
                self.state == State::Open
                    && self.inbox.is_none()
                    && !self.connection.is_backlogged()
            }
        };
        if !awaited && !self.connection.is_duplicate(frame) {
            return Err(Refused);
        }
        let limits = self.limits(may_begin);
        let aborting = self.connection.is_abandoning(frame) || self.under_way == UnderWay::Request;
        let message = self.connection.receive(now, frame, limits, stats)?;
        self.used |= frame.sequence > 0;
        match message {
            None => {}
            Some(Message { kind: Kind::End, .. }) => {
                let reason = if aborting { EndReason::Aborted } else { EndReason::Peer };
                self.take_end(now, reason, events);
            }
            Some(message) if self.under_way == UnderWay::Nothing => {
                self.take(now, message, stats, events);
            }
            Some(message) => self.inbox = Some(message),
        }
        Ok(())
    }

    /// Goes on with the message that waited, if nothing is under way.
    pub(super) fn next_from_inbox(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        events: &mut VecDeque<Event>,
    ) {
        while self.under_way == UnderWay::Nothing
            && self.state == State::Open
            && let Some(message) = self.inbox.take()
        {
            self.take(now, message, stats, events);
        }
    }

    fn take_end(&mut self, now: Instant, reason: EndReason, events: &mut VecDeque<Event>) {
        self.inbox = None;
        self.set_under_way(now, UnderWay::Nothing);
        match self.state {
            // Its answer to our end, or its own that crossed ours: either way it
            // still needs ours, which is repeated until it is acknowledged.
            State::Ending | State::Closing { .. } => {}
            State::Opening | State::Open => {
                self.connection.abandon();
                self.state = State::Ending;
                events.push_back(Event::Ended { session: self.id, reason });
            }
        }
    }

    fn take(
        &mut self,
        now: Instant,
        message: Message,
        stats: &mut Stats,
        events: &mut VecDeque<Event>,
    ) {
        let request = match message.kind {
            Kind::Data => Request::Data { data: message.data },
            Kind::Control => match control::parse(&message.data) {
                Some((Type::Authenticate, answer)) => {
                    return self.authenticate(now, answer, stats, events);
                }
                Some((Type::Execute, command)) => Request::Exec { command: command.to_vec() },
                Some((Type::ReceiveFile, path)) => Request::File { path: path.to_vec() },
                Some((Type::Unknown(ctype), _)) if self.authenticated => {
                    let msg = format!("control type {ctype} is not known to this agent");
                    return self.send_response(now, &Response::error(Code::AnalyzeError, msg));
                }
                Some((Type::Unknown(_), _)) | None => return self.refuse_unauthenticated(now),
            },
            Kind::Open | Kind::Ack | Kind::End => return,
        };
        if !self.authenticated {
            return self.refuse_unauthenticated(now);
        }
        self.set_under_way(now, UnderWay::Request);
        events.push_back(Event::Request { session: self.id, request });
    }

    fn refuse_unauthenticated(&mut self, now: Instant) {
        let msg = "the session has not authenticated";
        self.send_response(now, &Response::error(Code::AuthError, msg));
    }

    fn authenticate(
        &mut self,
        now: Instant,
        answer: &[u8],
        stats: &mut Stats,
        events: &mut VecDeque<Event>,
    ) {
        if answer.is_empty() {
            self.expected = None;
            if self.attempts >= self.config.max_challenges {
                return self.no_challenge(now, stats);
            }
            let attempt = self.attempts;
            self.attempts += 1;
            self.set_under_way(now, UnderWay::Challenge);
            events.push_back(Event::ChallengeWanted { session: self.id, attempt });
            return;
        }
        // Taken, so that an answer counts once.
        if self.expected.take().is_some_and(|expected| expected.matches(answer)) {
            // Once is enough: what the session has begun stays as it is.
            if !self.authenticated {
                self.authenticated = true;
                let attempt = self.attempts - 1;
                events.push_back(Event::Authenticated { session: self.id, attempt });
            }
            self.send_response(now, &Response::success());
        } else {
            stats.auth_failures += 1;
            let msg = "the answer is not that of the challenge";
            self.send_response(now, &Response::error(Code::AuthError, msg));
        }
    }

    pub(super) fn accept(&mut self, now: Instant) {
        if self.state == State::Opening {
            self.state = State::Open;
            self.connection.send(now, Message { kind: Kind::Open, data: Vec::new() });
        }
    }

    pub(super) fn challenge(&mut self, now: Instant, challenge: Challenge) {
        if self.under_way == UnderWay::Challenge && self.state == State::Open {
            self.set_under_way(now, UnderWay::Nothing);
            self.expected = Some(challenge.expected);
            let data = control::emit(Type::Authenticate, &challenge.cipher);
            self.connection.send(now, Message { kind: Kind::Control, data });
        }
    }

    pub(super) fn no_challenge(&mut self, now: Instant, stats: &mut Stats) {
        stats.auth_failures += 1;
        self.set_under_way(now, UnderWay::Nothing);
        let msg = "no further key is authorised here";
        self.send_response(now, &Response::error(Code::AuthError, msg));
    }

    pub(super) fn respond(&mut self, now: Instant, response: &Response) {
        if self.under_way == UnderWay::Request {
            self.set_under_way(now, UnderWay::Nothing);
            self.send_response(now, response);
        }
    }

    fn send_response(&mut self, now: Instant, response: &Response) {
        if self.state == State::Open {
            let data = response.to_json(self.connection.dialect);
            self.connection.send(now, Message { kind: Kind::Data, data });
        }
    }

    fn set_under_way(&mut self, now: Instant, under_way: UnderWay) {
        self.under_way = under_way;
        // An operator that died must not leave its command running.
        self.connection.expect(now, under_way == UnderWay::Request);
    }

    pub(super) fn finish(&mut self, now: Instant, failure: Option<&Response>) {
        if self.state == State::Ending {
            if let Some(failure) = failure {
                let data = failure.to_json(self.connection.dialect);
                self.connection.send(now, Message { kind: Kind::Data, data });
            }
            self.send_end(now);
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        match self.state {
            State::Opening | State::Open => {
                self.connection.abandon();
                self.send_end(now);
            }
            State::Ending | State::Closing { .. } => {}
        }
    }

    fn send_end(&mut self, now: Instant) {
        self.set_under_way(now, UnderWay::Nothing);
        self.connection.send(now, Message { kind: Kind::End, data: Vec::new() });
        let linger = match self.connection.dialect {
            Dialect::V1 => self.config.linger,
            Dialect::V1Deployed => self.config.deployed_give_up(),
        };
        self.state = State::Closing { until: now + linger };
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    pub(super) fn timeout(&self, now: Instant) -> Option<Instant> {
        [self.connection.timeout(now), self.ends_at().map(|(at, _)| at)].into_iter().flatten().min()
    }

    /// When the session ends if nothing more comes, and why.
    fn ends_at(&self) -> Option<(Instant, EndReason)> {
        let heard = self.connection.silent_since();
        match self.state {
            State::Closing { until } => Some((until, EndReason::PeerGone)),
            State::Ending => None,
            _ if !self.authenticated => {
                Some((self.opened_at + self.config.auth_timeout, EndReason::Unauthenticated))
            }
            _ if self.connection.is_reassembling() => {
                Some((heard + self.config.deployed_give_up(), EndReason::PeerGone))
            }
            _ if self.under_way == UnderWay::Nothing => {
                Some((heard + self.config.idle_timeout, EndReason::Idle))
            }
            _ => None,
        }
    }

    /// Does what is due; why the session ends, if it does.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<EndReason> {
        if self.connection.handle_timeout(now).is_err() {
            return Some(EndReason::PeerGone);
        }
        self.ends_at().filter(|&(at, _)| at <= now).map(|(_, reason)| reason)
    }
}
