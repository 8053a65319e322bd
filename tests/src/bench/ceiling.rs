//! What the link can do at most: our AF_XDP sockets and our XDP program, and no
//! protocol.
//!
//! The receiver tells the sender through shared memory how far it is, so that
//! nothing overflows and no frame is spent on acknowledgements.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bmstools_common::Mac;
use bmstools_common::ethernet::{HEADER_LEN, Peer};
use bmstools_common::header::{Dialect, V1Header, ptype};
use bmstools_common::maps::{Rate, SessionKey};
use bmstools_link::{Mode, Options, Outgoing, Port};

use super::contest::{Contest, Contestant, Turn};
use super::context::Context;
use super::cores::{self, Busy, RECEIVER, SENDER};
use super::results::{CEILING, Run, Section, Unit};
use super::stage::{Napi, Stage};
use crate::testbed::{AGENT_MAC, OPERATOR_MAC};
use crate::{Namespace, interrupt, nic, wire};

/// Measures the sizes of frames that the design speaks of.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for napi in [Napi::Threaded, Napi::Default] {
        let stage = Stage::new(napi, JUMBO_MTU)?;
        let stage = &stage;
        let contestants = SIZES.map(|len| {
            let name = format!("ceiling-{len}");
            Contestant::new(&name, move |turn| run(stage, len, duration(context, turn)))
                .note(format!("frames of {len} bytes"))
        });
        let contest = Contest {
            id: "ceiling",
            title: &format!("Ceiling, {napi} NAPI"),
            explanation: EXPLANATION.to_owned(),
            unit: Unit::GbitPerSecond,
            reference: "ceiling-1514",
            rounds: context.choose(5, 2),
            budget: context.budget(25),
        };
        if let Some(mut section) = contest.run(context, Vec::from(contestants))? {
            section.id = format!("ceiling-{napi}");
            sections.push(section);
        }
    }
    Ok(sections)
}

/// The ceiling of a stage, as a contestant among others.
pub(crate) fn contestant<'a>(context: &'a Context, stage: &'a Stage) -> Contestant<'a> {
    let len = stage.mtu() as usize + HEADER_LEN;
    Contestant::new(CEILING, move |turn| run(stage, len, duration(context, turn)))
        .note("raw AF_XDP, no protocol")
}

fn duration(context: &Context, turn: Turn) -> Duration {
    match turn {
        Turn::WarmUp => Duration::from_millis(200),
        Turn::Measured => context.choose(Duration::from_secs(1), Duration::from_millis(500)),
    }
}

/// Sends frames of `len` bytes for `duration`.
///
/// # Errors
///
/// Where the sockets cannot be had, or nothing arrives.
fn run(stage: &Stage, len: usize, duration: Duration) -> Result<Run> {
    let shared = Shared::default();
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let received = inside(stage.receiver(), RECEIVER, |port| receive(port, &shared));
            shared.stop.store(true, Ordering::Release);
            received
        });
        let sender = scope.spawn(|| {
            let sent = inside(stage.sender(), SENDER, |port| send(port, len, &shared));
            shared.stop.store(true, Ordering::Release);
            sent
        });
        let measured = watch(stage, &shared, duration);
        shared.stop.store(true, Ordering::Release);
        let join = |handle: thread::ScopedJoinHandle<'_, Result<Side>>| {
            handle.join().map_err(|_| anyhow!("a thread panicked"))?
        };
        let (sender, receiver) = (join(sender), join(receiver));
        let measured = measured?;
        anyhow::Ok((sender?, Measured { drops: receiver?.lost, ..measured }))
    })?;
    ensure!(received.frames > 0, "nothing arrived");
    let seconds = received.seconds;
    // The sender asks again and again for room: that is no work.
    let spun = sent.idle.as_secs_f64() * (seconds / sent.lasted.as_secs_f64().max(seconds));
    let cpu = [(received.cpu[0] - spun).max(0.0), received.cpu[1]];
    Ok(Run::rate(received.frames * len as u64, seconds)
        .with_cpu(cpu)
        .with("frames_per_second", received.frames as f64 / seconds)
        .with("lost", (sent.lost + received.drops) as f64))
}

/// How far both sides are.
#[derive(Default)]
pub(super) struct Shared {
    ready: AtomicU64,
    pub(super) stop: AtomicBool,
    pub(super) received: AtomicU64,
}

impl Shared {
    /// Whether somebody has stopped, or a signal came.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire) || interrupt::happened()
    }
}

/// What one side did.
struct Side {
    lost: u64,
    idle: Duration,
    lasted: Duration,
}

struct Measured {
    frames: u64,
    seconds: f64,
    cpu: [f64; 2],
    drops: u64,
}

/// Lets both sides begin once their sockets are there.
pub(super) fn start(stage: &Stage, shared: &Shared) -> Result<()> {
    let deadline = Instant::now() + START;
    while shared.ready.load(Ordering::Acquire) < 2 && !shared.is_over() {
        thread::sleep(Duration::from_millis(5));
        ensure!(Instant::now() < deadline, "the sockets were not ready in time");
    }
    stage.settle()?;
    // Both sides start at a third.
    shared.ready.store(3, Ordering::Release);
    Ok(())
}

