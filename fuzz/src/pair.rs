//! An agent and an operator of version 2 in virtual time, with the wire between them
//! in the hands of a fuzz target.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bmstools_common::ethernet::{Mac, Peer, Vlan};
use bmstools_proto::v2::identity::Identity;
use bmstools_proto::v2::{Chunk, Config, Connect, Endpoint, Event, SessionId, StreamId};

use crate::input::Input;

pub(crate) const AGENT: usize = 0;
pub(crate) const OPERATOR: usize = 1;

static KEY: LazyLock<Identity> = LazyLock::new(|| {
    let pem = include_str!("../../bmstools-proto/tests/keys/ed25519-pkcs8.pem");
    Identity::from_pem(pem).expect("the key is good")
});

pub(crate) fn address(side: usize) -> Peer {
    // There are three.
    Peer { mac: Mac([0x52, 0x54, 0, 0xaa, 0xbb, side as u8 + 1]), vlan: Vlan::NONE }
}

/// Limits that a short input can reach.
fn config() -> Config {
    Config {
        max_sessions: 8,
        max_handshakes: 4,
        max_sessions_per_peer: 3,
        max_data: MAX_DATA,
        max_stream_data: MAX_DATA / 2,
        max_streams: 6,
        max_frames_in_flight: 64,
        key_update_after: 20,
        send_buffer: 1 << 16,
        ..Config::default()
    }
}

/// One side, and what its owner knows.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) session: Option<SessionId>,
    pub(crate) established: bool,
    streams: Vec<StreamId>,
    /// Bytes read that have not been consumed.
    held: Vec<(SessionId, StreamId, u64)>,
    closed: usize,
    begun: usize,
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) nodes: [Node; 2],
    /// Frames and whom they are for.
    pub(crate) under_way: VecDeque<(usize, Vec<u8>)>,
    delivered: VecDeque<(usize, Vec<u8>)>,
    /// The newest key of either side.
    pub(crate) keys: [u16; 2],
    /// Nonce and cookie of the operator's last open.
    pub(crate) open: ([u8; 16], Vec<u8>),
}

