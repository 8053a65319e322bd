//! The protocol alone: version 2 in one thread, without a kernel below.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bmstools_common::ethernet::Peer;
use bmstools_proto::v2::identity::{Identity, KeyType, generate};
use bmstools_proto::v2::{
    Chunk, Config, Connect, Endpoint, Event, SessionId, StreamError, StreamId,
};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use super::contest::{Contest, Contestant, Turn};
use super::context::Context;
use super::cores::{self, SENDER};
use super::results::{Run, Section, Unit};
use crate::memory::MIB;
use crate::testbed::{AGENT_MAC, OPERATOR_MAC};
use crate::{data, interrupt, wire};

/// Measures what each side's protocol costs.
///
/// # Errors
///
/// Where a signal came, or the keys cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let keys = &Keys::new()?;
    let bytes = context.choose(1024, 256) * MIB;
    let mut contestants = Vec::new();
    for mtu in MTUS {
        for (name, side) in [("v2-memory-send", SENDING), ("v2-memory-receive", RECEIVING)] {
            let contestant = Contestant::new(name, move |turn| {
                let bytes = if turn == Turn::WarmUp { WARM_UP } else { bytes };
                let cpu = cores::on(SENDER, || transfer(keys, mtu, bytes, turn))?;
                Ok(Run::per_cpu_second(bytes, cpu[side].as_secs_f64()))
            });
            contestants.push(contestant.at(format!("MTU {mtu}"), mtu as f64));
        }
    }
    let contest = Contest {
        id: "memory",
        title: "Version 2 without a kernel below",
        explanation: EXPLANATION.to_owned(),
        unit: Unit::GibPerCpuSecond,
        reference: "",
        rounds: context.choose(5, 3),
        budget: context.budget(40),
    };
    Ok(contest.run(context, contestants)?.into_iter().collect())
}

struct Keys {
    agent: Identity,
    operator: Identity,
}

impl Keys {
    fn new() -> Result<Self> {
        let new = || anyhow::Ok(Identity::from_pem(&generate(KeyType::Ed25519)?)?);
        anyhow::Ok(Self { agent: new()?, operator: new()? })
    }
}

/// One end, and the processor time that it took.
struct End {
    endpoint: Endpoint,
    peer: Peer,
    frames: Vec<(usize, Vec<u8>)>,
    used: Duration,
}

impl End {
    fn new(mtu: usize, peer: Peer, now: Instant) -> Self {
        let config = Config { mtu, ..Config::default() };
        let endpoint = Endpoint::new(config, rand::random(), now);
        let frames = vec![(0, vec![0; mtu]); BATCH];
        Self { endpoint, peer, frames, used: Duration::ZERO }
    }

    /// Does `work`, whose processor time is this end's.
    fn work<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let done = work(self);
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let passed = after - before;
        self.used += Duration::try_from(passed).unwrap_or_default();
        done
    }

    /// Timers, then frames to send: how many there are now.
    fn transmit(&mut self, now: Instant) -> usize {
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
        let mut count = 0;
        for (len, frame) in &mut self.frames {
            let Some((_, filled)) = self.endpoint.poll_transmit(now, 0, frame) else { break };
            *len = filled;
            count += 1;
        }
        count
    }

    /// Takes what the other end sent, where it lies.
    fn receive(&mut self, now: Instant, frames: &mut [(usize, Vec<u8>)]) {
        for (len, frame) in frames {
            self.endpoint.handle_frame(now, 0, self.peer, &mut frame[..*len]);
        }
    }
}

/// What is written: the same block again and again.
struct Source {
    block: Bytes,
    session: SessionId,
    stream: StreamId,
    at: u64,
    bytes: u64,
}

impl Source {
    /// Writes as much as there is room for, and the end.
    fn fill(&mut self, now: Instant, endpoint: &mut Endpoint) -> Result<(), StreamError> {
        while self.at < self.bytes && endpoint.room(self.session, self.stream) > 0 {
            endpoint.write_at(now, self.session, self.stream, self.at, self.block.clone())?;
            self.at += self.block.len() as u64;
            if self.at == self.bytes {
                endpoint.finish(now, self.session, self.stream)?;
            }
        }
        Ok(())
    }
}

/// What arrived.
#[derive(Default)]
struct Sink {
    open: Option<(SessionId, StreamId)>,
    bytes: u64,
    ended: bool,
    /// What every block must be, where it is looked at.
    expected: Option<Bytes>,
}

impl Sink {
    /// Reads everything that there is and lets the peer send as much more.
    fn drain(&mut self, now: Instant, endpoint: &mut Endpoint) -> Result<()> {
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::StreamOpened { session, stream } => self.open = Some((session, stream)),
                Event::Closed { reason, .. } => bail!("the session ended: {reason}"),
                _ => {}
            }
        }
        let Some((session, stream)) = self.open else { return Ok(()) };
        while let Some(chunk) = endpoint.read(session, stream) {
            match chunk {
                Chunk::Data { offset, data } => {
                    self.check(offset, &data)?;
                    self.bytes += data.len() as u64;
                    endpoint.consumed(now, session, stream, data.len() as u64);
                }
                Chunk::End => self.ended = true,
                Chunk::Reset { code } => bail!("the stream was given up (code {code})"),
            }
        }
        Ok(())
    }

    fn check(&self, offset: u64, data: &[u8]) -> Result<()> {
        let Some(block) = &self.expected else { return Ok(()) };
        for (i, byte) in data.iter().enumerate() {
            let at = (offset as usize + i) % block.len();
            ensure!(*byte == block[at], "byte {} arrived changed", offset + i as u64);
        }
        Ok(())
    }
}

