//! A bad cable: a host between two others that forwards frames with loss,
//! duplication, reordering and corruption, the same for the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bmstools_common::ethernet::ETHERTYPE;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::namespace::Namespace;
use crate::nic::{self, End, PairOptions};
use crate::wire::{Tap, wait_readable};

/// What the cable does to frames, each way; the rates are shares of 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairments {
    /// Frames that do not arrive.
    pub loss: f64,
    /// Frames that arrive twice.
    pub duplication: f64,
    /// Frames that arrive after later ones: held back by up to
    /// [`REORDER_DELAY`].
    pub reordering: f64,
    /// Frames with one changed byte behind the Ethernet header.
    pub corruption: f64,
    /// How long every frame takes.
    pub delay: Duration,
    /// How much it carries; as much as comes where this is nothing.
    pub rate: Option<Rate>,
}

/// What a cable carries each way, and what waits in front of it.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes of whole frames a second.
    pub bytes_per_second: u64,
    /// Frames that wait, those of the delay included; those that come on top are dropped.
    pub queue: usize,
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came.
    pub received: u64,
    /// Frames that went on, duplicates included.
    pub forwarded: u64,
    /// Frames that were lost.
    pub lost: u64,
    /// Frames that went on twice.
    pub duplicated: u64,
    /// Frames that were held back.
    pub reordered: u64,
    /// Frames that were changed.
    pub corrupted: u64,
    /// Frames for which there was no room in front of the cable.
    pub dropped: u64,
}

/// A host beside a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first one.
    Left,
    /// The second one.
    Right,
}

/// A running relay. Stopped when dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _namespace: Namespace,
}

impl Relay {
    /// Connects two hosts through a namespace in the middle.
    ///
    /// # Errors
    ///
    /// Where the interfaces cannot be made.
    pub fn start(
        left: End<'_>,
        right: End<'_>,
        options: PairOptions,
        impairments: Impairments,
        seed: u64,
    ) -> Result<Self> {
        let namespace = Namespace::new("relay")?;
        let mut taps = Vec::new();
        for (end, name, last) in [(left, "left", 0x11), (right, "right", 0x12)] {
            let mac = bmstools_common::Mac([0x52, 0x54, 0, 0xaa, 0xbb, last]);
            let middle = End { namespace: &namespace, name, mac };
            nic::connect(end, middle, options)?;
            taps.push(Tap::promiscuous(middle)?);
        }
        let shared = Arc::new(Shared { impairments: Mutex::new(impairments), ..Shared::default() });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if let Err(error) = forward(&taps, &shared, seed) {
                    eprintln!("the relay stopped: {error:#}");
                }
            })
        };
        Ok(Self { shared, thread: Some(thread), _namespace: namespace })
    }

    /// Does this to frames from here on.
    pub fn set(&self, impairments: Impairments) {
        *lock(&self.shared.impairments) = impairments;
    }

    /// Keeps a copy of every frame that comes from here on.
    pub fn record(&self) {
        *lock(&self.shared.recorded) = Some(Vec::new());
    }

    /// The frames that came since [`record`](Self::record), from this side.
    pub fn recorded(&self, from: Side) -> Vec<Vec<u8>> {
        let recorded = lock(&self.shared.recorded);
        let frames = recorded.iter().flatten().filter(|(side, _)| *side == from as usize);
        frames.map(|(_, frame)| frame.clone()).collect()
    }

    /// Sends frames to this side, in this order, beside those that come.
    pub fn inject(&self, to: Side, frames: impl IntoIterator<Item = Vec<u8>>) {
        let to = to as usize;
        lock(&self.shared.injected).extend(frames.into_iter().map(|frame| (to, frame)));
    }

    /// Waits until everything injected is on its way.
    ///
    /// # Errors
    ///
    /// Where that takes longer than ten seconds.
    pub fn wait_injected(&self) -> Result<()> {
        let started = Instant::now();
        while !lock(&self.shared.injected).is_empty() {
            if started.elapsed() > Duration::from_secs(10) {
                bail!("the relay does not inject");
            }
            thread::sleep(IDLE);
        }
        Ok(())
    }

    /// Bytes that went on towards the right host so far, whole frames: those of
    /// bmstools, and all others.
    pub fn bytes_to_right(&self) -> [u64; 2] {
        [&self.shared.bytes[0], &self.shared.bytes[1]].map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Fails where a rate that was asked for did not happen: so that no test passes
    /// over a good cable.
    ///
    /// # Errors
    ///
    /// Naming the rate.
    pub fn require_impaired(&self) -> Result<Counts> {
        let counts = self.counts();
        let wanted = *lock(&self.shared.impairments);
        for (rate, count, what) in [
            (wanted.loss, counts.lost, "lost"),
            (wanted.duplication, counts.duplicated, "duplicated"),
            (wanted.reordering, counts.reordered, "reordered"),
            (wanted.corruption, counts.corrupted, "corrupted"),
        ] {
            let expected = rate * counts.received as f64;
            if (count as f64) < expected / 2.0 {
                bail!("of {} frames {count} were {what}, not {expected:.0}", counts.received);
            }
        }
        Ok(counts)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    impairments: Mutex<Impairments>,
    stop: AtomicBool,
    numbers: [AtomicU64; 7],
    /// Frames with the side that they came from, where they are kept.
    recorded: Mutex<Option<Sided>>,
    /// Frames with the side that they are for.
    injected: Mutex<Sided>,
    /// Forwarded to the right: of bmstools, and all others.
    bytes: [AtomicU64; 2],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy)]
