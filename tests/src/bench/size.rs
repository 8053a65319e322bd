//! Files of all sizes.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::ceiling;
use super::contest::{Contest, Contestant};
use super::context::Context;
use super::files::MOST_RANDOM;
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
    let few = grow(context, &stage, &ssh, sizes, context.choose(3, 2))?;
    let Some(mut section) = few else { return Ok(Vec::new()) };
    if !context.quick && !context.is_over(LARGEST_TIME) {
        // Once only: it takes as long as everything smaller together.
        match memory::directory("bmstools-bench-room-", LARGEST_MIB * MIB + MIB) {
            Ok(room) if is_beside(&room, context) => {
                let large = grow(context, &stage, &ssh, &[LARGEST_MIB], 1)?;
                let rows = large.into_iter().flat_map(|section| section.rows);
                section.rows.extend(rows.filter(|row| !row.point.is_empty()));
            }
            _ => context.progress.line("10 GiB are left out: there is no room for them"),
        }
    }
    Ok(vec![section])
}

/// Whether there is room where the files are.
fn is_beside(room: &TempDir, context: &Context) -> bool {
    room.path().parent() == context.files.directory().parent()
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
        let note = if bytes > MOST_RANDOM { "zeros, from a file with a hole" } else { "" };
        let push = ours::push(context, stage, Protocol::V1, Link::Xdp, sizes);
        let scp = match ssh {
            Err(why) => Contestant::absent("scp", why),
            Ok(server) => Contestant::new("scp", move |turn| {
                moved(&context.files, turn, sizes, |source, destination| {
                    sender("scp", source, peers::scp(stage, server, None, source, destination))
                })
            }),
        };
        for contestant in [push, scp] {
            contestants.push(contestant.at(&point, mib as f64).note(note));
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
        reference: "v1-xdp",
        rounds,
        budget: context.budget(80),
    };
    contest.run(context, contestants)
}

/// What 10 GiB take both contestants, about.
const LARGEST_TIME: Duration = Duration::from_secs(100);
const LARGEST_MIB: u64 = 10 * 1024;
