//! A frame's way out: what is due, packed and sealed.

#[cfg(feature = "fuzzing")]
mod fuzzing;

use std::time::Instant;

use bmstools_common::header::{V2_LEN, V2Header, v2_ptype};

use super::super::cookie::NONCE_LEN;
use super::super::credit;
use super::super::endpoint::CloseReason;
use super::super::frame::{Frame, emit_ack};
use super::super::packet::{self, MIN_PLAINTEXT, SessionKeys, TAG_LEN};
use super::super::recovery::{Content, Contents, Sent};
use super::super::sizing::BASE;
use super::{Connection, DATA, HANDSHAKE, INITIAL, MAX_WAIT, State};

impl Connection {
    /// Whether [`poll_transmit`](Self::poll_transmit) may have a frame.
    pub(in super::super) fn wants_transmit(&self, now: Instant) -> bool {
        match self.state {
            State::Asking { again_at, .. } | State::Closing { again_at, .. } => again_at <= now,
            State::Draining { answer, .. } => answer,
            State::Drained => false,
            State::Handshaking => {
                let crypto = self.crypto.iter().any(|crypto| crypto.wants_transmit());
                self.received.is_due(now)
                    || self.recovery.wants_probe()
                    || (crypto && self.recovery.may_send(BASE as u64))
            }
            State::Established => {
                self.received.is_due(now)
                    || self.recovery.wants_probe()
                    || self.sizing.wants_probe()
                    || (self.has_content()
                        && self.paced_until.is_none_or(|at| at <= now)
                        && self.recovery.may_send(self.sizing.current() as u64))
            }
        }
    }

    fn has_content(&self) -> bool {
        self.done_due || self.ping_due || self.streams.wants_transmit()
    }

    /// Writes the next frame into `buffer`; its length.
    pub(in super::super) fn poll_transmit(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let len = match self.state {
            State::Asking { again_at, wait } if again_at <= now => {
                let wait_next = (wait * 2).min(MAX_WAIT);
                self.state = State::Asking { again_at: now + wait, wait: wait_next };
                self.ask(now, buffer)
            }
            State::Closing { again_at, wait, until } if again_at <= now => {
                let wait_next = (wait * 2).min(MAX_WAIT);
                self.state = State::Closing { again_at: now + wait, wait: wait_next, until };
                self.say_goodbye(now, buffer)
            }
            State::Draining { answer: true, until } => {
                self.state = State::Draining { answer: false, until };
                self.say_goodbye(now, buffer)
            }
            State::Handshaking => self.shake(now, buffer),
            State::Established => self.data(now, buffer),
            _ => None,
        };
        self.sent_frames += u64::from(len.is_some());
        len
    }

    /// An open without a cookie. Its number is spent, but it is not remembered: the
    /// answer to it is a retry, no acknowledgement.
    fn ask(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        let number = self.take_number();
        let len = V2_LEN + OPEN_BODY;
        let frame = buffer.get_mut(..len)?;
        frame.fill(0);
        frame[..V2_LEN].copy_from_slice(&self.header(v2_ptype::OPEN, number));
        frame[V2_LEN..V2_LEN + NONCE_LEN].copy_from_slice(&self.nonce);
        self.remember(now, number, INITIAL, len, Contents::default(), false);
        Some(len)
    }

    /// A packet of the handshake: of the lowest level that has something to say.
    fn shake(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        let ack_due = self.received.is_due(now);
        let probe = self.recovery.wants_probe();
        let may_send = probe || self.recovery.may_send(BASE as u64);
        let top = usize::from(self.levels[HANDSHAKE].is_some());
        for level in INITIAL..=top {
            let ack = ack_due && level == self.peer_level.min(top);
            let crypto = may_send && self.crypto[level].wants_transmit();
            let ping = probe && level == top && !self.crypto.iter().any(|c| c.wants_transmit());
            if ack || crypto || ping {
                let probe = (crypto || ping) && self.recovery.take_probe();
                return self.shake_packet(now, level, ack, crypto, ping && probe, buffer);
            }
        }
        None
    }

