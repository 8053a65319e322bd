//! A cable that loses frames.

use anyhow::Result;

use super::ceiling;
use super::contest::{Contest, Contestant};
use super::context::Context;
use super::ours::{self, Protocol};
use super::peers::{self, Sizes, moved, sender};
use super::results::{Section, Unit};
use super::ssh::Server;
use super::stage::Stage;
use crate::Link;
use crate::memory::MIB;
use crate::relay::Impairments;

/// Measures a push and scp over a link that loses frames both ways.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let stage = Stage::with_relay(Impairments::default())?;
    let ssh = Server::start(&stage)?;
    let mib = context.choose(32, 8);
    let sizes = Sizes { warm_up: MIB, measured: mib * MIB, slow: mib * MIB };
    let mut contestants = vec![ceiling::contestant(context, &stage).note("the relay's own")];
    for percent in [0.0, 0.1, 1.0, 2.0, 5.0] {
        let impairments = Impairments { loss: percent / 100.0, ..Impairments::default() };
        let point = format!("{percent} % loss");
        for (protocol, link) in [
            (Protocol::V2, Link::Xdp),
            (Protocol::V2, Link::Packet),
            (Protocol::V1, Link::Xdp),
            (Protocol::V1, Link::Packet),
        ] {
            let push = ours::push(context, &stage, protocol, link, sizes);
            contestants.push(impaired(&stage, push, impairments).at(&point, percent));
        }
        let scp = match &ssh {
            Err(why) => Contestant::absent("scp", why),
            Ok(server) => Contestant::new("scp", |turn| {
                moved(&context.files, turn, sizes, |source, destination| {
                    sender("scp", source, peers::scp(&stage, server, None, source, destination))
                })
            }),
        };
        contestants.push(impaired(&stage, scp, impairments).at(&point, percent));
    }
    let contest = Contest {
        id: "loss",
        title: &format!("A file of {mib} MiB over a link that loses frames"),
        explanation: "Frames are lost at random, each way, by a relay between the hosts: a thread \
                      of the benchmark that has no core of its own and is far slower than the \
                      bare link. Its own ceiling is the raw AF_XDP rate through it without loss. \
                      The round trip takes well under a millisecond, which is kind to whatever \
                      repeats lost frames. Default NAPI, MTU 1500, TCP's checksums made in \
                      software."
            .to_owned(),
        unit: Unit::GbitPerSecond,
        reference: "v2-xdp",
        rounds: context.choose(3, 2),
        budget: context.budget(150),
    };
    Ok(contest.run(context, contestants)?.into_iter().collect())
}

/// The same with a bad cable while it runs.
fn impaired<'a>(
    stage: &'a Stage,
    contestant: Contestant<'a>,
    impairments: Impairments,
) -> Contestant<'a> {
    contestant.around(move |turn, run| {
        stage.relay()?.set(impairments);
        let done = run(turn);
        stage.relay()?.set(Impairments::default());
        done
    })
}
