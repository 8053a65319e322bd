//! A hostile neighbour: opens with random keys and malformed frames, paced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bmstools_common::Mac;
use bmstools_common::ethernet::{self, Peer};
use bmstools_common::header::{Dialect, V2Header, v2_ptype};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::nic::End;
use crate::wire::{Frame, Keys, Tap};

/// What a flood has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Well-formed opens.
    pub opens: u64,
    /// Frames that break the protocol.
    pub malformed: u64,
}

impl Sent {
    /// All frames.
    pub fn total(&self) -> u64 {
        self.opens + self.malformed
    }
}

/// A running flood. Stopped when dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

impl Flood {
    /// Sends `total` frames from `from` to `agent`, `per_second` of them a
    /// second: opens and malformed frames by turns.
    ///
    /// # Errors
    ///
    /// Where the interface cannot be opened.
    pub fn start(from: End<'_>, agent: Peer, total: u64, per_second: u32) -> Result<Self> {
        Self::of(mixed, from, agent, total, per_second)
    }

    /// The same with opens of version 2, each from another address: without a cookie,
    /// or with a forged one and what could be a handshake behind it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_v2(from: End<'_>, agent: Peer, total: u64, per_second: u32) -> Result<Self> {
        Self::of(forged, from, agent, total, per_second)
    }

    fn of(make: Make, from: End<'_>, agent: Peer, total: u64, per_second: u32) -> Result<Self> {
        let tap = Tap::open(End { mac: MAC, ..from })?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || send(make, &tap, agent, total, per_second, &stop))
        };
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits until everything is sent.
    ///
    /// # Errors
    ///
    /// Where the interface went away.
    pub fn finish(mut self) -> Result<Sent> {
        let thread = self.thread.take().context("the flood is over")?;
        thread.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes the next frame and counts it.
type Make = fn(&mut StdRng, Peer, &mut Sent) -> Vec<u8>;

fn send(
    make: Make,
    tap: &Tap,
    agent: Peer,
    total: u64,
    per_second: u32,
    stop: &AtomicBool,
) -> Result<Sent> {
    let mut random = StdRng::seed_from_u64(total);
    let mut sent = Sent::default();
    let started = Instant::now();
    let mut burst = Vec::new();
    while sent.total() < total && !stop.load(Ordering::Relaxed) {
        burst.clear();
        for _ in 0..BURST.min(total - sent.total()) {
            burst.push(make(&mut random, agent, &mut sent));
        }
        tap.send_all(&burst)?;
        let due = Duration::from_secs_f64(sent.total() as f64 / f64::from(per_second));
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
    Ok(sent)
}

fn mixed(random: &mut StdRng, agent: Peer, sent: &mut Sent) -> Vec<u8> {
    if random.gen_bool(0.5) {
        sent.opens += 1;
        open(random, agent)
    } else {
        sent.malformed += 1;
        malformed(random, agent)
    }
}

/// An open of version 2 (docs/protocol-v2.md, "Opening").
fn forged(random: &mut StdRng, agent: Peer, sent: &mut Sent) -> Vec<u8> {
    sent.opens += 1;
    let mut source = [0; 6];
    random.fill(&mut source);
    source[0] = source[0] & 0xfc | 2;
    let outer = ethernet::Header { destination: agent.mac, source: Mac(source), vlan: agent.vlan };
    let header = V2Header {
        ptype: v2_ptype::OPEN,
        srckey: random.gen_range(1..=u16::MAX),
        dstkey: 0,
        packet_number: 0,
    };
    let mut frame = vec![0; outer.len()];
    outer.emit(&mut frame);
    frame.extend_from_slice(&header.emit());
    let nonce: [u8; 16] = random.r#gen();
    frame.extend_from_slice(&nonce);
    if random.gen_bool(0.5) {
        frame.resize(outer.len() + 14 + 64, 0);
    } else {
        let cookie = random.gen_range(1..=47);
        frame.push(cookie);
        let behind = usize::from(cookie) + random.gen_range(0..150);
        frame.extend((0..behind).map(|_| random.r#gen::<u8>()));
    }
    frame
}

fn open(random: &mut StdRng, agent: Peer) -> Vec<u8> {
    let keys = Keys { own: random.gen_range(1..=u16::MAX), peer: 0 };
    Frame::single(0, keys, 0, &[]).to_bytes(MAC, agent, Dialect::V1)
}

/// An open with one thing wrong: its version, type, count, offset or length.
fn malformed(random: &mut StdRng, agent: Peer) -> Vec<u8> {
    let mut frame = open(random, agent);
    let header = frame.len() - 14;
    match random.gen_range(0..5) {
        0 => frame[header] = random.gen_range(3..=255),
        1 => frame[header + 1] = random.gen_range(4..255),
        2 => frame[header + 11] = 0,
        3 => frame[header + 13] = random.gen_range(1..=255),
        _ => frame.truncate(header + random.gen_range(0..14)),
    }
    frame
}

/// The neighbour's address.
pub const MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 0x66]);
/// Frames sent without a pause: fewer than a veth queue holds.
const BURST: u64 = 32;
