//! The operator's side: one session with one agent.

use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::header::Dialect;
use bmstools_common::maps::SessionKey;

use crate::config::Config;
use crate::keys::PrivateKey;
use crate::response::Response;

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
        "no answer from {peer} within {waited:?}: is the agent running, is the MAC address right, and is the VLAN reachable from this interface?"
    )]
    NoAnswer {
        /// Who was asked.
        peer: Peer,
        /// For how long.
        waited: Duration,
    },
    /// The agent answered before and no longer does.
    #[error("lost contact with {peer}: nothing was acknowledged for {waited:?}")]
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

/// One session.
///
/// Opens and authenticates by itself; then takes requests. Calls that may change
/// what the polls return: every `handle_*` and every command.
pub struct Client {}

impl Client {
    /// A session that begins by opening. `seed` chooses the session's key.
    pub fn new(
        config: Config,
        dialect: Dialect,
        peer: Peer,
        key: PrivateKey,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let _ = (config, dialect, peer, key, seed, now);
        todo!()
    }

    /// What the link must let through before the first frame is sent.
    pub fn session_key(&self) -> SessionKey {
        todo!()
    }

    /// Takes a frame, from its bmstools header on.
    pub fn handle_frame(&mut self, now: Instant, peer: Peer, frame: &mut [u8]) {
        let _ = (now, peer, frame);
        todo!()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// What the owner must know next.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// Writes the next frame into `buffer`; its receiver and its length.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(Peer, usize)> {
        let _ = (now, buffer);
        todo!()
    }

    /// Sends a request.
    ///
    /// # Panics
    ///
    /// Before [`Event::Authenticated`], or while another is under way.
    pub fn request(&mut self, now: Instant, request: Request) {
        let _ = (now, request);
        todo!()
    }

    /// Ends the session, whatever is under way. [`Event::Ended`] follows, or
    /// [`Event::Failed`].
    pub fn end(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Bytes that the next data request may carry at most. Grows and shrinks with
    /// the link in the deployed dialect.
    pub fn max_data(&self) -> usize {
        todo!()
    }

    /// Bytes of the request under way that the agent has acknowledged.
    pub fn acknowledged(&self) -> usize {
        todo!()
    }

    /// Smoothed round-trip time; `None` before the first sample.
    pub fn round_trip_time(&self) -> Option<Duration> {
        todo!()
    }

    /// Frames sent again so far.
    pub fn retransmitted(&self) -> u64 {
        todo!()
    }
}
