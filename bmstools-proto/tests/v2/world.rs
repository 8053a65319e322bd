//! Endpoints in virtual time, over a link that misbehaves as told.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bmstools_common::ethernet::{Mac, Peer, Vlan};
use bmstools_proto::v2::identity::{Identity, KeyType, PublicKey, generate};
use bmstools_proto::v2::{
    Chunk, CloseReason, Config, Connect, Endpoint, Event, SessionId, StreamId,
};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

pub(crate) const AGENT: usize = 0;
pub(crate) const OPERATOR: usize = 1;

pub(crate) static AGENT_KEY: LazyLock<Identity> = LazyLock::new(key);
pub(crate) static OPERATOR_KEY: LazyLock<Identity> = LazyLock::new(key);

pub(crate) fn key() -> Identity {
    Identity::from_pem(&generate(KeyType::Ed25519).unwrap()).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn mac(node: usize) -> Mac {
    Mac([0x52, 0x54, 0, 0xaa, 0xbb, node as u8 + 1])
}

pub(crate) fn peer(node: usize) -> Peer {
    Peer { mac: mac(node), vlan: Vlan::NONE }
}

/// How a link misbehaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) corruption: f64,
    /// Part of the frames that wait up to five times the delay.
    pub(crate) reordering: f64,
    pub(crate) delay: Duration,
    /// Longer frames are lost.
    pub(crate) mtu: usize,
}

impl Weather {
    pub(crate) const FINE: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        corruption: 0.0,
        reordering: 0.0,
        delay: Duration::from_micros(50),
        mtu: 9000,
    };
}

/// A frame under way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct UnderWay {
    pub(crate) at: Instant,
    pub(crate) serial: u64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

/// What arrived on a stream.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) ordered: Vec<u8>,
    pub(crate) placed: BTreeMap<u64, Bytes>,
    pub(crate) ended: bool,
    pub(crate) reset: Option<u32>,
}

impl Arrived {
    /// The placed bytes as the file that they make.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for (offset, data) in &self.placed {
            let (begin, end) = (*offset as usize, *offset as usize + data.len());
            if file.len() < end {
                file.resize(end, 0);
            }
            file[begin..end].copy_from_slice(data);
        }
        file
    }
}

/// One endpoint and what stands around it.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) mtu: usize,
    pub(crate) established: BTreeMap<SessionId, PublicKey>,
    pub(crate) arrived: BTreeMap<(SessionId, StreamId), Arrived>,
    pub(crate) finished: Vec<(SessionId, StreamId)>,
    pub(crate) closed: Vec<(SessionId, CloseReason)>,
    pub(crate) begun: usize,
    pub(crate) drained: usize,
    /// Whether what arrives is read and consumed.
    pub(crate) reads: bool,
    /// Whether ordered data is sent back.
    pub(crate) echoes: bool,
    /// Stands still: nothing in, nothing out, no timers.
    pub(crate) dead: bool,
}

impl Node {
    fn new(config: Config, seed: u64, now: Instant) -> Self {
        let mut bytes = [0; 32];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        Self {
            mtu: config.mtu,
            endpoint: Endpoint::new(config, bytes, now),
            established: BTreeMap::new(),
            arrived: BTreeMap::new(),
            finished: Vec::new(),
            closed: Vec::new(),
            begun: 0,
            drained: 0,
            reads: true,
            echoes: false,
            dead: false,
        }
    }

    pub(crate) fn turn(&mut self, now: Instant) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Begun { .. } => self.begun += 1,
                Event::Established { session, peer_key, .. } => {
                    self.established.insert(session, peer_key);
                }
                Event::StreamOpened { session, stream } => {
                    self.arrived.entry((session, stream)).or_default();
                }
                Event::Readable { session, stream } => self.read(now, session, stream),
                Event::Finished { session, stream } => self.finished.push((session, stream)),
                Event::Closed { session, reason } => self.closed.push((session, reason)),
                Event::Drained { .. } => self.drained += 1,
                _ => {}
            }
        }
    }

    pub(crate) fn read(&mut self, now: Instant, session: SessionId, stream: StreamId) {
        if !self.reads {
            return;
        }
        let arrived = self.arrived.entry((session, stream)).or_default();
        while let Some(chunk) = self.endpoint.read(session, stream) {
            match chunk {
                Chunk::Data { offset, data } => {
                    self.endpoint.consumed(now, session, stream, data.len() as u64);
                    if self.echoes {
                        let _ = self.endpoint.write(now, session, stream, data.clone());
                    }
                    if offset == arrived.ordered.len() as u64 {
                        arrived.ordered.extend_from_slice(&data);
                    }
                    arrived.placed.insert(offset, data);
                }
                Chunk::End => {
                    arrived.ended = true;
                    if self.echoes {
                        let _ = self.endpoint.finish(now, session, stream);
                    }
                }
                Chunk::Reset { code } => arrived.reset = Some(code),
            }
        }
    }
}

/// An agent, operators, and the link between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) weather: Weather,
    pub(crate) rng: StdRng,
    pub(crate) frames: BinaryHeap<Reverse<UnderWay>>,
    serial: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Every frame that was sent, if wanted.
    pub(crate) log: Option<Vec<UnderWay>>,
    next_key: u16,
}

