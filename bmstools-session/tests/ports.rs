//! What a hub asks of its ports, and what it does where they fail.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bmstools_common::header::Framing;
use bmstools_common::maps::SessionKey;
use bmstools_common::{Mac, Peer};
use bmstools_link::memory::{self, MemoryPort};
use bmstools_link::{Counters, LinkError, Outgoing, Port, PortInfo};
use bmstools_proto::v2::{CloseReason, Config};
use bmstools_session::{Handle, HubThread, SessionError, spawn};

use common::*;

/// A port that tells what was asked of it, and fails where it is told to.
struct Watched {
    port: MemoryPort,
    sessions: Arc<Mutex<Vec<SessionKey>>>,
    is_full: bool,
    is_broken: Arc<AtomicBool>,
}

impl Watched {
    fn new(port: MemoryPort) -> Self {
        Self { port, sessions: Arc::default(), is_full: false, is_broken: Arc::default() }
    }
}

impl Port for Watched {
    fn info(&self) -> &PortInfo {
        self.port.info()
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Peer, &mut [u8])) -> io::Result<usize> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the cable is out"));
        }
        self.port.receive(sink)
    }

    fn transmit(
        &mut self,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
    ) -> io::Result<bool> {
        self.port.transmit(fill)
    }

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        self.port.readable()
    }

    fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError> {
        if self.is_full {
            return Err(LinkError::SessionsFull(7));
        }
        assert_eq!(framing, Framing::V2);
        self.sessions.lock().unwrap().push(key);
        self.port.insert_session(key, framing)
    }

    fn remove_session(&mut self, key: SessionKey) {
        self.sessions.lock().unwrap().retain(|other| *other != key);
        self.port.remove_session(key);
    }

    fn counters(&self) -> Counters {
        self.port.counters()
    }
}

fn pair() -> (Watched, Watched) {
    let (a, b) = memory::pair(AGENT, OPERATOR, 1500).unwrap();
    (Watched::new(a), Watched::new(b))
}

fn hub(ports: impl IntoIterator<Item = Watched>, seed: u8) -> (Handle, HubThread) {
    let config = Config { max_frames_in_flight: 512, ..Config::default() };
    let ports = ports.into_iter().map(|port| Box::new(port) as Box<dyn Port>);
    spawn(ports.collect(), config, [seed; 32]).unwrap()
}

fn agent_on(ports: impl IntoIterator<Item = Watched>) -> (Handle, HubThread) {
    let (agent, thread) = hub(ports, 1);
    agent.accept_with(Some((AGENT_KEY.clone(), [OPERATOR_KEY.public_key()].into())));
    (agent, thread)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_let_through_at_every_port_of_its_interface_until_it_is_over() {
    let (a, b) = pair();
    let (spare, _other_end) = memory::pair(AGENT, Mac([2, 0, 0, 0, 0, 0xc]), 1500).unwrap();
    let spare = Watched::new(spare);
    let tables = [a.sessions.clone(), spare.sessions.clone()];
    let (agent, _agent_thread) = agent_on([a, spare]);
    let (operator, _operator_thread) = hub([b], 2);
    let connected = soon(operator.connect(target(3))).await.unwrap();
    let _accepted = soon(agent.accept()).await.unwrap();
    for table in &tables {
        assert_eq!(table.lock().unwrap().len(), 1);
    }
    soon(connected.close(0, "")).await;
    soon(agent.shut_down(PATIENCE)).await;
    for table in &tables {
        assert!(table.lock().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_room_for_a_session_says_so() {
    let (a, b) = pair();
    let (spare, _other_end) = memory::pair(AGENT, Mac([2, 0, 0, 0, 0, 0xc]), 1500).unwrap();
    let spare = Watched { is_full: true, ..Watched::new(spare) };
    let table = a.sessions.clone();
    let (_agent, _agent_thread) = agent_on([a, spare]);
    let (operator, _operator_thread) = hub([b], 2);
    let reason = soon(operator.connect(target(3))).await.map(drop).unwrap_err();
    assert_eq!(reason, goodbye(3, "too many sessions"));
    assert!(table.lock().unwrap().is_empty(), "half of an interface lets nobody through");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_without_room_for_a_session_learns_why() {
    let (a, b) = pair();
    let (_agent, _agent_thread) = agent_on([a]);
    let (operator, _operator_thread) = hub([Watched { is_full: true, ..b }], 2);
    let reason = soon(operator.connect(target(3))).await.map(drop).unwrap_err();
    assert_eq!(reason, CloseReason::Link("the table of sessions is full (7)".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_fails_ends_its_sessions_with_the_reason() {
    let (a, b) = pair();
    let is_broken = b.is_broken.clone();
    let (_agent, _agent_thread) = agent_on([a]);
    let (operator, operator_thread) = hub([b], 2);
    let session = soon(operator.connect(target(3))).await.unwrap();
    let (_send, mut recv) = soon(session.open_stream()).await.unwrap();
    let reading = tokio::spawn(async move { soon(recv.read()).await.map(drop) });
    is_broken.store(true, Ordering::Relaxed);
    // Somebody wants something: the loop turns.
    session.set_rate(None);
    let reason = CloseReason::Link("the cable is out".into());
    assert_eq!(reading.await.unwrap(), Err(SessionError::Ended(reason.clone())));
    assert_eq!(soon(session.closed()).await, reason);
    assert_eq!(operator_thread.join().unwrap_err().to_string(), "the cable is out");
    assert_eq!(soon(operator.connect(target(4))).await.map(drop), Err(reason));
}
