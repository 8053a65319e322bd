//! The agent beside other work: idle, with many sessions, and with a push under way.

use std::cell::Cell;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bmstools_link::Mode;
use bmstools_session::Session;
use tokio::time::sleep;

use super::contest::{Contest, Contestant, Turn};
use super::context::Context;
use super::files::remove;
use super::latency::RUNS;
use super::operator::{Operator, exec_true, push};
use super::results::{Run, Section, Unit};
use super::stage::{Napi, Stage};
use super::table::MEMORY;
use crate::memory::MIB;
use crate::{Agent, Link, nic};

/// Measures what the agent takes while nobody asks for anything, and commands while a
/// file is pushed on their session.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let sections = [idle(context)?, resident(context)?, busy(context)?];
    Ok(sections.into_iter().flatten().collect())
}

fn idle(context: &Context) -> Result<Option<Section>> {
    let stage = &Stage::new(Napi::Default, context.mtu)?;
    let seconds = context.choose(30, 3);
    let rows = [("v2-sleep-xdp", Link::Xdp), ("v2-sleep-packet", Link::Packet)];
    let contestants = rows.map(|(name, link)| {
        Contestant::new(name, move |turn| {
            if turn == Turn::WarmUp {
                return Ok(Run::default());
            }
            let agent = stage.start_agent(link)?;
            // What it does once it is ready is no idleness.
            thread::sleep(SETTLE);
            let lasts = Duration::from_secs(seconds);
            let before = cpu_time(&agent)?;
            thread::sleep(lasts);
            let used = cpu_time(&agent)? - before;
            let run = Run::value(used.as_secs_f64() / lasts.as_secs_f64() * 100.0);
            Ok(run.with(MEMORY, agent.memory()?.resident as f64))
        })
    });
    let contest = Contest {
        id: "agent-idle",
        title: "Processor time of an agent that nobody uses",
        explanation: format!(
            "All threads of the agent together, as a share of one core, over {seconds} s without \
             a session; beside it what it has resident."
        ),
        unit: Unit::Percent,
        reference: "",
        rounds: 1,
        budget: context.budget(80),
    };
    contest.run(context, Vec::from(contestants))
}

fn resident(context: &Context) -> Result<Option<Section>> {
    let stage = &Stage::new(Napi::Default, context.mtu)?;
    // Another address: an agent keeps a part of its sessions from every single one.
    let second = "second";
    stage.sender().ip(&format!("link add link {} name {second} type macvlan", nic::NAME))?;
    stage.sender().ip(&format!("link set {second} up mtu {}", stage.mtu()))?;
    let contestants = [0, SESSIONS].map(|count| {
        let name = if count == 0 { "v2-resident-idle" } else { "v2-resident-sessions" };
        Contestant::new(name, move |turn| {
            if turn == Turn::WarmUp {
                return Ok(Run::default());
            }
            let agent = stage.start_agent(Link::Xdp)?;
            let mut operators = [
                Operator::open(stage, nic::NAME, Mode::Packet)?,
                Operator::open(stage, second, Mode::Packet)?,
            ];
            let mut sessions: Vec<Session> = Vec::new();
            for number in 0..count {
                let operator = &mut operators[number % 2];
                sessions.push(operator.connect(stage)?.0);
            }
            thread::sleep(SETTLE);
            let resident = agent.memory()?.resident;
            drop(sessions);
            Ok(Run::value(resident as f64 / MIB as f64).with("sessions", count as f64))
        })
        .note(format!("{count} idle sessions"))
    });
    let contest = Contest {
        id: "agent-memory",
        title: "Memory of an agent with idle sessions",
        explanation: "What the agent has resident, a second after the last session was opened. \
                      The most that it has during a push stands with the files of all sizes."
            .to_owned(),
        unit: Unit::Mebibytes,
        reference: "",
        rounds: 1,
        budget: context.budget(60),
    };
    contest.run(context, Vec::from(contestants))
}

fn busy(context: &Context) -> Result<Option<Section>> {
    let stage = &Stage::new(Napi::Threaded, context.mtu)?;
    let _agent = stage.start_agent(Link::Xdp)?;
    let mut operator = Operator::open(stage, nic::NAME, Mode::Xdp)?;
    let (session, _) = operator.connect(stage)?;
    let (operator, session) = (&operator, &session);
    let mib = context.choose(1024, 128);
    let rounds = context.choose(4, 2);
    let many = |turn: Turn| if turn == Turn::WarmUp { 5 } else { RUNS / rounds };
    let contestants = vec![
        Contestant::several("v2-exec-quiet", move |turn| {
            let times = many(turn);
            operator.run(asked(session, times, &Cell::new(false)))
        })
        .note("nothing else on the session"),
        Contestant::several("v2-exec-busy", move |turn| {
            under_push(context, operator, session, mib * MIB, many(turn))
        })
        .note(format!("beside a push of {mib} MiB, up to its end")),
    ];
    let contest = Contest {
        id: "busy",
        title: "A command on the session of a running push",
        explanation: "`true` again and again on a session, while on the same one a file is \
                      pushed. Inside the benchmark, over AF_XDP at both ends. Threaded NAPI."
            .to_owned(),
        unit: Unit::Milliseconds,
        reference: "v2-exec-quiet",
        rounds,
        budget: context.budget(60),
    };
    contest.run(context, contestants)
}

/// Commands one after the other, until there are so many or `is_over`.
async fn asked(session: &Session, times: u32, is_over: &Cell<bool>) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    while runs.len() < times as usize && !is_over.get() {
        runs.push(Run::milliseconds(exec_true(session).await?.as_secs_f64()));
    }
    Ok(runs)
}

/// The same while the file is pushed.
fn under_push(
    context: &Context,
    operator: &Operator,
    session: &Session,
    bytes: u64,
    times: u32,
) -> Result<Vec<Run>> {
    let files = &context.files;
    let source = files.source(bytes)?;
    let destination = files.destination("busy", bytes)?;
    let is_over = Cell::new(false);
    let pushing = async {
        let pushed = push(session, &source, &destination).await;
        is_over.set(true);
        pushed
    };
    let asking = async {
        sleep(BEGIN).await;
        asked(session, times, &is_over).await
    };
    let done = operator.run(async { tokio::try_join!(pushing, asking) });
    remove(&destination)?;
    let ((), runs) = done?;
    ensure!(!runs.is_empty(), "the push had ended before the first command");
    Ok(runs)
}

/// Processor time of all threads of the agent.
fn cpu_time(agent: &Agent) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", agent.id()))? {
        let path = thread?.path().join("schedstat");
        // A thread may have ended.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

const SESSIONS: usize = 1000;
const SETTLE: Duration = Duration::from_secs(1);
/// Until a push moves bytes.
const BEGIN: Duration = Duration::from_millis(50);
