//! An agent and an operator of version 1, and whatever the wire makes of it.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::{Mac, Peer, Vlan};
use bmstools_common::header::V1Header;
use bmstools_proto::agent::{Challenge, Endpoint, Event};
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::operator::{Client, Event as ClientEvent, Request};
use bmstools_proto::response::{ExecData, Response};
use bmstools_proto::{Config, Dialect};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::input::Input;

/// Reads the bytes as what happens between an agent and an operator.
///
/// # Panics
///
/// Where either side does.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first = input.u8();
    let dialect = if first & 1 == 0 { Dialect::V1 } else { Dialect::V1Deployed };
    let mut world = World::new(dialect, first & 2 != 0);
    if first & 4 != 0 {
        world.exchange(8);
    }
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.turn();
    }
    // Whatever happened, time brings it to an end.
    for _ in 0..40 {
        world.now += Duration::from_secs(30);
        world.turn();
        world.under_way.clear();
    }
    assert_eq!(world.agent.session_count(), 0, "a session that nobody speaks in stays");
}

const AGENT: usize = 0;
const OPERATOR: usize = 1;
const MAX_STEPS: usize = 256;
/// Frames that a side may want to send in one turn at most: a window, and its answers.
const MAX_FRAMES: usize = 4096;
const MAX_SESSIONS: usize = 8;

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let pem = include_str!("../../bmstools-proto/tests/keys/rsa-1024-pkcs8.pem");
    PrivateKey::from_pem(pem).expect("the key is good")
});

fn address(side: usize) -> Peer {
    // Two.
    Peer { mac: Mac([0x52, 0x54, 0, 0xaa, 0xbb, side as u8 + 1]), vlan: Vlan::NONE }
}

struct World {
    now: Instant,
    dialect: Dialect,
    agent: Endpoint,
    operator: Client,
    authenticates: bool,
    /// Whether the operator may ask for something.
    ready: bool,
    ends: bool,
    rng: StdRng,
    /// Frames for either side.
    under_way: VecDeque<(usize, Vec<u8>)>,
    /// What was delivered last, for replays.
    delivered: VecDeque<(usize, Vec<u8>)>,
    /// The newest key of either side.
    keys: [u16; 2],
    received: u64,
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
    fn new(dialect: Dialect, authenticates: bool) -> Self {
        let now = Instant::now();
        let config = Config { max_sessions: MAX_SESSIONS, ..Config::default() };
        let peer = address(AGENT);
        let agent = Endpoint::new(config.clone(), [9; 32]);
        let operator = Client::new(config, dialect, peer, KEY.clone(), [1; 32], now);
        let mut world = Self {
            now,
            dialect,
            agent,
            operator,
            authenticates,
            ready: false,
            ends: false,
            rng: StdRng::seed_from_u64(7),
            under_way: VecDeque::new(),
            delivered: VecDeque::new(),
            keys: [0; 2],
            received: 0,
        };
        world.turn();
        world
    }

    /// Delivers everything so many times.
    fn exchange(&mut self, rounds: usize) {
        for _ in 0..rounds {
            while let Some((to, frame)) = self.under_way.pop_front() {
                self.deliver(to, frame);
            }
            self.turn();
            self.now += Duration::from_millis(6);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.u8();
        let to = usize::from(what >> 7);
        match what % 9 {
            0 => {
                let mut frame = input.bytes().to_vec();
                if input.u8() & 1 == 0 {
                    self.address(to, &mut frame);
                }
                self.deliver(to, frame);
            }
            1 => {
                let frame = self.made_up(to, input);
                self.deliver(to, frame);
            }
            2 => {
                for _ in 0..=input.u8() % 8 {
                    let Some((to, frame)) = self.under_way.pop_front() else { break };
                    self.deliver(to, frame);
                }
            }
            3 => {
                let count = usize::from(input.u8() % 8).min(self.under_way.len());
                self.under_way.drain(..count);
            }
            4 => {
                let Some((to, mut frame)) = self.under_way.pop_front() else { return };
                let at = usize::from(input.u16()) % frame.len().max(1);
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= input.u8();
                }
                self.deliver(to, frame);
            }
            5 => self.now += Duration::from_millis(u64::from(input.u8()).pow(2)),
            6 => self.ask(input),
            7 => {
                let at = usize::from(input.u8()) % self.delivered.len().max(1);
                if let Some((to, frame)) = self.delivered.get(at).cloned() {
                    self.deliver(to, frame);
                }
            }
            _ => {
                let at = usize::from(input.u8()) % self.under_way.len().max(1);
                if let Some((to, frame)) = self.under_way.remove(at) {
                    self.deliver(to, frame);
                }
            }
        }
    }

