//! One session's messages, each way: what both ends have in common.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use bmstools_common::header::Dialect;
use bmstools_common::maps::SessionKey;

use crate::assembler::{Accepted, Assembler, Limits, Message, Refused};
use crate::config::Config;
use crate::outgoing::{Acknowledged, Outgoing};
use crate::rtt::RttEstimator;
use crate::stats::Stats;
use crate::window::Window;
use crate::wire::{Frame, Kind};

/// The peer counts as gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// How long it has been silent.
    pub(crate) silence: Duration,
}

/// Which end of a session this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Agent,
    Operator,
}

/// The state of one session's transport.
#[derive(Debug)]
pub(crate) struct Connection {
    config: Arc<Config>,
    role: Role,
    pub(crate) dialect: Dialect,
    pub(crate) peer: Peer,
    pub(crate) local_key: u16,
    /// 0 while unknown.
    pub(crate) remote_key: u16,
    /// The deployed dialect's VLAN field.
    vlan_field: u32,

    assembler: Assembler,
    acks: VecDeque<Frame<'static>>,
    /// When the peer was heard last, or it became somebody else's turn: since then
    /// there is silence.
    silent_since: Instant,

    queue: VecDeque<Message>,
    current: Option<Outgoing>,
    next_sequence: u32,
    /// The message sent last, for probes: its kind, sequence and count.
    last_sent: Option<(Kind, u32, u16)>,
    rtt: RttEstimator,
    window: Window,
    /// Timeouts in a row without an acknowledgement.
    timeouts: u32,
    last_progress: Instant,
    last_repetition: Option<Instant>,
    hold_until: Instant,

    /// Whether the peer owes something, so that its silence matters.
    expecting: bool,
    probes: u32,
    probe_due: bool,
    /// When the last probe was due.
    probed_at: Instant,
}

impl Connection {
    pub(crate) fn new(
        config: Arc<Config>,
        role: Role,
        dialect: Dialect,
        peer: Peer,
        keys: (u16, u16),
        vlan_field: u32,
        now: Instant,
    ) -> Self {
        let rtt = RttEstimator::new(
            config.initial_retransmission_timeout,
            config.retransmission_leeway,
            config.max_retransmission_timeout,
        );
        let window = Window::new(&config, dialect);
        Self {
            config,
            role,
            dialect,
            peer,
            local_key: keys.0,
            remote_key: keys.1,
            vlan_field,
            assembler: Assembler::new(0),
            acks: VecDeque::new(),
            silent_since: now,
            queue: VecDeque::new(),
            current: None,
            next_sequence: 0,
            last_sent: None,
            rtt,
            window,
            timeouts: 0,
            last_progress: now,
            last_repetition: None,
            hold_until: now,
            expecting: false,
            probes: 0,
            probe_due: false,
            probed_at: now,
        }
    }

    /// What the link knows this session by.
    pub(crate) const fn session_key(&self) -> SessionKey {
        SessionKey::v1(self.peer, self.local_key)
    }

    pub(crate) const fn silent_since(&self) -> Instant {
        self.silent_since
    }

    pub(crate) const fn round_trip_time(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// Whether fragments of an incomplete message are kept.
    pub(crate) const fn is_reassembling(&self) -> bool {
        self.assembler.is_partial()
    }

    /// Whether there is nothing left to send, acknowledgements included.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_sent() && self.acks.is_empty()
    }

    /// Whether everything that was to be sent has been acknowledged.
    pub(crate) fn is_sent(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Bytes of the message under way that were acknowledged.
    pub(crate) fn acknowledged_bytes(&self) -> usize {
        self.current.as_ref().map_or(0, Outgoing::acknowledged_bytes)
    }

    /// Whether something of the message under way, or of the last, was repeated.
    pub(crate) const fn has_repeated(&self) -> bool {
        self.last_repetition.is_some()
    }

    /// Whether `frame` belongs to a message that is complete already.
    pub(crate) fn is_duplicate(&self, frame: &Frame<'_>) -> bool {
        self.assembler.is_duplicate(frame)
    }

    /// Says whether the peer owes something: then its silence is an error. What
    /// passed while it was not its turn is no silence.
    pub(crate) fn expect(&mut self, now: Instant, expecting: bool) {
        if expecting != self.expecting {
            self.heard(now);
        }
        self.expecting = expecting;
    }

    /// Whether `frame` is an end before what its sender began is complete.
    pub(crate) fn is_abandoning(&self, frame: &Frame<'_>) -> bool {
        frame.kind == Kind::End && self.assembler.would_skip(frame)
    }

    /// Whether answers wait behind the message under way. A peer that takes its
    /// answers before it asks again never sees to more than one.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.queue.len() >= self.config.max_queued
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, now: Instant, message: Message) {
        if self.is_sent() {
            self.last_progress = now;
        }
        self.queue.push_back(message);
    }

