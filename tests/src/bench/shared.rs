//! A cable that a push shares with a TCP flow.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::contest::{Contest, Contestant, Turn};
use super::context::Context;
use super::cores::{self, RECEIVER, SENDER};
use super::job;
use super::ours::Protocol;
use super::peers::limit;
use super::results::{Run, Section, Unit};
use super::stage::{RECEIVER_ADDRESS, SENDER_ADDRESS, Stage};
use super::tools::IPERF3;
use crate::Link;
use crate::memory::MIB;
use crate::process::Process;

/// Measures a push and a TCP flow, each alone and both at once.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let stage = &Stage::with_relay()?;
    let bytes = context.choose(256, 64) * MIB;
    let both: RefCell<Option<[Run; 2]>> = RefCell::new(None);
    // Both rows are of the same runs.
    let of_both = |side: usize| {
        let kept = both.take();
        let runs = match kept {
            Some(runs) => runs,
            None => {
                let runs = flow_at_once(context, stage, bytes)?;
                both.replace(Some(runs.clone()));
                runs
            }
        };
        runs.into_iter().nth(side).context("no such side")
    };
    let pair = [("v2-beside-tcp", OURS), ("tcp-beside-v2", OTHERS)].map(|(name, side)| {
        Contestant::new(name, move |turn| match turn {
            Turn::WarmUp => Ok(Run::default()),
            Turn::Measured => of_both(side),
        })
    });
    let alone = |turn: Turn| if turn == Turn::WarmUp { bytes / 8 } else { bytes };
    let mut contestants = vec![
        Contestant::new("v2-alone", |turn| push_alone(context, stage, alone(turn)))
            .note("a push over AF_XDP, nothing beside it"),
        Contestant::new("tcp-alone", |turn| tcp_alone(stage, context.choose(3, 1), turn))
            .note("one TCP flow of iperf3, nothing beside it"),
    ];
    let notes = ["a push, the TCP flow beside it", "the TCP flow, the push beside it"];
    contestants.extend(pair.into_iter().zip(notes).map(|(one, note)| one.note(note)));
    if let Some(why) = IPERF3.missing() {
        contestants.truncate(1);
        let names = ["tcp-alone", "v2-beside-tcp", "tcp-beside-v2"];
        contestants.extend(names.map(|name| Contestant::absent(name, why.clone())));
    }
    let contest = Contest {
        id: "shared",
        title: "A push and a TCP flow on one link",
        explanation: "Both go through the relay of the section on loss, which loses nothing here \
                      and is the bottleneck: what each brings through it, counted by the relay in \
                      whole frames towards the receiver, while both run. The TCP flow is there \
                      first. Default NAPI, MTU 1500, TCP's congestion control as the machine has \
                      it."
        .to_owned(),
        unit: Unit::GbitPerSecond,
        reference: "",
        rounds: context.choose(3, 2),
        budget: context.budget(60),
    };
    Ok(contest.run(context, contestants)?.into_iter().collect())
}

fn push_alone(context: &Context, stage: &Stage, bytes: u64) -> Result<Run> {
    let [ours, _] = while_pushing(context, stage, bytes)?;
    Ok(ours)
}

fn tcp_alone(stage: &Stage, seconds: u64, turn: Turn) -> Result<Run> {
    let _flow = start_flow(stage)?;
    let lead = if turn == Turn::WarmUp { Duration::from_millis(200) } else { LEAD };
    thread::sleep(lead);
    let counted = Counted::begin(stage)?;
    thread::sleep(Duration::from_secs(seconds));
    let [_, others] = counted.end(stage)?;
    Ok(others)
}

fn flow_at_once(context: &Context, stage: &Stage, bytes: u64) -> Result<[Run; 2]> {
    let mut flow = start_flow(stage)?;
    thread::sleep(LEAD);
    let runs = while_pushing(context, stage, bytes)?;
    for process in &mut flow {
        ensure!(!process.has_ended()?, "iperf3 ended: {}", process.stderr());
    }
    Ok(runs)
}

/// What goes through the relay from soon after a push's begin to its end.
fn while_pushing(context: &Context, stage: &Stage, bytes: u64) -> Result<[Run; 2]> {
    let files = &context.files;
    let source = files.source(bytes)?;
    let agent = stage.start_agent(Link::Xdp)?;
    let destination = files.destination("file", bytes)?;
    let operator = Protocol::V2.operator(stage, Link::Xdp);
    let words = ["push".as_ref(), source.as_os_str(), destination.as_os_str()];
    let mut push = cores::on(SENDER, || operator.start(&words))?;
    thread::sleep(BEGIN);
    let counted = Counted::begin(stage)?;
    job::finish(&mut push, "bmstools push", limit(&source) * 2)?;
    let runs = counted.end(stage)?;
    drop(agent);
    files.check(&source, &destination, false)?;
    Ok(runs)
}

/// A server and a client, which run until they are dropped.
fn start_flow(stage: &Stage) -> Result<[Process; 2]> {
    let mut server = stage.receiver().command("iperf3");
    server.args(["-s", "-1", "-B", RECEIVER_ADDRESS]);
    let server = cores::on(RECEIVER, || Process::start("iperf3 server", server))?;
    job::wait_until("iperf3 listens", || stage.is_listening(5201))?;
    let mut client = stage.sender().command("iperf3");
    client.args(["-c", RECEIVER_ADDRESS, "-B", SENDER_ADDRESS, "-t", "600"]);
    let client = cores::on(SENDER, || Process::start("iperf3 client", client))?;
    Ok([client, server])
}

/// Bytes that the relay has forwarded, from now on.
struct Counted {
    at: Instant,
    bytes: [u64; 2],
}

impl Counted {
    fn begin(stage: &Stage) -> Result<Self> {
        Ok(Self { at: Instant::now(), bytes: stage.relay()?.bytes_to_right() })
    }

    fn end(self, stage: &Stage) -> Result<[Run; 2]> {
        let seconds = self.at.elapsed().as_secs_f64();
        let now = stage.relay()?.bytes_to_right();
        Ok([OURS, OTHERS].map(|side| Run::rate(now[side] - self.bytes[side], seconds)))
    }
}

const OURS: usize = 0;
const OTHERS: usize = 1;
/// Until a TCP flow has found its rate.
const LEAD: Duration = Duration::from_secs(1);
/// Until a push has its session.
const BEGIN: Duration = Duration::from_millis(100);
