//! Files of all sizes.

use std::time::Duration;

use anyhow::Result;

use super::ceiling;
use super::contest::{Contest, Contestant};
use super::context::Context;
use super::files::SPARE;
use super::ours::{self, Protocol};
use super::peers::{self, Sizes, moved, sender};
use super::results::{Section, Unit};
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
        // Once only: it takes as long as everything smaller together.
        match LARGEST_MIB.into_iter().find(|mib| has_room(context, *mib)) {
            Some(mib) => {
                let large = grow(context, &stage, &ssh, &[mib], 1);
                context.files.forget(mib * MIB)?;
                let rows = large?.into_iter().flat_map(|section| section.rows);
                section.rows.extend(rows.filter(|row| !row.point.is_empty()));
            }
            None => context.progress.line("10 GiB are left out: there is no room for them"),
        }
    }
    Ok(vec![section])
}

/// Whether there is room for a file and its copy where the files are.
fn has_room(context: &Context, mib: u64) -> bool {
    let room =
        memory::directory("bmstools-bench-room-", 2 * mib * MIB + mib * MIB / SPARE + 64 * MIB);
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
        let bytes = mib * MIB;
        let sizes = Sizes { warm_up: bytes.min(16 * MIB), measured: bytes, slow: bytes };
        let point = if mib < 1024 { format!("{mib} MiB") } else { format!("{} GiB", mib / 1024) };
        let [v2, v1] = [Protocol::V2, Protocol::V1]
            .map(|protocol| ours::push(context, stage, protocol, Link::Xdp, sizes));
        let scp = match ssh {
            Err(why) => Contestant::absent("scp", why),
            Ok(server) => Contestant::new("scp", move |turn| {
                moved(&context.files, turn, sizes, |source, destination| {
                    sender("scp", source, peers::scp(stage, server, None, source, destination))
                })
            }),
        };
        for contestant in [v2, v1, scp] {
            contestants.push(contestant.at(&point, mib as f64));
        }
    }
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
        budget: context.budget(80),
    };
    contest.run(context, contestants)
}

/// What 10 GiB take all contestants, about.
const LARGEST_TIME: Duration = Duration::from_secs(240);
/// The largest file, and what takes its place where there is no room for it twice.
const LARGEST_MIB: [u64; 4] = [10 << 10, 8 << 10, 6 << 10, 4 << 10];
