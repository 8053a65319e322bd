//! One file from one host to the other, by everybody.

use anyhow::Result;

use super::contest::Contest;
use super::context::Context;
use super::peers::{self, Sizes};
use super::results::{Section, Unit};
use super::ssh::Server;
use super::stage::{Napi, Stage};
use super::{ceiling, ours};
use crate::memory::MIB;

/// Measures with threaded and with default NAPI.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let threaded = context.choose((1024, 5, 300), (128, 3, 300));
    let default = context.choose((512, 3, 100), (128, 2, 150));
    let mut sections = Vec::new();
    for (napi, (mib, rounds, budget)) in [(Napi::Threaded, threaded), (Napi::Default, default)] {
        let sizes = Sizes {
            warm_up: context.choose(32, 16) * MIB,
            measured: mib * MIB,
            slow: context.choose(128, 32) * MIB,
        };
        let stage = Stage::new(napi, context.mtu)?;
        let ssh = Server::start(&stage)?;
        let rsyncd = peers::start_rsync_daemon(&stage, &context.files)?;
        let mut contestants = vec![ceiling::contestant(context, &stage)];
        contestants.extend(ours::all(context, &stage, sizes));
        contestants.extend(peers::over_ssh(context, &stage, &ssh, sizes));
        contestants.push(peers::rsync_daemon(context, &stage, &rsyncd, sizes));
        contestants.extend(peers::others(context, &stage, sizes));
        let contest = Contest {
            id: &format!("push-{napi}"),
            title: &format!("A file of {mib} MiB, {napi} NAPI, MTU {}", context.mtu),
            explanation: explanation(napi),
            unit: Unit::GbitPerSecond,
            reference: "v1-xdp",
            rounds,
            budget: context.budget(budget),
        };
        sections.extend(contest.run(context, contestants)?);
    }
    Ok(sections)
}

fn explanation(napi: Napi) -> String {
    let who = match napi {
        Napi::Threaded => {
            "The receiver's kernel work is done by a NAPI thread on the receiver's core, as between \
             two machines."
        }
        Napi::Default => {
            "The sender's core also does the receiver's kernel work, as on any veth pair that \
             nobody tuned: its CPU time holds some of both sides."
        }
    };
    format!(
        "The rate is the file's bytes by the time of the whole command, from its start to its end, \
         connecting and authenticating included. {who}"
    )
}
