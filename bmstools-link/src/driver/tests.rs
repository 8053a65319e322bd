use std::sync::atomic::AtomicUsize;
use std::thread;

use bmstools_common::header::{Dialect, Framing, V1Header, ptype};
use bmstools_common::maps::SessionKey;
use bmstools_common::{Mac, Vlan};

use super::*;
use crate::memory::{self, MemoryPort};
use crate::port::{Counters, LinkError, PortInfo};

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const KEY: u16 = 7;

fn to(mac: Mac) -> Peer {
    Peer { mac, vlan: Vlan::NONE }
}

fn data_frame() -> [u8; 14] {
    V1Header { ptype: ptype::DATA, srckey: 1, dstkey: KEY, sequence: 0, count: 1, offset: 0 }.emit()
}

/// Sends `to_send` frames, and stops after `to_receive` or at its deadline.
struct Counting {
    to_send: usize,
    to_receive: usize,
    received: usize,
    turns: Arc<AtomicUsize>,
    stop_at: Instant,
    peer: Peer,
    stop: Arc<AtomicBool>,
}

impl Counting {
    fn new(peer: Peer, to_send: usize, to_receive: usize) -> Self {
        Self {
            to_send,
            to_receive,
            received: 0,
            turns: Arc::default(),
            stop_at: Instant::now() + Duration::from_secs(30),
            peer,
            stop: Arc::default(),
        }
    }

    fn is_done(&self) -> bool {
        self.to_receive > 0 && self.to_send == 0 && self.received == self.to_receive
    }
}

impl Handler for Counting {
    fn receive(&mut self, _: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        assert_eq!((port, peer, &*frame), (0, self.peer, &data_frame()[..]));
        self.received += 1;
    }

    fn turn(&mut self, now: Instant, _: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        if self.is_done() || now >= self.stop_at || self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn transmit(&mut self, _: Instant, _: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        self.to_send = self.to_send.checked_sub(1)?;
        buffer[..14].copy_from_slice(&data_frame());
        Some(Outgoing { peer: self.peer, len: 14 })
    }

    fn deadline(&self) -> Option<Instant> {
        Some(if self.is_done() { Instant::now() } else { self.stop_at })
    }
}

type Ports = Vec<Box<dyn Port>>;

fn ports() -> (Ports, Ports) {
    let (mut a, mut b) = memory::pair(A, B, 1500).unwrap();
    a.insert_session(SessionKey::v1(to(B), KEY), Dialect::V1.into()).unwrap();
    b.insert_session(SessionKey::v1(to(A), KEY), Dialect::V1.into()).unwrap();
    (vec![Box::new(a)], vec![Box::new(b)])
}

#[test]
fn two_loops_carry_frames_both_ways_and_end_when_their_handlers_say_so() {
    let (mut a, mut b) = ports();
    let other = thread::spawn(move || {
        let mut handler = Counting::new(to(A), 300, 500);
        run(&mut b, &mut handler, &Waker::new().unwrap()).unwrap();
        handler.received
    });
    let mut handler = Counting::new(to(B), 500, 300);
    run(&mut a, &mut handler, &Waker::new().unwrap()).unwrap();
    assert_eq!((handler.received, other.join().unwrap()), (300, 500));
}

#[test]
fn an_idle_loop_sleeps_until_its_deadline() {
    let (mut a, _b) = ports();
    let mut handler = Counting::new(to(B), 0, 0);
    let started = Instant::now();
    handler.stop_at = started + Duration::from_millis(50);
    run(&mut a, &mut handler, &Waker::new().unwrap()).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert!(handler.turns.load(Ordering::Relaxed) < 10, "the loop does not sleep");
}

#[test]
fn a_waker_ends_the_wait_from_another_thread() {
    let (mut a, _b) = ports();
    let mut handler = Counting::new(to(B), 0, 0);
    let waker = Waker::new().unwrap();
    let (stop, turns) = (handler.stop.clone(), handler.turns.clone());
    let started = Instant::now();
    let other = thread::spawn({
        let waker = waker.clone();
        move || {
            for _ in 0..100 {
                waker.wake();
            }
            // By then the wakes so far are seen, and the loop sleeps again.
            thread::sleep(Duration::from_millis(50));
            let before = turns.load(Ordering::Relaxed);
            stop.store(true, Ordering::Relaxed);
            waker.wake();
            before
        }
    });
    run(&mut a, &mut handler, &waker).unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!((1..=102).contains(&other.join().unwrap()), "the loop does not sleep");
}

/// A port that never has room, and how often it was tried.
struct Full(MemoryPort, Arc<AtomicUsize>);

impl Port for Full {
    fn info(&self) -> &PortInfo {
        self.0.info()
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Peer, &mut [u8])) -> io::Result<usize> {
        self.0.receive(sink)
    }

    fn transmit(&mut self, _: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>) -> io::Result<bool> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        self.0.readable()
    }

    fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError> {
        self.0.insert_session(key, framing)
    }

    fn remove_session(&mut self, key: SessionKey) {
        self.0.remove_session(key);
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }
}

#[test]
fn a_port_without_room_is_tried_again_soon_and_without_spinning() {
    let tries = Arc::new(AtomicUsize::new(0));
    let (a, _b) = memory::pair(A, B, 1500).unwrap();
    let mut ports: Vec<Box<dyn Port>> = vec![Box::new(Full(a, tries.clone()))];
    let mut handler = Counting::new(to(B), 1, 0);
    handler.stop_at = Instant::now() + Duration::from_millis(100);
    run(&mut ports, &mut handler, &Waker::new().unwrap()).unwrap();
    let tries = tries.load(Ordering::Relaxed);
    assert!((2..=1010).contains(&tries), "{tries} tries in 100 ms");
}