    fn shake_packet(
        &mut self,
        now: Instant,
        level: usize,
        ack: bool,
        crypto: bool,
        ping: bool,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let end = self.frame_room(buffer.len(), BASE);
        let opens = level == INITIAL && self.remote_key == 0;
        let begin = if opens { V2_LEN + NONCE_LEN + 1 + self.cookie.len() } else { V2_LEN };
        let plaintext = buffer.get_mut(begin..end.checked_sub(TAG_LEN)?)?;
        let mut contents = Contents::default();
        let mut at = 0;
        if ack {
            let room = ack_room(plaintext.len(), crypto);
            at += self.emit_ack(now, &mut plaintext[..room], &mut contents);
        }
        let mut eliciting = false;
        if crypto {
            let room = plaintext.len().saturating_sub(at + Frame::CRYPTO_HEADER);
            if let Some((offset, data)) = self.crypto[level].next(room) {
                at += Frame::Crypto { offset, data }.emit(&mut plaintext[at..]);
                contents.push(Self::crypto_content(level, offset, data.len()));
                eliciting = true;
            }
        }
        if ping && plaintext.len() > at {
            at += Frame::Ping.emit(&mut plaintext[at..]);
            eliciting = true;
        }
        if at == 0 {
            return None;
        }
        let number = self.take_number();
        let ptype = match level {
            INITIAL if opens => v2_ptype::OPEN,
            INITIAL => v2_ptype::INITIAL,
            _ => v2_ptype::HANDSHAKE,
        };
        buffer[..V2_LEN].copy_from_slice(&self.header(ptype, number));
        if opens {
            buffer[V2_LEN..V2_LEN + NONCE_LEN].copy_from_slice(&self.nonce);
            // At most MAX_COOKIE.
            buffer[V2_LEN + NONCE_LEN] = self.cookie.len() as u8;
            buffer[V2_LEN + NONCE_LEN + 1..begin].copy_from_slice(&self.cookie);
        }
        let len = self.seal(level, number, begin, at, buffer)?;
        self.remember(now, number, level, len, contents, eliciting);
        Some(len)
    }

    /// A packet of an established session.
    fn data(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        if let Some(size) = self.sizing.next_probe()
            && size <= self.frame_room(buffer.len(), size)
        {
            return self.size_probe(now, size, buffer);
        }
        let size = self.frame_room(buffer.len(), self.sizing.current());
        let ack_due = self.received.is_due(now);
        let probe = self.recovery.wants_probe();
        let content = self.may_send_content(now, size, probe);
        if !ack_due && !content {
            return None;
        }
        let plaintext = buffer.get_mut(V2_LEN..size.checked_sub(TAG_LEN)?)?;
        let mut contents = Contents::default();
        let mut at = 0;
        if ack_due || self.received.is_pending() {
            let room = ack_room(plaintext.len(), content);
            at += self.emit_ack(now, &mut plaintext[..room], &mut contents);
        }
        let ack_only = at;
        if content {
            if self.done_due {
                self.done_due = false;
                at += Frame::HandshakeDone.emit(&mut plaintext[at..]);
                contents.push(Content::HandshakeDone);
            }
            at += self.streams.emit(&mut plaintext[at..], &mut contents);
            if (self.ping_due || (probe && at == ack_only)) && at < plaintext.len() {
                self.ping_due = false;
                at += Frame::Ping.emit(&mut plaintext[at..]);
            }
            if probe {
                self.recovery.take_probe();
            }
        }
        if at == 0 {
            return None;
        }
        // Only what is acknowledged itself tells which ranges need no repetition.
        self.bare_acks = if at > ack_only { 0 } else { self.bare_acks + 1 };
        if self.bare_acks >= PING_AFTER_ACKS && at < plaintext.len() {
            self.bare_acks = 0;
            at += Frame::Ping.emit(&mut plaintext[at..]);
        }
        let eliciting = at > ack_only;
        let number = self.next_number;
        let keys = self.keys.as_mut()?;
        keys.maybe_update(number);
        let ptype = v2_ptype::DATA_EVEN | keys.phase();
        let number = self.take_number();
        buffer[..V2_LEN].copy_from_slice(&self.header(ptype, number));
        let Some(len) = self.seal(DATA, number, V2_LEN, at, buffer) else {
            if self.keys.as_ref().is_some_and(SessionKeys::is_exhausted) {
                self.vanish(CloseReason::KeysUsedUp);
            }
            return None;
        };
        self.remember(now, number, DATA, len, contents, eliciting);
        if content && !self.has_content() {
            self.recovery.app_limited();
        }
        Some(len)
    }

    /// Whether there is something to send and everything allows it.
    fn may_send_content(&mut self, now: Instant, size: usize, probe: bool) -> bool {
        if probe {
            return true;
        }
        if !self.recovery.may_send(size as u64) {
            return false;
        }
        if !self.has_content() {
            return false;
        }
        self.paced_until = self.recovery.pace(now, size as u64);
        self.paced_until.is_none()
    }