/// Moves `bytes` from one end to the other. Returns the processor time of both, from
/// the first byte of data on.
fn transfer(keys: &Keys, mtu: usize, bytes: u64, turn: Turn) -> Result<[Duration; 2]> {
    let mut now = Instant::now();
    let mut sender = End::new(mtu, wire::peer(AGENT_MAC, None)?, now);
    let mut receiver = End::new(mtu, wire::peer(OPERATOR_MAC, None)?, now);
    let session = establish(keys, mtu, &mut now, &mut sender, &mut receiver)?;
    let block = Bytes::from(data::random(1, MIB as usize));
    let stream = sender.endpoint.open_stream(session)?;
    let expected = (turn == Turn::WarmUp).then(|| block.clone());
    let mut source = Source { block, session, stream, at: 0, bytes };
    let mut sink = Sink { expected, ..Sink::default() };
    [sender.used, receiver.used] = [Duration::ZERO; 2];
    let mut silent = 0;
    while !sink.ended {
        interrupt::check()?;
        let sent = sender.work(|end| -> Result<usize> {
            while let Some(event) = end.endpoint.poll_event() {
                if let Event::Closed { reason, .. } = event {
                    bail!("the session ended: {reason}");
                }
            }
            source.fill(now, &mut end.endpoint)?;
            Ok(end.transmit(now))
        })?;
        now += FRAME_TIME * sent as u32;
        let answered = receiver.work(|end| -> Result<usize> {
            end.receive(now, &mut sender.frames[..sent]);
            sink.drain(now, &mut end.endpoint)?;
            Ok(end.transmit(now))
        })?;
        sender.work(|end| end.receive(now, &mut receiver.frames[..answered]));
        silent = if sent + answered > 0 { 0 } else { silent + 1 };
        ensure!(silent < MOST_SILENT, "nothing moves after {} bytes", sink.bytes);
        if sent + answered == 0 {
            now = next_timeout(now, &sender, &receiver)?;
        }
    }
    ensure!(sink.bytes == bytes, "{} of {bytes} bytes arrived", sink.bytes);
    Ok([sender.used, receiver.used])
}

/// Both ends' handshake.
fn establish(
    keys: &Keys,
    mtu: usize,
    now: &mut Instant,
    operator: &mut End,
    agent: &mut End,
) -> Result<SessionId> {
    let authorized = [keys.operator.public_key()].into();
    agent.endpoint.accept(Some((keys.agent.clone(), authorized)));
    let session = operator.endpoint.connect(
        *now,
        Connect {
            peer: operator.peer,
            port: 0,
            mtu,
            key: 1,
            identity: keys.operator.clone(),
            expected: keys.agent.public_key(),
        },
    );
    for _ in 0..MOST_SILENT {
        let mut moved = 0;
        for step in 0..2 {
            let (from, to) = if step == 0 {
                (&mut *operator, &mut *agent)
            } else {
                (&mut *agent, &mut *operator)
            };
            let sent = from.transmit(*now);
            to.receive(*now, &mut from.frames[..sent]);
            moved += sent;
        }
        while let Some(event) = operator.endpoint.poll_event() {
            match event {
                Event::Established { .. } => return Ok(session),
                Event::Closed { reason, .. } => bail!("no session: {reason}"),
                _ => {}
            }
        }
        if moved == 0 {
            *now = next_timeout(*now, operator, agent)?;
        }
    }
    bail!("no session within {MOST_SILENT} turns")
}

/// Time is made up: where nobody has anything to send, it goes on to what is due next.
fn next_timeout(now: Instant, sender: &End, receiver: &End) -> Result<Instant> {
    let due = [sender, receiver].into_iter().filter_map(|end| end.endpoint.poll_timeout());
    let due = due.min().context("nobody has anything to do")?;
    Ok(due.max(now + FRAME_TIME))
}

const SENDING: usize = 0;
const RECEIVING: usize = 1;
const MTUS: [usize; 2] = [1500, 3498];
/// Frames that go from one side to the other at once.
const BATCH: usize = 64;
/// What a frame takes on the made-up link: about 12 Gb/s at an MTU of 1500.
const FRAME_TIME: Duration = Duration::from_micros(1);
/// Turns in a row without a frame after which something is wrong.
const MOST_SILENT: u32 = 10_000;
const WARM_UP: u64 = 32 * MIB;
const EXPLANATION: &str = "Both ends of a session in one thread, by turns, in batches of 64 \
frames through plain memory: what the protocol itself costs, with encryption and \
acknowledgements, and without a kernel, a file or a digest. The sender writes one block of 1 MiB \
again and again, the receiver gets it in blocks and drops them. GiB of the stream's data for each \
second of processor time (CLOCK_THREAD_CPUTIME_ID) that one side's work took. Time as the \
protocol sees it is made up, one microsecond a frame, so that nothing waits.";
