//! Files of all sizes.

use std::time::Duration;

use anyhow::Result;

use super::ceiling;
use super::contest::{Contest, Contestant};
use super::context::Context;
use super::files::SPARE;
use super::ours::{self, Protocol};
use super::peers::{self, Sizes, moved, sender};
use super::results::{BESIDE, Section, Unit};
use super::ssh::Server;
use super::stage::{Napi, Stage};
use crate::Link;
use crate::memory::{self, MIB};

/// Measures a push and scp of growing files, and the agent's memory.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let stage = Stage::new(Napi::Threaded, context.mtu)?;
    let ssh = Server::start(&stage)?;
    let sizes: &[u64] = context.choose(&[1, 16, 64, 256, 1024], &[1, 16, 128]);
    let few = grow(context, &stage, &ssh, sizes, context.choose(3, 1))?;
    let Some(mut section) = few else { return Ok(Vec::new()) };
    if !context.quick && !context.is_over(LARGEST_TIME) {
        // It needs nearly all memory.
        for mib in sizes {
            context.files.forget(mib * MIB)?;
        }
        match LARGEST_MIB.into_iter().find(|mib| has_room(context, *mib)) {
            Some(mib) => {
                let large = largest(context, &stage, &ssh, mib);
                context.files.forget(mib * MIB)?;
                let rows = large?.into_iter().flat_map(|section| section.rows);
                section.rows.extend(rows.filter(|row| !row.point.is_empty()));
            }
            None => context.progress.line("10 GiB are left out: there is no room for them"),
        }
    }
    Ok(vec![section])
}

/// Whether there is room for a file, its copy and 1 GiB where the files are.
fn has_room(context: &Context, mib: u64) -> bool {
    let room = memory::directory("bmstools-bench-room-", (GIB + 2 * mib + mib / SPARE + 64) * MIB);
    room.is_ok_and(|room| room.path().parent() == context.files.directory().parent())
}

fn grow(
    context: &Context,
    stage: &Stage,
    ssh: &Result<Server, String>,
    all_mib: &[u64],
    rounds: u32,
) -> Result<Option<Section>> {
    let mut contestants = vec![ceiling::contestant(context, stage)];
    for &mib in all_mib {
        let [v2, v1] =
            [Protocol::V2, Protocol::V1].map(|protocol| push(context, stage, protocol, mib));
        contestants.extend([v2, v1, scp(context, stage, ssh, mib)]);
    }
    contest(context, rounds, 80, contestants)
}

/// The largest file, by turns with one of 1 GiB: minutes later, a machine may be
/// another's.
fn largest(
    context: &Context,
    stage: &Stage,
    ssh: &Result<Server, String>,
    mib: u64,
) -> Result<Option<Section>> {
    let beside = ours::push(context, stage, Protocol::V2, Link::Xdp, sizes(GIB));
    let beside = beside.named(BESIDE).at(point(GIB), GIB as f64);
    let contestants = vec![
        ceiling::contestant(context, stage),
        beside.note("by turns with the largest, with which it is compared"),
        push(context, stage, Protocol::V2, mib),
        scp(context, stage, ssh, mib),
    ];
    contest(context, 3, 240, contestants)
}

fn push<'a>(
    context: &'a Context,
    stage: &'a Stage,
    protocol: Protocol,
    mib: u64,
) -> Contestant<'a> {
    ours::push(context, stage, protocol, Link::Xdp, sizes(mib)).at(point(mib), mib as f64)
}

fn scp<'a>(
    context: &'a Context,
    stage: &'a Stage,
    ssh: &'a Result<Server, String>,
    mib: u64,
) -> Contestant<'a> {
    let scp = match ssh {
        Err(why) => Contestant::absent("scp", why),
        Ok(server) => Contestant::new("scp", move |turn| {
            moved(&context.files, turn, sizes(mib), |source, destination| {
                sender("scp", source, peers::scp(stage, server, None, source, destination))
            })
        }),
    };
    scp.at(point(mib), mib as f64)
}

fn sizes(mib: u64) -> Sizes {
    let bytes = mib * MIB;
    Sizes { warm_up: bytes.min(16 * MIB), measured: bytes, slow: bytes }
}

fn point(mib: u64) -> String {
    if mib < GIB { format!("{mib} MiB") } else { format!("{} GiB", mib / GIB) }
}

fn contest(
    context: &Context,
    rounds: u32,
    seconds: u64,
    contestants: Vec<Contestant<'_>>,
) -> Result<Option<Section>> {
    let contest = Contest {
        id: "size",
        title: "Files from 1 MiB to 10 GiB",
        explanation: "The time of the whole command: small files show what connecting costs. \
                      The memory is the most that the agent, started for each run, ever had \
                      resident. Threaded NAPI."
            .to_owned(),
        unit: Unit::GbitPerSecond,
        reference: "v2-xdp",
        rounds,
        budget: context.budget(seconds),
    };
    contest.run(context, contestants)
}

/// MiB of a GiB.
const GIB: u64 = 1024;
/// What 10 GiB take all contestants, about.
const LARGEST_TIME: Duration = Duration::from_secs(240);
/// The largest file, and what takes its place where there is no room for it twice.
const LARGEST_MIB: [u64; 4] = [10 << 10, 8 << 10, 6 << 10, 4 << 10];
