//! Many sessions at once.

use std::path::PathBuf;

use anyhow::Result;

use super::ceiling;
use super::contest::{Contest, Contestant, Turn, timed};
use super::context::Context;
use super::cores::{self, SENDER};
use super::job;
use super::ours::Protocol;
use super::peers::{self, LIMIT};
use super::results::{Run, Section, Unit};
use super::ssh::Server;
use super::stage::{Napi, Stage};
use crate::Link;
use crate::memory::MIB;
use crate::process::Process;

/// Measures pushes at once, together as large whatever their number.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let stage = Stage::new(Napi::Threaded, context.mtu)?;
    let ssh = Server::start(&stage)?;
    let total = context.choose(512, 128) * MIB;
    let mut contestants = vec![ceiling::contestant(context, &stage)];
    for count in [1, 4, 16, 64] {
        let point = if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") };
        let stage = &stage;
        for (name, protocol) in [("v2-many", Protocol::V2), ("v1-many", Protocol::V1)] {
            if count > MOST && protocol != Protocol::V2 {
                continue;
            }
            let run = move |turn| ours(context, stage, protocol, count, total, turn);
            contestants.push(
                Contestant::new(name, run).at(&point, count as f64).note(
                    "agent over AF_XDP, operators over AF_PACKET: an interface has one program",
                ),
            );
        }
        if count > MOST {
            continue;
        }
        contestants.push(
            match &ssh {
                Err(why) => Contestant::absent("scp", why),
                Ok(server) => Contestant::new("scp", move |turn| {
                    theirs(context, stage, server, count, total, turn)
                }),
            }
            .at(&point, count as f64),
        );
    }
    let contest = Contest {
        id: "sessions",
        title: &format!("{} MiB in 1 to 64 sessions at once", total / MIB),
        explanation: "As many commands at once as there are sessions, each with its share of the \
                      bytes; the time from the first one's start to the last one's end. The memory \
                      is the most that the one agent ever had resident. Threaded NAPI."
            .to_owned(),
        unit: Unit::GbitPerSecond,
        reference: "v2-many",
        rounds: context.choose(3, 1),
        budget: context.budget(120),
    };
    Ok(contest.run(context, contestants)?.into_iter().collect())
}

fn ours(
    context: &Context,
    stage: &Stage,
    protocol: Protocol,
    count: u64,
    total: u64,
    turn: Turn,
) -> Result<Run> {
    let agent = stage.start_agent(Link::Xdp)?;
    let operator = protocol.operator(stage, Link::Packet);
    let run = at_once(context, count, total, turn, |source, destination| {
        operator.start(&[PathBuf::from("push"), source.clone(), destination.clone()])
    })?;
    Ok(run.with("agent_memory", agent.memory()?.peak as f64))
}

fn theirs(
    context: &Context,
    stage: &Stage,
    server: &Server,
    count: u64,
    total: u64,
    turn: Turn,
) -> Result<Run> {
    at_once(context, count, total, turn, |source, destination| {
        Process::start("scp", peers::scp(stage, server, None, source, destination))
    })
}

fn at_once(
    context: &Context,
    count: u64,
    total: u64,
    turn: Turn,
    start: impl Fn(&PathBuf, &PathBuf) -> Result<Process>,
) -> Result<Run> {
    let files = &context.files;
    let share = match turn {
        Turn::WarmUp => MIB,
        Turn::Measured => total / count,
    };
    let source = files.source(share)?;
    files.destination("all", share * count)?;
    let destinations: Vec<_> = (0..count).map(|i| files.path(&format!("arrived-{i}"))).collect();
    let limit = LIMIT * 3;
    let ((), seconds, cpu) = timed(|| {
        let mut processes = Vec::new();
        for destination in &destinations {
            processes.push(cores::on(SENDER, || start(&source, destination))?);
        }
        for process in &mut processes {
            job::finish(process, "one of many", limit)?;
        }
        Ok(())
    })?;
    for destination in &destinations {
        files.check(&source, destination, turn == Turn::WarmUp)?;
    }
    Ok(Run::rate(share * count, seconds).with_cpu(cpu))
}

/// More handshakes of ssh at once take longer than the transfers, and version 1 nearly
/// stands still.
const MOST: u64 = 16;