enum Number {
    Received,
    Forwarded,
    Lost,
    Duplicated,
    Reordered,
    Corrupted,
    Dropped,
}

impl Shared {
    fn count(&self, number: Number) {
        self.numbers[number as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let [received, forwarded, lost, duplicated, reordered, corrupted, dropped] =
            [0, 1, 2, 3, 4, 5, 6].map(|i| self.numbers[i].load(Ordering::Relaxed));
        Counts { received, forwarded, lost, duplicated, reordered, corrupted, dropped }
    }
}

/// Frames, each with the number of a side.
type Sided = Vec<(usize, Vec<u8>)>;

/// A frame on its way: due then, in the order of arrival, to that tap.
type Due = Reverse<(Instant, u64, usize, Vec<u8>)>;

/// One way through the cable.
#[derive(Clone, Copy)]
struct Way {
    /// When the last frame that waits is through.
    free_at: Instant,
    waiting: usize,
}

impl Way {
    /// When a frame that comes now is through; `None` where there is no room for it.
    fn pass(&mut self, rate: Option<Rate>, len: usize, now: Instant) -> Option<Instant> {
        let Some(rate) = rate else { return Some(now) };
        if self.waiting >= rate.queue {
            return None;
        }
        let takes = Duration::from_secs_f64(len as f64 / rate.bytes_per_second as f64);
        self.free_at = self.free_at.max(now) + takes;
        Some(self.free_at)
    }
}

fn forward(taps: &[Tap], shared: &Shared, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut queue: BinaryHeap<Due> = BinaryHeap::new();
    let mut number = 0;
    let mut ways = [Way { free_at: Instant::now(), waiting: 0 }; 2];
    while !shared.stop.load(Ordering::Relaxed) {
        let impairments = *lock(&shared.impairments);
        let injected = std::mem::take(&mut *lock(&shared.injected));
        for (to, frame) in injected {
            taps[to].send_bytes(&frame)?;
        }
        for (from, tap) in taps.iter().enumerate() {
            let now = Instant::now();
            for _ in 0..BATCH {
                let Some(mut frame) = tap.receive_bytes(now)? else {
                    break;
                };
                shared.count(Number::Received);
                if let Some(recorded) = lock(&shared.recorded).as_mut() {
                    recorded.push((from, frame.clone()));
                }
                let to = 1 - from;
                let Some(through) = ways[to].pass(impairments.rate, frame.len(), now) else {
                    shared.count(Number::Dropped);
                    continue;
                };
                for due in fate(&impairments, &mut random, &mut frame, through, shared) {
                    number += 1;
                    ways[to].waiting += 1;
                    queue.push(Reverse((due, number, to, frame.clone())));
                }
            }
        }
        let now = Instant::now();
        while queue.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, to, frame))) = queue.pop() {
                ways[to].waiting -= 1;
                taps[to].send_bytes(&frame)?;
                shared.count(Number::Forwarded);
                if to == 1 {
                    let is_other = frame.get(12..14) != Some(&ETHERTYPE.to_be_bytes()[..]);
                    let bytes = &shared.bytes[usize::from(is_other)];
                    bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
                }
            }
        }
        let next = queue.peek().map(|Reverse((due, ..))| due.saturating_duration_since(now));
        let sockets: Vec<_> = taps.iter().map(AsFd::as_fd).collect();
        wait_readable(&sockets, next.map_or(IDLE, |next| next.min(IDLE)))?;
    }
    Ok(())
}

/// When copies of a frame that is through at `through` go on: none, one or two times.
fn fate(
    impairments: &Impairments,
    random: &mut StdRng,
    frame: &mut [u8],
    through: Instant,
    shared: &Shared,
) -> Vec<Instant> {
    if random.gen_bool(impairments.loss) {
        shared.count(Number::Lost);
        return Vec::new();
    }
    if random.gen_bool(impairments.corruption) && frame.len() > 14 {
        shared.count(Number::Corrupted);
        frame[random.gen_range(14..frame.len())] ^= random.gen_range(1..=255);
    }
    let mut due = vec![through + impairments.delay];
    if random.gen_bool(impairments.duplication) {
        shared.count(Number::Duplicated);
        due.push(through + impairments.delay);
    }
    if random.gen_bool(impairments.reordering) {
        shared.count(Number::Reordered);
        due[0] += REORDER_DELAY.mul_f64(random.gen_range(0.1..1.0));
    }
    due
}

/// How long a reordered frame is held back at most. Several round trips.
pub const REORDER_DELAY: Duration = Duration::from_millis(2);
const IDLE: Duration = Duration::from_millis(50);
const BATCH: usize = 64;