impl World {
    /// An agent that trusts [`OPERATOR_KEY`], and one operator.
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        Self::with(Config::default(), Config::default(), weather, seed)
    }

    pub(crate) fn with(agent: Config, operator: Config, weather: Weather, seed: u64) -> Self {
        let now = start();
        let mut nodes = vec![Node::new(agent, seed, now), Node::new(operator, seed + 1, now)];
        let trusted: Arc<[PublicKey]> = Arc::new([OPERATOR_KEY.public_key()]);
        nodes[AGENT].endpoint.accept(Some((AGENT_KEY.clone(), trusted)));
        Self {
            now,
            nodes,
            weather,
            rng: StdRng::seed_from_u64(seed),
            frames: BinaryHeap::new(),
            serial: 0,
            sent: 0,
            sent_bytes: 0,
            log: None,
            next_key: 1,
        }
    }

    pub(crate) fn connect(&mut self) -> SessionId {
        self.connect_as(OPERATOR_KEY.clone(), AGENT_KEY.public_key())
    }

    pub(crate) fn connect_as(&mut self, identity: Identity, expected: PublicKey) -> SessionId {
        let (now, key, mtu) = (self.now, self.next_key, self.nodes[OPERATOR].mtu);
        self.next_key += 1;
        let connect = Connect { peer: peer(AGENT), port: 0, mtu, key, identity, expected };
        self.nodes[OPERATOR].endpoint.connect(now, connect)
    }

    /// Opens a session and waits until both sides say so.
    pub(crate) fn established(&mut self) -> (SessionId, SessionId) {
        let before = self.nodes[AGENT].established.len();
        let id = self.connect();
        let done = self.run_until(Duration::from_secs(60), |world| {
            world.nodes[OPERATOR].established.contains_key(&id)
                && world.nodes[AGENT].established.len() > before
        });
        assert!(done, "not established: {:?}", self.nodes[OPERATOR].closed);
        let of_agent = *self.nodes[AGENT].established.keys().last().unwrap();
        (id, of_agent)
    }

    /// Puts a frame on the link.
    pub(crate) fn send(&mut self, from: usize, to: usize, bytes: &[u8]) {
        self.sent += 1;
        self.sent_bytes += bytes.len() as u64;
        self.serial += 1;
        let frame = UnderWay { at: self.now, serial: self.serial, from, to, bytes: bytes.to_vec() };
        if let Some(log) = &mut self.log {
            log.push(frame.clone());
        }
        let weather = self.weather;
        if bytes.len() > weather.mtu || self.rng.gen_bool(weather.loss) {
            return;
        }
        let copies = 1 + usize::from(self.rng.gen_bool(weather.duplication));
        for _ in 0..copies {
            let mut frame = frame.clone();
            if self.rng.gen_bool(weather.corruption) {
                let at = self.rng.gen_range(0..frame.bytes.len());
                frame.bytes[at] ^= 1 << self.rng.gen_range(0..8);
            }
            let late = self.rng.gen_bool(weather.reordering);
            let factor = if late { self.rng.gen_range(1.0..5.0) } else { 1.0 };
            self.serial += 1;
            (frame.at, frame.serial) = (self.now + weather.delay.mul_f64(factor), self.serial);
            self.frames.push(Reverse(frame));
        }
    }

    /// Everything that happens at this moment.
    fn step(&mut self) {
        while let Some(Reverse(frame)) = self.frames.peek()
            && frame.at <= self.now
        {
            let Some(Reverse(mut frame)) = self.frames.pop() else { return };
            let node = &mut self.nodes[frame.to];
            if !node.dead {
                node.endpoint.handle_frame(self.now, 0, peer(frame.from), &mut frame.bytes);
            }
        }
        for from in 0..self.nodes.len() {
            if self.nodes[from].dead {
                continue;
            }
            self.nodes[from].turn(self.now);
            let mut buffer = vec![0; self.nodes[from].mtu];
            // A batch, as drivers have it.
            for _ in 0..64 {
                let sent = self.nodes[from].endpoint.poll_transmit(self.now, 0, &mut buffer);
                let Some((to, len)) = sent else { break };
                let Some(to) = (0..self.nodes.len()).find(|&node| peer(node) == to) else {
                    continue;
                };
                self.send(from, to, &buffer[..len]);
            }
            self.nodes[from].turn(self.now);
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let frame = self.frames.peek().map(|Reverse(frame)| frame.at);
        let live = self.nodes.iter().filter(|node| !node.dead);
        live.filter_map(|node| node.endpoint.poll_timeout()).chain(frame).min()
    }

    /// Runs until `done` or for `time` at most; whether it was done.
    pub(crate) fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        loop {
            self.step();
            if done(self) {
                return true;
            }
            // A batch may have left more behind: the loop turns every microsecond then.
            let soon = self.now + Duration::from_micros(1);
            let next = self.next_at().map_or(end, |at| at.max(soon));
            let busy = self.sent_in_step();
            self.now = if busy { soon } else { next };
            if self.now >= end {
                self.now = end;
                return false;
            }
        }
    }

    /// Whether anybody may have more to send at once.
    fn sent_in_step(&mut self) -> bool {
        let now = self.now;
        let mut buffer = vec![0; 9000];
        let mut any = false;
        for from in 0..self.nodes.len() {
            if self.nodes[from].dead {
                continue;
            }
            let mtu = self.nodes[from].mtu;
            if let Some((to, len)) =
                self.nodes[from].endpoint.poll_transmit(now, 0, &mut buffer[..mtu])
            {
                any = true;
                if let Some(to) = (0..self.nodes.len()).find(|&node| peer(node) == to) {
                    self.send(from, to, &buffer[..len]);
                }
            }
        }
        any
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Sends `data` from `from` on a new stream of `session` and ends it.
    pub(crate) fn send_stream(&mut self, from: usize, session: SessionId, data: &[u8]) -> StreamId {
        let now = self.now;
        let endpoint = &mut self.nodes[from].endpoint;
        let stream = endpoint.open_stream(session).unwrap();
        endpoint.write(now, session, stream, Bytes::copy_from_slice(data)).unwrap();
        endpoint.finish(now, session, stream).unwrap();
        stream
    }
}

pub(crate) fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut data = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut data);
    data
}