/// Lets both sides begin, and counts for a while.
fn watch(stage: &Stage, shared: &Shared, duration: Duration) -> Result<Measured> {
    start(stage, shared)?;
    thread::sleep(LEAD);
    let (busy, started) = (Busy::now()?, Instant::now());
    let before = shared.received.load(Ordering::Acquire);
    while started.elapsed() < duration && !shared.is_over() {
        thread::sleep((duration.saturating_sub(started.elapsed())).min(TURN));
    }
    let frames = shared.received.load(Ordering::Acquire) - before;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Measured { frames, seconds, cpu: busy.elapsed()?, drops: 0 })
}

/// Runs `work` with a port on the interface of `namespace`, on `core`.
pub(super) fn inside<T: Send>(
    namespace: &Namespace,
    core: usize,
    work: impl FnOnce(&mut dyn Port) -> Result<T> + Send,
) -> Result<T> {
    namespace.enter(|| {
        cores::on(core, || {
            let unlimited = Rate { interval_ns: 0, burst: 0 };
            let options = Options {
                interface: nic::NAME.to_owned(),
                mode: Mode::Xdp,
                zero_copy: false,
                opens_per_source: unlimited,
                opens_global: unlimited,
                accepts_opens: true,
            };
            let mut ports = bmstools_link::open(&options)?;
            let port = ports.first_mut().context("no port")?;
            work(port.as_mut())
        })
    })?
}

fn receive(port: &mut dyn Port, shared: &Shared) -> Result<Side> {
    port.insert_session(SessionKey::v1(peer(OPERATOR_MAC)?, KEY), Dialect::V1.into())?;
    let started = begin(shared);
    let mut sum = 0;
    while !shared.is_over() {
        let frames = port.receive(&mut |_, frame| {
            sum += u64::from(frame.last().copied().unwrap_or_default());
        })?;
        if frames == 0 {
            wire::wait_readable(&port.readable(), TURN)?;
        } else {
            shared.received.fetch_add(frames as u64, Ordering::Release);
        }
    }
    std::hint::black_box(sum);
    let lost = port.counters().socket_drops;
    Ok(Side { lost, idle: Duration::ZERO, lasted: started.elapsed() })
}

fn send(port: &mut dyn Port, len: usize, shared: &Shared) -> Result<Side> {
    let peer = peer(AGENT_MAC)?;
    let payload = len - HEADER_LEN;
    let started = begin(shared);
    let (mut sent, mut written_off, mut idle) = (0u64, 0, Duration::ZERO);
    let mut heard = (0, Instant::now());
    while !shared.is_over() {
        let turn = Instant::now();
        let received = shared.received.load(Ordering::Acquire);
        if received != heard.0 {
            heard = (received, turn);
        } else if turn - heard.1 > SILENCE {
            // What did not arrive by now was lost on the way.
            written_off = sent - received;
            heard.1 = turn;
        }
        let mut room = (received + written_off + WINDOW).saturating_sub(sent);
        let before = sent;
        port.transmit(&mut |buffer| {
            room = room.checked_sub(1)?;
            let header = V1Header {
                ptype: ptype::DATA,
                srckey: KEY,
                dstkey: KEY,
                sequence: sent as u32,
                count: 1,
                offset: 0,
            };
            buffer.get_mut(..header.emit().len())?.copy_from_slice(&header.emit());
            sent += 1;
            Some(Outgoing { peer, len: payload.min(buffer.len()) })
        })?;
        if sent == before {
            idle += turn.elapsed();
        }
    }
    Ok(Side { lost: written_off, idle, lasted: started.elapsed() })
}

/// Waits until both sides are ready.
pub(super) fn begin(shared: &Shared) -> Instant {
    shared.ready.fetch_add(1, Ordering::AcqRel);
    while shared.ready.load(Ordering::Acquire) < 3 && !shared.is_over() {
        thread::sleep(Duration::from_millis(1));
    }
    Instant::now()
}

fn peer(mac: Mac) -> Result<Peer> {
    wire::peer(mac, None)
}

/// The key of both ends.
pub(super) const KEY: u16 = 0x7fff;
/// Frames under way at most: fewer than the receiver's ring holds.
const WINDOW: u64 = 1024;
/// After so long without a frame arriving, those under way count as lost.
const SILENCE: Duration = Duration::from_millis(20);
const START: Duration = Duration::from_secs(10);
/// From the first frame to the first that counts.
const LEAD: Duration = Duration::from_millis(50);
pub(super) const TURN: Duration = Duration::from_millis(50);
/// The longest frames that one buffer of XDP holds, less the Ethernet header.
const JUMBO_MTU: u32 = 3498;
const SIZES: [usize; 3] = [64, 1514, 3512];
const EXPLANATION: &str = "Our own AF_XDP sender and receiver with the agent's XDP program, copy \
mode, no protocol: what the link itself can carry. Rates count whole frames from the Ethernet \
header on; the sender writes a header of 14 bytes into each and leaves the payload as it is, the \
receiver reads one byte of it. The time in which the sender only waited for room is taken off \
its CPU time.";