    /// Gives up whatever has not been sent completely.
    pub(crate) fn abandon(&mut self) {
        self.queue.clear();
        self.current = None;
    }

    /// Takes a frame of this session; a message that it completed.
    ///
    /// # Errors
    ///
    /// [`Refused`] where it does not fit: it has changed nothing.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        limits: Limits,
        stats: &mut Stats,
    ) -> Result<Option<Message>, Refused> {
        if frame.kind == Kind::Ack {
            self.receive_ack(now, frame)?;
            self.heard(now);
            return Ok(None);
        }
        if frame.srckey != self.remote_key {
            return Err(Refused);
        }
        let accepted = self.assembler.accept(frame, limits)?;
        self.heard(now);
        if self.acks.len() < self.config.max_acks {
            self.acks.push_back(frame.ack());
        }
        if accepted == Accepted::Duplicate {
            stats.duplicates += 1;
            return Ok(None);
        }
        if self.role == Role::Agent && self.dialect == Dialect::V1Deployed {
            self.hold_until = now + self.config.deployed_answer_delay;
        }
        if self.answers_imply_acks()
            && let Some(current) = &self.current
            && (current.kind != Kind::End || frame.kind == Kind::End)
        {
            // A repetition of what the peer has answered would do harm. Only an end
            // answers an end: anything else was under way before.
            self.complete_current(now);
        }
        match accepted {
            Accepted::Complete(message) => Ok(Some(message)),
            Accepted::Duplicate | Accepted::Stored => Ok(None),
        }
    }

    /// An agent sends nothing but answers, and a deployed operator nothing before
    /// it has its answer.
    fn answers_imply_acks(&self) -> bool {
        self.role == Role::Operator || self.dialect == Dialect::V1Deployed
    }

    fn heard(&mut self, now: Instant) {
        self.silent_since = self.silent_since.max(now);
        self.probes = 0;
    }

    fn receive_ack(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Refused> {
        if frame.srckey != self.remote_key && frame.srckey != 0 {
            return Err(Refused);
        }
        let Some(current) = &mut self.current else {
            return if frame.sequence < self.next_sequence { Ok(()) } else { Err(Refused) };
        };
        if frame.sequence < current.sequence {
            return Ok(());
        }
        if frame.sequence != current.sequence {
            return Err(Refused);
        }
        match current.acknowledge(now, frame.count, frame.offset) {
            Acknowledged::Bogus => return Err(Refused),
            Acknowledged::Again => return Ok(()),
            Acknowledged::New { round_trip } => {
                if let Some(round_trip) = round_trip {
                    self.rtt.sample(round_trip);
                }
            }
        }
        self.window.acknowledged();
        self.last_progress = now;
        self.timeouts = 0;
        if current.is_acknowledged() {
            self.complete_current(now);
        } else if self.dialect == Dialect::V1
            && let Some(lost) = current.detect_overtaken()
        {
            self.window.overtaken(lost, current.transmissions());
        }
        Ok(())
    }

    fn complete_current(&mut self, now: Instant) {
        self.current = None;
        self.last_progress = now;
        self.timeouts = 0;
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has a frame to write.
    pub(crate) fn wants_transmit(&self, now: Instant) -> bool {
        !self.acks.is_empty() || self.probe_due || (now >= self.hold_until && self.has_fragment())
    }

    fn has_fragment(&self) -> bool {
        match &self.current {
            Some(current) => current.has_more() && current.in_flight() < self.window.size(),
            None => !self.queue.is_empty(),
        }
    }

    /// Writes the next frame; its length.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        stats: &mut Stats,
    ) -> Option<usize> {
        if let Some(ack) = self.acks.pop_front() {
            stats.sent += 1;
            return Some(ack.emit(self.dialect, buffer));
        }
        if now >= self.hold_until && self.has_fragment() {
            if self.current.is_none() {
                self.begin_next(now, buffer.len());
            }
            if let Some(len) = self.emit_fragment(now, buffer, stats) {
                stats.sent += 1;
                return Some(len);
            }
        }
        if self.probe_due {
            self.probe_due = false;
            let len = self.emit_probe(buffer)?;
            stats.sent += 1;
            return Some(len);
        }
        None
    }

    fn begin_next(&mut self, now: Instant, room: usize) {
        let Some(message) = self.queue.pop_front() else { return };
        let header_len = self.dialect.header_len();
        let room = self.peer.vlan.payload_room(room.min(self.config.mtu));
        let max = room.saturating_sub(header_len).max(1);
        let (kind, sequence) = (message.kind, self.next_sequence);
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.current = Outgoing::new(kind, sequence, message.data, max, self.dialect);
        self.window.begin_message();
        self.last_progress = now;
        self.last_repetition = None;
        self.timeouts = 0;
    }

    fn emit_fragment(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        stats: &mut Stats,
    ) -> Option<usize> {
        let current = self.current.as_mut()?;
        let (kind, sequence, count) = (current.kind, current.sequence, current.count());
        let (offset, data, again) = current.transmit(now)?;
        if again {
            stats.retransmitted += 1;
            self.last_repetition = Some(now);
        }
        self.last_sent = Some((kind, sequence, count));
        let frame = Frame {
            kind,
            srckey: self.local_key,
            dstkey: self.remote_key,
            sequence,
            count,
            offset,
            vlan: self.vlan_field,
            data,
        };
        Some(frame.emit(self.dialect, buffer))
    }

    /// Repeats the head of the message sent last: a peer that is there
    /// acknowledges the duplicate and ignores it.
    fn emit_probe(&self, buffer: &mut [u8]) -> Option<usize> {
        let (kind, sequence, count) = self.last_sent?;
        let frame = Frame {
            kind,
            srckey: self.local_key,
            dstkey: self.remote_key,
            sequence,
            count,
            offset: 0,
            vlan: self.vlan_field,
            data: &[],
        };
        Some(frame.emit(self.dialect, buffer))
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Instant> {
        let held = (self.hold_until > now && self.has_fragment()).then_some(self.hold_until);
        [held, self.retransmission_at(), self.probe_at()].into_iter().flatten().min()
    }

    fn retransmission_at(&self) -> Option<Instant> {
        let sent_at = self.current.as_ref()?.oldest_in_flight()?;
        match self.dialect {
            Dialect::V1 => Some(sent_at + self.rtt.timeout(self.timeouts)),
            Dialect::V1Deployed => {
                let since = self.last_repetition.map_or(sent_at, |last| last.max(sent_at));
                Some(since + self.deployed_wait())
            }
        }
    }

    fn deployed_wait(&self) -> Duration {
        let retries = &self.config.deployed_retries;
        retries[(self.timeouts as usize).min(retries.len() - 1)]
    }

    fn probe_at(&self) -> Option<Instant> {
        let silent = self.expecting && self.dialect == Dialect::V1 && self.is_sent();
        let since = if self.probes == 0 { self.silent_since } else { self.probed_at };
        silent.then(|| since + self.config.probe_interval)
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// [`Gone`] where the peer has been silent for too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Gone> {
        if self.retransmission_at().is_some_and(|at| at <= now) {
            self.retransmit(now)?;
        }
        if self.probe_at().is_some_and(|at| at <= now) {
            if self.probes >= self.config.probes {
                return Err(Gone { silence: now.saturating_duration_since(self.silent_since) });
            }
            self.probes += 1;
            self.probed_at = now;
            self.probe_due = true;
        }
        Ok(())
    }

    fn retransmit(&mut self, now: Instant) -> Result<(), Gone> {
        let silence = now.saturating_duration_since(self.last_progress);
        let (give_up, wait, one) = match self.dialect {
            Dialect::V1 => (self.config.give_up, self.rtt.timeout(self.timeouts), false),
            Dialect::V1Deployed => (self.config.deployed_give_up(), self.deployed_wait(), true),
        };
        // This host may have been the one that stood still.
        if silence >= give_up && self.timeouts >= self.config.probes {
            return Err(Gone { silence });
        }
        if let Some(current) = &mut self.current
            && current.lose_older(now, wait, one)
        {
            self.timeouts += 1;
            self.last_repetition = Some(now);
            // The first is most often the loss of a message's last fragments, which
            // nothing can overtake: no sign of a crowded path (RFC 9002, section 6.2).
            if self.timeouts > 1 {
                self.window.timed_out();
            }
        }
        Ok(())
    }
}
