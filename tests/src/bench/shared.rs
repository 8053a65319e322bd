//! A cable that a push shares with a TCP flow.

use std::cell::RefCell;
use std::rc::Rc;
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
use crate::relay::{Impairments, Rate};

/// Measures a push and a TCP flow, each alone and both at once.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let cable = Impairments { rate: Some(CABLE), ..Impairments::default() };
    let stage = &Stage::with_relay(cable)?;
    let bytes = context.choose(256, 64) * MIB;
    let short = |turn: Turn| if turn == Turn::WarmUp { bytes / 8 } else { bytes };
    let alone = Contestant::new("v2-alone", |turn| push_alone(context, stage, short(turn)));
    let mut contestants = vec![alone.note("a push over AF_XDP, nothing beside it")];
    let missing = IPERF3.missing();
    for tcp in [Tcp { name: "cubic", point: "CUBIC" }, Tcp { name: "bbr", point: "BBR" }] {
        let missing = missing.clone().or_else(|| tcp.missing(stage));
        let three = match missing {
            Some(why) => NAMES.map(|name| Contestant::absent(name, why.clone())),
            None => against(context, stage, tcp, bytes),
        };
        contestants.extend(three.map(|one| one.at(tcp.point, 0.0)));
    }
    let contest = Contest {
        id: "shared",
        title: "A push and a TCP flow on one link",
        explanation: format!(
            "A relay makes a cable of {} Mb/s each way, with room for {} frames in front of it, \
             and counts what it carries of each towards the receiver while both run, in whole \
             frames. The TCP flow is there first, with one congestion control or the other. \
             Default NAPI, MTU 1500.",
            CABLE.bytes_per_second * 8 / 1_000_000,
            CABLE.queue
        ),
        unit: Unit::GbitPerSecond,
        reference: "",
        rounds: context.choose(3, 2),
        budget: context.budget(60),
    };
    Ok(contest.run(context, contestants)?.into_iter().collect())
}

/// A flow's congestion control.
#[derive(Clone, Copy)]
struct Tcp {
    name: &'static str,
    point: &'static str,
}

impl Tcp {
    /// Why this kernel does not have it.
    fn missing(self, stage: &Stage) -> Option<String> {
        let mut command = stage.sender().command("cat");
        command.arg("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let known = command.output().ok().map(|output| output.stdout).unwrap_or_default();
        let known = String::from_utf8_lossy(&known).into_owned();
        let is_there = known.split_whitespace().any(|name| name == self.name);
        (!is_there).then(|| format!("this kernel has {} not loaded: {}", self.point, known.trim()))
    }
}

/// What a push and a flow at once got, and by whose row it was measured.
type Measured = Option<(usize, [Run; 2])>;

/// The flow alone, and a push and the flow at once.
fn against<'a>(
    context: &'a Context,
    stage: &'a Stage,
    tcp: Tcp,
    bytes: u64,
) -> [Contestant<'a>; 3] {
    let both: Rc<RefCell<Measured>> = Rc::default();
    // Both rows are of the same runs: what one side's row has measured is the other's too.
    let of_both = move |side: usize| {
        let both = Rc::clone(&both);
        move |turn: Turn| {
            if turn == Turn::WarmUp {
                return Ok(Run::default());
            }
            let kept = both.take().filter(|(by, _)| *by != side);
            let runs = match kept {
                Some((_, runs)) => runs,
                None => {
                    let runs = flow_at_once(context, stage, tcp, bytes)?;
                    both.replace(Some((side, runs.clone())));
                    runs
                }
            };
            runs.into_iter().nth(side).context("no such side")
        }
    };
    let [alone, ours, theirs] = NAMES;
    [
        Contestant::new(alone, move |turn| tcp_alone(stage, tcp, context.choose(3, 1), turn))
            .note("one TCP flow of iperf3, nothing beside it"),
        Contestant::new(ours, of_both(OURS)).note("a push, the TCP flow beside it"),
        Contestant::new(theirs, of_both(OTHERS)).note("the TCP flow, the push beside it"),
    ]
}

fn push_alone(context: &Context, stage: &Stage, bytes: u64) -> Result<Run> {
    let [ours, _] = while_pushing(context, stage, bytes)?;
    Ok(ours)
}

fn tcp_alone(stage: &Stage, tcp: Tcp, seconds: u64, turn: Turn) -> Result<Run> {
    let _flow = start_flow(stage, tcp)?;
    let lead = if turn == Turn::WarmUp { Duration::from_millis(200) } else { LEAD };
    thread::sleep(lead);
    let counted = Counted::begin(stage)?;
    thread::sleep(Duration::from_secs(seconds));
    let [_, others] = counted.end(stage)?;
    Ok(others)
}

fn flow_at_once(context: &Context, stage: &Stage, tcp: Tcp, bytes: u64) -> Result<[Run; 2]> {
    let mut flow = start_flow(stage, tcp)?;
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
fn start_flow(stage: &Stage, tcp: Tcp) -> Result<[Process; 2]> {
    let mut server = stage.receiver().command("iperf3");
    server.args(["-s", "-1", "-B", RECEIVER_ADDRESS]);
    let server = cores::on(RECEIVER, || Process::start("iperf3 server", server))?;
    job::wait_until("iperf3 listens", || stage.is_listening(5201))?;
    let mut client = stage.sender().command("iperf3");
    client.args(["-c", RECEIVER_ADDRESS, "-B", SENDER_ADDRESS, "-t", "600", "-C", tcp.name]);
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

/// Less than half of what the relay can do: the cable is the bottleneck, not the
/// processor. In front of it what a network card's ring holds.
const CABLE: Rate = Rate { bytes_per_second: 62_500_000, queue: 256 };
const NAMES: [&str; 3] = ["tcp-alone", "v2-beside-tcp", "tcp-beside-v2"];
const OURS: usize = 0;
const OTHERS: usize = 1;
/// Until a TCP flow has found its rate.
const LEAD: Duration = Duration::from_secs(1);
/// Until a push has its session.
const BEGIN: Duration = Duration::from_millis(100);