    fn size_probe(&mut self, now: Instant, size: usize, buffer: &mut [u8]) -> Option<usize> {
        let plaintext = buffer.get_mut(V2_LEN..size.checked_sub(TAG_LEN)?)?;
        plaintext.fill(0);
        Frame::Ping.emit(plaintext);
        let len = plaintext.len();
        let mut contents = Contents::default();
        // A frame is shorter than 64 KiB.
        contents.push(Content::SizeProbe { size: size as u16 });
        let number = self.take_number();
        let phase = self.keys.as_ref()?.phase();
        buffer[..V2_LEN].copy_from_slice(&self.header(v2_ptype::DATA_EVEN | phase, number));
        let len = self.seal(DATA, number, V2_LEN, len, buffer)?;
        self.remember(now, number, DATA, len, contents, true);
        Some(len)
    }

    /// CLOSE, sealed with the best keys that the peer can have.
    fn say_goodbye(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        // In a handshake, keys that the peer has not shown to have it may not have.
        let level =
            if self.levels[INITIAL].is_none() { DATA } else { self.peer_level.min(HANDSHAKE) };
        let end = self.frame_room(buffer.len(), BASE);
        let plaintext = buffer.get_mut(V2_LEN..end.checked_sub(TAG_LEN)?)?;
        let mut contents = Contents::default();
        let mut at = 0;
        if level == DATA {
            // The peer hears of nothing that arrived after this.
            let room = plaintext.len().min(CLOSE_ACK_ROOM);
            at = self.emit_ack(now, &mut plaintext[..room], &mut contents);
        }
        let (code, reason) = &self.farewell;
        let reason = cut(reason, plaintext.len() - at - CLOSE_HEADER);
        at += Frame::Close { code: *code, reason }.emit(&mut plaintext[at..]);
        let ptype = match level {
            DATA => v2_ptype::DATA_EVEN | self.keys.as_ref()?.phase(),
            HANDSHAKE => v2_ptype::HANDSHAKE,
            _ => v2_ptype::INITIAL,
        };
        let number = self.take_number();
        buffer[..V2_LEN].copy_from_slice(&self.header(ptype, number));
        let len = self.seal(level, number, V2_LEN, at, buffer)?;
        self.remember(now, number, level, len, contents, false);
        Some(len)
    }

    fn emit_ack(&mut self, now: Instant, plaintext: &mut [u8], contents: &mut Contents) -> usize {
        let delay = self.received.delay_us(now);
        let credit = credit::of(&self.config, self.mtu, &self.recovery.rtt);
        let len = emit_ack(self.received.ranges(), delay, credit, plaintext);
        if len > 0 {
            self.received.acknowledge_every(credit::ack_every(credit));
            if let Some(largest) = self.received.largest() {
                contents.push(Content::Ack { largest });
            }
            self.received.sent();
        }
        len
    }

    fn seal(
        &mut self,
        level: usize,
        number: u64,
        begin: usize,
        plaintext: usize,
        buffer: &mut [u8],
    ) -> Option<usize> {
        debug_assert!(buffer.len() >= begin + plaintext.max(MIN_PLAINTEXT) + TAG_LEN);
        let len = if level == DATA {
            self.keys.as_mut()?.seal(number, begin, plaintext, buffer)
        } else {
            let keys = self.levels[level].as_ref()?;
            packet::seal(&*keys.local, number, begin, plaintext, buffer)
        };
        (len > 0).then_some(len)
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(super) fn header(&self, ptype: u8, packet_number: u64) -> [u8; V2_LEN] {
        V2Header { ptype, srckey: self.local_key, dstkey: self.remote_key, packet_number }.emit()
    }

    pub(super) fn remember(
        &mut self,
        now: Instant,
        number: u64,
        level: usize,
        size: usize,
        contents: Contents,
        eliciting: bool,
    ) {
        // Frames are shorter than 64 KiB, and there are three levels.
        let (size, level) = (size as u16, level as u8);
        self.recovery.sent(Sent { number, at: now, size, level, eliciting, contents });
    }
}

/// Bytes of a plaintext of `len` that an ACK may take, where other frames follow it.
fn ack_room(len: usize, followed: bool) -> usize {
    if followed { len.saturating_sub(CONTENT_ROOM) } else { len }
}

/// The longest front of `text` that fits into `room` bytes and 256.
fn cut(text: &str, room: usize) -> &str {
    let mut end = text.len().min(room).min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes of an open's body without a cookie: no less than of a retry's.
const OPEN_BODY: usize = 64;
/// Bytes behind an ACK that are left for other frames: enough for any but data, and for
/// some of that.
const CONTENT_ROOM: usize = 100;
/// Bytes of an ACK in front of CLOSE: some ranges, and most of the packet is left for the
/// reason.
const CLOSE_ACK_ROOM: usize = 64;
/// ACKs in a row without anything else after which PING goes along.
const PING_AFTER_ACKS: u32 = 16;
/// Bytes of CLOSE in front of its reason.
const CLOSE_HEADER: usize = 7;
