//! Peers that hold keys, or an address at least, and keep no rules.

#![allow(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]

mod liars;
mod strangers;

use std::time::Duration;

use std::sync::LazyLock;

use bmstools_common::ethernet::Vlan;

use super::super::identity::{KeyType, generate};
use super::*;

static KEY: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_pem(&generate(KeyType::Ed25519).unwrap()).unwrap());

const AGENT: usize = 0;
const OPERATOR: usize = 1;

fn peer(node: usize) -> Peer {
    Peer { mac: Mac([2, 0, 0, 0, 0, node as u8]), vlan: Vlan::NONE }
}

/// An agent and an operator on a perfect link.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    vlan: Vlan,
    events: [Vec<Event>; 2],
}

impl Pair {
    fn new(config: &Config) -> Self {
        let now = Instant::now();
        let mut ends = [1, 2].map(|seed| Endpoint::new(config.clone(), [seed; 32], now));
        ends[AGENT].accept(Some((KEY.clone(), Arc::new([KEY.public_key()]))));
        Self { now, ends, vlan: Vlan::NONE, events: [Vec::new(), Vec::new()] }
    }

    fn peer(&self, node: usize) -> Peer {
        Peer { vlan: self.vlan, ..peer(node) }
    }

    fn connect(&mut self) -> SessionId {
        let (identity, expected) = (KEY.clone(), KEY.public_key());
        let mtu = self.ends[OPERATOR].config.mtu;
        let peer = self.peer(AGENT);
        let connect = Connect { peer, port: 0, mtu, key: 7, identity, expected };
        self.ends[OPERATOR].connect(self.now, connect)
    }

    /// Opens a session and lets it come to rest.
    fn established(&mut self) {
        self.connect();
        for _ in 0..40 {
            self.exchange();
            self.pass(Duration::from_millis(1));
        }
        assert_eq!([0, 1].map(|end: usize| self.ends[end].stats().established), [1, 1]);
    }

    fn id(&mut self, of: usize) -> SessionId {
        self.session(of).id
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
    }

    /// Everything that both have to send now.
    fn exchange(&mut self) {
        loop {
            let mut quiet = true;
            for from in [AGENT, OPERATOR] {
                while let Some(frame) = self.frame_of(from, 0) {
                    self.give(1 - from, frame);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn frame_of(&mut self, from: usize, port: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; self.ends[from].config.mtu];
        let (_, len) = self.ends[from].poll_transmit(self.now, port, &mut buffer)?;
        buffer.truncate(len);
        Some(buffer)
    }

    fn give(&mut self, to: usize, mut frame: Vec<u8>) {
        let from = self.peer(1 - to);
        self.ends[to].handle_frame(self.now, 0, from, &mut frame);
        while let Some(event) = self.ends[to].poll_event() {
            self.events[to].push(event);
        }
    }

    fn session(&mut self, of: usize) -> &mut Connection {
        self.ends[of].sessions.values_mut().next().unwrap()
    }

    /// Has the operator send this to the agent, whatever it is.
    fn forge(&mut self, text: &[u8]) {
        let session = self.session(OPERATOR);
        let number = session.spend_numbers(0);
        let frame = session.forge(2, number, text);
        self.give(AGENT, frame);
    }

    /// How often the agent is to be woken in `time`, where what it sends is lost.
    fn timeouts(&mut self, time: Duration) -> u32 {
        let (end, mut count) = (self.now + time, 0);
        while let Some(at) = self.ends[AGENT].poll_timeout().filter(|at| *at < end) {
            self.now = self.now.max(at);
            self.ends[AGENT].handle_timeout(self.now);
            count += 1;
            assert!(count < 100_000, "a timer that never gets quiet");
        }
        self.now = end;
        count
    }
}
