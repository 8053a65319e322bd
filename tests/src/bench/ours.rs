//! bmstools itself, moving one file.

use std::path::Path;

use anyhow::Result;

use super::contest::{Contestant, Turn, timed};
use super::context::Context;
use super::cores::{self, SENDER};
use super::job;
use super::peers::{Sizes, limit};
use super::results::Run;
use super::stage::Stage;
use crate::testbed::{AGENT_MAC, DEPLOYED_VLAN};
use crate::{Link, Operator, nic};

/// What the operator's command and the agent speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// As documented.
    V1,
    /// As bmstools 1.1 speaks.
    V1Deployed,
}

impl Protocol {
    /// Every protocol that there is.
    pub(crate) const ALL: [Self; 2] = [Self::V1, Self::V1Deployed];

    /// As `--proto` takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Deployed => "v1-deployed",
        }
    }

    /// The command for an agent on this stage.
    pub(crate) fn operator(self, stage: &Stage, link: Link) -> Operator<'_> {
        let operator = stage.operator().link(link).dialect(self.name());
        match self {
            Self::V1 => operator,
            Self::V1Deployed => {
                operator.target(&format!("{AGENT_MAC}@{DEPLOYED_VLAN}%{}", nic::NAME))
            }
        }
    }
}

/// Every protocol over AF_XDP and over AF_PACKET, at both ends.
pub(crate) fn all<'a>(context: &'a Context, stage: &'a Stage, sizes: Sizes) -> Vec<Contestant<'a>> {
    let mut contestants = Vec::new();
    for protocol in Protocol::ALL {
        for link in [Link::Xdp, Link::Packet] {
            // Its rate is limited by what deployed peers can take.
            let sizes = if protocol == Protocol::V1 { sizes } else { sizes.slowly() };
            let mut note = match link {
                Link::Packet => "AF_PACKET at both ends",
                Link::Xdp | Link::XdpGeneric => "AF_XDP at both ends",
            }
            .to_owned();
            if protocol == Protocol::V1Deployed {
                note += &format!(", {} MiB, held back by design", sizes.measured >> 20);
            }
            contestants.push(push(context, stage, protocol, link, sizes).note(note));
        }
    }
    contestants
}

/// A push of one file with a fresh agent.
pub(crate) fn push<'a>(
    context: &'a Context,
    stage: &'a Stage,
    protocol: Protocol,
    link: Link,
    sizes: Sizes,
) -> Contestant<'a> {
    let name = format!("{}-{link}", protocol.name());
    Contestant::new(&name, move |turn| run(context, stage, protocol, link, turn, sizes))
}

fn run(
    context: &Context,
    stage: &Stage,
    protocol: Protocol,
    link: Link,
    turn: Turn,
    sizes: Sizes,
) -> Result<Run> {
    let files = &context.files;
    let bytes = sizes.of(turn);
    let source = files.source(bytes)?;
    let agent = stage.start_agent(link)?;
    let destination = files.destination("file", bytes)?;
    let (counted, seconds, cpu) =
        timed(|| send(&protocol.operator(stage, link), &source, &destination))?;
    let memory = agent.memory()?.peak;
    drop(agent);
    files.check(&source, &destination, turn == Turn::WarmUp)?;
    Ok(Run::rate(bytes, seconds)
        .with_cpu(cpu)
        .with("retransmitted", counted)
        .with("agent_memory", memory as f64))
}

/// Pushes a file; returns how many frames were sent again.
fn send(operator: &Operator<'_>, source: &Path, destination: &Path) -> Result<f64> {
    let words = [Path::new("push"), source, destination];
    let mut process = cores::on(SENDER, || operator.clone().json().start(&words))?;
    let finished = job::finish(&mut process, "bmstools push", limit(source))?;
    Ok(finished.json()?["retransmitted"].as_f64().unwrap_or_default())
}
