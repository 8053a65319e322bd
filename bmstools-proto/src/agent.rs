//! The agent's side: many sessions, whoever opens them.

use std::time::Instant;

use bmstools_common::ethernet::Peer;
use bmstools_common::header::Dialect;
use bmstools_common::maps::SessionKey;

use crate::config::Config;
use crate::keys::PublicKey;
use crate::response::Response;

/// Names a session of one endpoint; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(u64);

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// The operator ended it.
    Peer,
    /// The operator no longer acknowledges anything.
    PeerGone,
    /// Nothing happened for too long.
    Idle,
    /// [`Endpoint::close`] was called.
    Local,
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
        /// At most [`Config::max_message`](Config) bytes.
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
    /// [`Endpoint::challenge`] with [`Challenge::new`] under one of the authorised
    /// keys (deployed operators try once: the first), off the frame loop.
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
    /// [`EndReason::Peer`], call [`Endpoint::finish`] when what it left is safe.
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

/// A random text, encrypted: made off the frame loop, since RSA takes a while.
pub struct Challenge {}

impl Challenge {
    /// A new challenge under `key`, from the operating system's randomness.
    pub fn new(key: &PublicKey) -> Self {
        let _ = key;
        todo!()
    }
}

/// All sessions of one agent.
///
/// Calls that may change what the polls return: every `handle_*` and every
/// command. After any of them, poll events, transmissions and the timeout.
pub struct Endpoint {}

impl Endpoint {
    /// An endpoint without sessions. `seed` makes session keys unpredictable.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let _ = (config, seed);
        todo!()
    }

    /// Takes a frame, from its bmstools header on. Bad frames are counted and
    /// change nothing.
    pub fn handle_frame(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        let _ = (now, port, peer, frame);
        todo!()
    }

    /// Does what is due. Call when [`poll_timeout`](Self::poll_timeout) has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// What the owner must do next.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// Writes the next frame to send through `port` into `buffer` (at least
    /// [`Config::mtu`] bytes); its receiver and its length.
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        port: usize,
        buffer: &mut [u8],
    ) -> Option<(Peer, usize)> {
        let _ = (now, port, buffer);
        todo!()
    }

    /// Answers an open. Unknown sessions are ignored, here and below: the session
    /// may have ended meanwhile.
    pub fn accept(&mut self, now: Instant, session: SessionId) {
        let _ = (now, session);
    }

    /// Forgets an open without a word.
    pub fn refuse(&mut self, session: SessionId) {
        let _ = session;
    }

    /// Sends the challenge asked for by [`Event::ChallengeWanted`].
    pub fn challenge(&mut self, now: Instant, session: SessionId, challenge: Challenge) {
        let _ = (now, session, challenge);
    }

    /// Answers the session's request.
    pub fn respond(&mut self, now: Instant, session: SessionId, response: Response) {
        let _ = (now, session, response);
    }

    /// Confirms the operator's end of a session, after `failure` where something
    /// could not be kept (a file that could not be put in place).
    pub fn finish(&mut self, now: Instant, session: SessionId, failure: Option<Response>) {
        let _ = (now, session, failure);
    }

    /// Ends a session from this side: tells the operator, waits for nothing.
    pub fn close(&mut self, now: Instant, session: SessionId) {
        let _ = (now, session);
    }

    /// Sessions that are open.
    pub fn session_count(&self) -> usize {
        todo!()
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        todo!()
    }
}

/// What happened at an endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames taken.
    pub received: u64,
    /// Frames refused: not parsed, or not fitting their session.
    pub refused: u64,
    /// Frames that came before.
    pub duplicates: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames sent again.
    pub retransmitted: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Opens turned away because a limit was reached.
    pub opens_refused: u64,
    /// Authentications that failed.
    pub auth_failures: u64,
}
