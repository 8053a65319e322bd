//! A frame's way in: level, seal, replay, then its frames one by one.

use std::time::{Duration, Instant};

use bmstools_common::header::{V2_LEN, V2Header, v2_ptype};

use super::super::cookie::NONCE_LEN;
use super::super::endpoint::CloseReason;
use super::super::frame::{Ack, Frame, Frames};
use super::super::packet::{self, SessionKeys};
use super::{Connection, DATA, DOUBT, Fault, HANDSHAKE, INITIAL, Side, State, Taken};

impl Connection {
    /// Takes a frame of this session; `header` is the one at its front. `sealed_at` is
    /// where the sealed bytes begin.
    pub(in super::super) fn receive(
        &mut self,
        now: Instant,
        port: usize,
        header: V2Header,
        sealed_at: usize,
        frame: &mut [u8],
    ) -> Taken {
        let level = match header.ptype {
            v2_ptype::OPEN if self.is_agent() => INITIAL,
            v2_ptype::INITIAL => INITIAL,
            v2_ptype::HANDSHAKE => HANDSHAKE,
            v2_ptype::DATA_EVEN | v2_ptype::DATA_ODD => DATA,
            _ => return Taken::Refused,
        };
        if header.srckey == 0 || (self.remote_key != 0 && header.srckey != self.remote_key) {
            return Taken::Refused;
        }
        // Numbers of packets that anybody can have made say nothing of others.
        let is_first = level != INITIAL && self.levels[INITIAL].is_some();
        if !is_first && self.received.is_duplicate(header.packet_number) {
            return Taken::Replayed;
        }
        let number = header.packet_number;
        let plaintext = if level == DATA {
            // An operator that has not proven itself has no say.
            if self.is_agent() && self.is_handshaking() {
                return Taken::Refused;
            }
            let Some(keys) = &mut self.keys else { return Taken::Refused };
            keys.open(now, header.ptype & 1, number, sealed_at, frame)
        } else {
            let Some(keys) = &self.levels[level] else { return Taken::Refused };
            packet::open(&*keys.remote, number, sealed_at, frame)
        };
        let Some(plaintext) = plaintext else {
            if self.keys.as_ref().is_some_and(SessionKeys::is_exhausted) {
                self.fail(now, Fault::Close(CloseReason::KeysUsedUp, 4, "keys used up".into()));
            }
            return Taken::Unsealed;
        };
        if is_first {
            self.forget_initial();
        }
        if self.remote_key == 0 {
            self.remote_key = header.srckey;
        }
        self.port = port;
        self.last_received = now;
        self.received_frames += 1;
        self.peer_level = self.peer_level.max(level);
        let mut eliciting = false;
        let mut at_once = level != DATA;
        for item in Frames::new(plaintext) {
            let taken = match item {
                Ok(frame) => {
                    eliciting |= !matches!(frame, Frame::Ack(_) | Frame::Close { .. });
                    at_once |= matches!(frame, Frame::Ping);
                    self.take(now, level, &frame)
                }
                Err(_) => Err(Fault::Violation("a malformed frame")),
            };
            if let Err(fault) = taken {
                self.fail(now, fault);
                break;
            }
        }
        if matches!(self.state, State::Closing { .. }) && eliciting {
            self.remind(now);
        }
        self.received.note(now, number, eliciting, at_once);
        Taken::Opened
    }

    fn take(&mut self, now: Instant, level: usize, frame: &Frame<'_>) -> Result<(), Fault> {
        match *frame {
            Frame::Ping => Ok(()),
            Frame::Ack(ack) => self.take_ack(now, &ack),
            Frame::Crypto { offset, data } => self.receive_crypto(now, level, offset, data),
            Frame::Close { code, reason } => {
                let why = self.reason_of(code, reason);
                if level == INITIAL {
                    self.doubt(now, why);
                } else {
                    self.closed_by_peer(now, why);
                }
                Ok(())
            }
            _ if level != DATA => Err(Fault::Violation("a frame that a handshake cannot hold")),
            Frame::HandshakeDone => self.receive_done(now),
            _ => {
                // Only an agent that has verified the handshake sends such: its
                // HANDSHAKE_DONE was overtaken.
                if self.state == State::Handshaking {
                    self.receive_done(now)?;
                }
                match self.state {
                    State::Established => Ok(self.streams.receive(frame)?),
                    _ => Ok(()),
                }
            }
        }
    }

    fn take_ack(&mut self, now: Instant, ack: &Ack<'_>) -> Result<(), Fault> {
        let delay = Duration::from_micros(ack.delay_us.into());
        let mut outcome = std::mem::take(&mut self.outcome);
        let taken = self.recovery.acknowledged(now, ack.iter(), delay, ack.credit, &mut outcome);
        if taken.is_ok() {
            if let Some(keys) = &mut self.keys {
                keys.acknowledged(ack.largest);
            }
            self.settle(now, &mut outcome);
        }
        self.outcome = outcome;
        taken.map_err(|_| Fault::Violation("an acknowledgement of what was never sent"))
    }

    /// A CLOSE that anybody could have made: wait whether the handshake goes on.
    fn doubt(&mut self, now: Instant, why: CloseReason) {
        if self.state == State::Handshaking && self.rumour.is_none() {
            self.rumour = Some((why, now + DOUBT));
        }
    }

    /// A peer goes on sending to a session that is over: CLOSE again, ever later.
    fn remind(&mut self, now: Instant) {
        if let State::Closing { again_at, wait, until } = self.state {
            let again_at = again_at.min(now + wait);
            self.state = State::Closing { again_at, wait, until };
        }
    }

    /// Takes the cookie of a retry (docs/protocol-v2.md, "Opening"). False where it is
    /// not for this open, or comes too late.
    pub(in super::super) fn receive_retry(&mut self, frame: &[u8]) -> bool {
        let Some(body) = frame.get(V2_LEN..) else { return false };
        let Some((nonce, rest)) = body.split_at_checked(NONCE_LEN) else { return false };
        let Some((&len, rest)) = rest.split_first() else { return false };
        let Some(cookie) = rest.get(..usize::from(len)) else { return false };
        let fits = (1..=MAX_COOKIE).contains(&cookie.len());
        let early = self.side == Side::Operator && self.is_handshaking() && self.remote_key == 0;
        if !early || nonce != self.nonce || !fits {
            return false;
        }
        // However many come: one that was damaged or forged must not be the last. None
        // has anything sent.
        self.cookie = cookie.to_vec();
        if matches!(self.state, State::Asking { .. }) {
            self.state = State::Handshaking;
        }
        // What left with an older cookie was thrown away: its timeout sends it again.
        true
    }
}

/// Bytes of a cookie at most: a retry is never longer than an open.
const MAX_COOKIE: usize = 47;