impl Pair {
    /// An operator that has begun to ask an agent.
    #[allow(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let node = |seed| Node {
            endpoint: Endpoint::new(config(), [seed; 32], now),
            session: None,
            established: false,
            streams: Vec::new(),
            held: Vec::new(),
            closed: 0,
            begun: 0,
        };
        let mut pair = Self {
            now,
            nodes: [node(1), node(2)],
            under_way: VecDeque::new(),
            delivered: VecDeque::new(),
            keys: [0; 2],
            open: Default::default(),
        };
        let trusted = Arc::new([KEY.public_key()]);
        pair.nodes[AGENT].endpoint.accept(Some((KEY.clone(), trusted)));
        pair.connect(7);
        pair.turn();
        pair
    }

    pub(crate) fn connect(&mut self, key: u16) {
        let (peer, identity, expected) = (address(AGENT), KEY.clone(), KEY.public_key());
        let connect = Connect { peer, port: 0, mtu: 1500, key, identity, expected };
        let session = self.nodes[OPERATOR].endpoint.connect(self.now, connect);
        self.nodes[OPERATOR].session = Some(session);
    }

    /// Two sides that know each other.
    pub(crate) fn established() -> Self {
        let mut pair = Self::new();
        for _ in 0..100 {
            pair.exchange(1);
            if pair.nodes.iter().all(|node| node.established) {
                return pair;
            }
        }
        panic!("a good link and no session");
    }

    /// Delivers everything so many times.
    pub(crate) fn exchange(&mut self, rounds: usize) {
        for _ in 0..rounds {
            while let Some((to, frame)) = self.under_way.pop_front() {
                self.deliver(to, frame);
            }
            self.turn();
            self.now += Duration::from_millis(1);
        }
    }

    pub(crate) fn deliver(&mut self, to: usize, frame: Vec<u8>) {
        self.deliver_from(1 - to, to, frame);
    }

    pub(crate) fn deliver_from(&mut self, from: usize, to: usize, frame: Vec<u8>) {
        let endpoint = &mut self.nodes[to].endpoint;
        let before = endpoint.stats().received;
        endpoint.handle_frame(self.now, 0, address(from), &mut frame.clone());
        assert_eq!(endpoint.stats().received, before + 1);
        if self.delivered.len() == 16 {
            self.delivered.pop_front();
        }
        self.delivered.push_back((to, frame));
    }

    /// What the wire can do to genuine frames, and time.
    pub(crate) fn disturb(&mut self, input: &mut Input<'_>) {
        match input.u8() % 6 {
            0 => {
                for _ in 0..=input.u8() % 16 {
                    let Some((to, frame)) = self.under_way.pop_front() else { break };
                    self.deliver(to, frame);
                }
            }
            1 => {
                let count = usize::from(input.u8() % 8).min(self.under_way.len());
                self.under_way.drain(..count);
            }
            2 => {
                let Some((to, mut frame)) = self.under_way.pop_front() else { return };
                let at = usize::from(input.u16()) % frame.len().max(1);
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= input.u8();
                }
                self.deliver(to, frame);
            }
            3 => {
                let at = usize::from(input.u8()) % self.under_way.len().max(1);
                if let Some((to, frame)) = self.under_way.remove(at) {
                    self.deliver(to, frame);
                }
            }
            4 => {
                let at = usize::from(input.u8()) % self.delivered.len().max(1);
                if let Some((to, frame)) = self.delivered.get(at).cloned() {
                    self.deliver(to, frame);
                }
            }
            _ => self.now += Duration::from_micros(u64::from(input.u16()).pow(2) / 256),
        }
    }

    /// Writes version, type and the session's keys into a frame.
    pub(crate) fn address(&self, to: usize, ptype: u8, frame: &mut [u8]) {
        let Some(header) = frame.first_chunk_mut::<6>() else { return };
        let ([a, b], [c, d]) = (self.keys[1 - to].to_be_bytes(), self.keys[to].to_be_bytes());
        *header = [2, ptype, a, b, c, d];
    }

    /// What applications do.
    pub(crate) fn apply(&mut self, side: usize, input: &mut Input<'_>) {
        let (now, node) = (self.now, &mut self.nodes[side]);
        let Some(session) = node.session else { return };
        let what = input.u8();
        let stream = match node.streams.len() {
            0 => StreamId(u32::from(input.u8())),
            count => node.streams[usize::from(input.u8()) % count],
        };
        let endpoint = &mut node.endpoint;
        match what % 12 {
            0 => {
                if let Ok(stream) = endpoint.open_stream(session) {
                    node.streams.push(stream);
                }
            }
            1 => {
                let data = vec![what; usize::from(input.u16())];
                let _ = endpoint.write(now, session, stream, data.into());
            }
            2 => {
                let data = vec![what; usize::from(input.u16())];
                let offset = u64::from(input.u16()) << (input.u8() % 64);
                let _ = endpoint.write_at(now, session, stream, offset, data.into());
            }
            3 => drop(endpoint.finish(now, session, stream)),
            4 => endpoint.reset(now, session, stream, u32::from(what)),
            5 => endpoint.stop(now, session, stream, u32::from(what)),
            6 => endpoint.set_priority(session, stream, what),
            8 if input.u8() == 0 => endpoint.close(now, session, 0, "done"),
            9 => endpoint.set_rate(session, Some(u64::from(input.u16()) << 8)),
            _ => node.consume(now),
        }
        let _ = node.endpoint.room(session, stream);
        let _ = node.endpoint.session_stats(session);
    }

    /// Timers, events and frames of both sides, until neither has anything to do.
    pub(crate) fn turn(&mut self) {
        let now = self.now;
        for side in [AGENT, OPERATOR] {
            for round in 0.. {
                assert!(round < 100, "a timer is due again and again");
                let node = &mut self.nodes[side];
                let is_due = |node: &Node| node.endpoint.poll_timeout().is_some_and(|at| at <= now);
                if is_due(node) {
                    node.endpoint.handle_timeout(now);
                }
                node.events(now);
                self.send(side);
                if !is_due(&self.nodes[side]) {
                    break;
                }
            }
            self.nodes[side].events(now);
        }
    }

    fn send(&mut self, side: usize) {
        let mut buffer = [0; 1500];
        for sent in 0.. {
            assert!(sent < MAX_FRAMES, "it never has enough");
            let endpoint = &mut self.nodes[side].endpoint;
            let Some((to, len)) = endpoint.poll_transmit(self.now, 0, &mut buffer) else { break };
            let frame = buffer[..len].to_vec();
            let key = u16::from_be_bytes([frame[2], frame[3]]);
            if key != 0 {
                self.keys[side] = key;
            }
            if side == OPERATOR && frame[1] == 0 {
                self.open.0.copy_from_slice(&frame[14..30]);
                self.open.1 = frame[31..31 + usize::from(frame[30])].to_vec();
            }
            if to == address(1 - side) && self.under_way.len() < MAX_FRAMES {
                self.under_way.push_back((1 - side, frame));
            }
        }
    }

    /// Nobody hears anybody any more: everything must end, once.
    pub(crate) fn end(mut self) {
        for _ in 0..60 {
            self.under_way.clear();
            self.now += Duration::from_secs(10);
            self.turn();
        }
        for node in &self.nodes {
            assert_eq!(node.endpoint.session_count(), 0, "a session that nobody speaks in stays");
            assert!(node.closed >= node.begun, "the owner was not told of an end");
        }
    }
}

impl Node {
    fn events(&mut self, now: Instant) {
        for count in 0.. {
            assert!(count < 10_000, "events without end");
            let Some(event) = self.endpoint.poll_event() else { break };
            match event {
                Event::Begun { session, accepted, .. } => {
                    self.begun += 1;
                    if accepted {
                        self.session = Some(session);
                    }
                }
                Event::Established { session, .. } => {
                    self.session = Some(session);
                    self.established = true;
                }
                Event::StreamOpened { stream, .. } => self.streams.push(stream),
                Event::Readable { session, stream } => self.read(session, stream),
                Event::Closed { reason, .. } => {
                    self.closed += 1;
                    let _ = reason.to_string();
                }
                _ => {}
            }
        }
        // A reader that is slow, but alive.
        if self.held.len() > 64 {
            self.consume(now);
        }
    }

    fn read(&mut self, session: SessionId, stream: StreamId) {
        while let Some(chunk) = self.endpoint.read(session, stream) {
            if let Chunk::Data { data, .. } = chunk {
                self.held.push((session, stream, data.len() as u64));
            }
        }
        let of_session = self.held.iter().filter(|(of, ..)| *of == session);
        let held: u64 = of_session.map(|(.., len)| len).sum();
        assert!(held <= MAX_DATA, "the peer sent {held} bytes beyond what was consumed");
    }

    fn consume(&mut self, now: Instant) {
        for (session, stream, len) in self.held.drain(..) {
            self.endpoint.consumed(now, session, stream, len);
        }
    }
}

/// What a session takes that is not consumed: some frames.
const MAX_DATA: u64 = 1 << 13;
/// Frames that a side may want to send in one turn at most.
const MAX_FRAMES: usize = 2048;