    /// A frame whose header is mostly good.
    fn made_up(&self, to: usize, input: &mut Input<'_>) -> Vec<u8> {
        let header = V1Header {
            ptype: input.choose(&[0, 1, 2, 3, 255]),
            srckey: self.keys[1 - to],
            dstkey: if input.u8() & 7 == 0 { 0 } else { self.keys[to] },
            sequence: u32::from(input.u8()),
            count: u16::from(input.u8() % 6),
            offset: u16::from(input.u8() % 6),
        };
        let mut frame = header.emit().to_vec();
        let data = input.bytes();
        if self.dialect == Dialect::V1Deployed {
            frame.extend_from_slice(&[0, 0, 6, 0xac]);
            frame.extend_from_slice(&(data.len() as u16).to_be_bytes());
        }
        frame.extend_from_slice(data);
        frame
    }

    /// Writes the keys of the session into a frame.
    fn address(&self, to: usize, frame: &mut [u8]) {
        if let Some(version) = frame.first_mut() {
            *version = 1;
        }
        if let Some(fields) = frame.get_mut(2..6) {
            fields[..2].copy_from_slice(&self.keys[1 - to].to_be_bytes());
            fields[2..].copy_from_slice(&self.keys[to].to_be_bytes());
        }
    }

    fn ask(&mut self, input: &mut Input<'_>) {
        let request = match input.u8() % 4 {
            0 => Request::Exec(input.bytes().to_vec()),
            1 => Request::File(input.bytes().to_vec()),
            2 => {
                let len = usize::from(input.u16()).clamp(32, self.operator.max_data());
                Request::Data(vec![input.u8(); len])
            }
            _ => {
                self.ends = true;
                return self.operator.end(self.now);
            }
        };
        if std::mem::take(&mut self.ready) && !self.ends {
            self.operator.request(self.now, request);
        }
    }

    fn deliver(&mut self, to: usize, frame: Vec<u8>) {
        let mut copy = frame.clone();
        if to == AGENT {
            self.agent.handle_frame(self.now, 0, address(OPERATOR), &mut copy);
            self.received += 1;
            assert_eq!(self.agent.stats().received, self.received);
        } else {
            self.operator.handle_frame(self.now, address(AGENT), &mut copy);
        }
        if self.delivered.len() == 16 {
            self.delivered.pop_front();
        }
        self.delivered.push_back((to, frame));
    }

    /// Timers, events, frames of both sides.
    fn turn(&mut self) {
        let now = self.now;
        self.agent.handle_timeout(now);
        self.operator.handle_timeout(now);
        while let Some(event) = self.agent.poll_event() {
            self.take(event);
        }
        while let Some(event) = self.operator.poll_event() {
            match event {
                ClientEvent::Authenticated | ClientEvent::Response(_) => self.ready = true,
                ClientEvent::Failed(error) => drop(error.to_string()),
                _ => {}
            }
        }
        let mut buffer = [0; 1500];
        for side in [AGENT, OPERATOR] {
            for sent in 0.. {
                assert!(sent < MAX_FRAMES, "it never has enough");
                let frame = match side {
                    AGENT => self.agent.poll_transmit(now, 0, &mut buffer),
                    _ => self.operator.poll_transmit(now, &mut buffer),
                };
                let Some((_, len)) = frame else { break };
                let key = u16::from_be_bytes([buffer[2], buffer[3]]);
                if key != 0 {
                    self.keys[side] = key;
                }
                self.under_way.push_back((1 - side, buffer[..len].to_vec()));
            }
        }
        assert!(self.agent.session_count() <= MAX_SESSIONS);
    }

    fn take(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Opened { session, .. } => self.agent.accept(now, session),
            Event::ChallengeWanted { session, attempt } if self.authenticates && attempt == 0 => {
                let challenge = Challenge::new(&KEY.public_key(), &mut self.rng);
                self.agent.challenge(now, session, challenge);
            }
            Event::ChallengeWanted { session, .. } => self.agent.no_challenge(now, session),
            Event::Request { session, .. } => {
                assert!(self.authenticates, "nobody has authenticated");
                let data = Some(ExecData { code: 3, stdout: "out".into(), stderr: String::new() });
                self.agent.respond(now, session, Response { data, ..Response::success() });
            }
            Event::Ended { session, .. } => self.agent.finish(now, session, None),
            Event::Authenticated { .. } => assert!(self.authenticates, "without a challenge"),
            Event::Drained { .. } => {}
        }
    }
}
