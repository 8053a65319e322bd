//! One file from one host to the other, by everybody.

use anyhow::Result;

use super::contest::Contest;
use super::context::Context;
use super::peers::{self, Sizes};
use super::results::{Section, Unit};
use super::ssh::Server;
use super::stage::{Napi, Stage};
use super::{ceiling, ours, sealed};
use crate::memory::MIB;

/// Measures with threaded and with default NAPI, and with the longest frames.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let settings = [
        (Napi::Threaded, context.mtu, context.choose((1024, 5, 400), (128, 2, 200))),
        (Napi::Default, context.mtu, context.choose((512, 3, 150), (64, 1, 100))),
        (Napi::Threaded, JUMBO_MTU, context.choose((1024, 5, 400), (128, 1, 200))),
    ];
    let mut sections = Vec::new();
    for (number, (napi, mtu, (mib, rounds, budget))) in settings.into_iter().enumerate() {
        // Whoever asks for long frames gets them in the first two.
        if number == 2 && context.mtu == mtu {
            continue;
        }
        let sizes = Sizes {
            warm_up: context.choose(32, 8) * MIB,
            measured: mib * MIB,
            slow: context.choose(128, 16) * MIB,
        };
        let stage = Stage::new(napi, mtu)?;
        let ssh = Server::start(&stage)?;
        let rsyncd = peers::start_rsync_daemon(&stage, &context.files)?;
        let mut contestants = vec![ceiling::contestant(context, &stage)];
        contestants.push(sealed::contestant(context, &stage, sizes));
        contestants.extend(ours::all(context, &stage, sizes));
        contestants.extend(peers::over_ssh(context, &stage, &ssh, sizes));
        contestants.push(peers::rsync_daemon(context, &stage, &rsyncd, sizes));
        contestants.extend(peers::others(context, &stage, sizes));
        let id = if mtu == context.mtu { format!("push-{napi}") } else { format!("push-{mtu}") };
        let contest = Contest {
            id: &id,
            title: &format!("A file of {mib} MiB, {napi} NAPI, MTU {mtu}"),
            explanation: explanation(napi),
            unit: Unit::GbitPerSecond,
            reference: "v2-xdp",
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

/// The longest frames that one buffer of XDP holds, less the Ethernet header.
const JUMBO_MTU: u32 = 3498;
