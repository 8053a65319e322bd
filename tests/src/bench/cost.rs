//! What an idle agent costs everybody else on the interface.

use anyhow::Result;

use super::contest::{Contest, Contestant, Turn};
use super::context::Context;
use super::peers;
use super::results::{Section, Unit};
use super::stage::{Napi, Stage};
use super::{ceiling, tools};
use crate::Link;

/// Measures TCP with and without an agent.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for napi in [Napi::Threaded, Napi::Default] {
        let stage = Stage::new(napi, context.mtu)?;
        let stage = &stage;
        let with = |name: &'static str, link: Option<Link>| match tools::IPERF3.missing() {
            Some(why) => Contestant::absent(name, why),
            None => Contestant::new(name, move |turn| run(context, stage, link, turn)),
        };
        let contestants = vec![
            ceiling::contestant(context, stage),
            with("no-agent", None).note("nothing attached"),
            with("v2-idle-xdp", Some(Link::Xdp)).note("XDP program attached, no session"),
            with("v2-idle-packet", Some(Link::Packet)).note("packet sockets open, no session"),
        ];
        let contest = Contest {
            id: &format!("cost-{napi}"),
            title: &format!("TCP beside an idle agent, {napi} NAPI"),
            explanation: "One TCP stream of iperf3 to the interface that the agent serves, memory \
                          to memory. A native XDP program makes veth, which has no hardware, copy \
                          every TCP packet into a buffer of its own first; a network card's driver \
                          has no such cost. `no-agent` is what the others are compared with."
                .to_owned(),
            unit: Unit::GbitPerSecond,
            reference: "no-agent",
            rounds: context.choose(5, 1),
            budget: context.budget(40),
        };
        sections.extend(contest.run(context, contestants)?);
    }
    Ok(sections)
}

fn run(
    context: &Context,
    stage: &Stage,
    link: Option<Link>,
    turn: Turn,
) -> Result<super::results::Run> {
    let agent = link.map(|link| stage.start_agent(link)).transpose()?;
    let seconds = match turn {
        Turn::WarmUp => "1",
        Turn::Measured => context.choose("2", "1"),
    };
    let run = peers::run_iperf3(stage, &["-t", seconds]);
    drop(agent);
    run
}
