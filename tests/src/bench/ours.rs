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
    /// Encrypted.
    V2,
    /// As documented.
    V1,
    /// As bmstools 1.1 speaks.
    V1Deployed,
}

impl Protocol {
    /// Every protocol that there is.
    pub(crate) const ALL: [Self; 3] = [Self::V2, Self::V1, Self::V1Deployed];

    /// As `--proto` takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V1 => "v1",
            Self::V1Deployed => "v1-deployed",
        }
    }

    /// The links to measure it over.
    const fn links(self) -> &'static [Link] {
        match self {
            Self::V2 => &[Link::Xdp, Link::XdpGeneric, Link::Packet],
            Self::V1 | Self::V1Deployed => &[Link::Xdp, Link::Packet],
        }
    }

    /// The command for an agent on this stage.
    pub(crate) fn operator(self, stage: &Stage, link: Link) -> Operator<'_> {
        let operator = stage.operator().link(link).dialect(self.name());
        match self {
            Self::V2 | Self::V1 => operator,
            Self::V1Deployed => {
                operator.target(&format!("{AGENT_MAC}@{DEPLOYED_VLAN}%{}", nic::NAME))
            }
        }
    }
}

/// Every protocol over every link, the same one at both ends; what nobody chose; a pull.
pub(crate) fn all<'a>(context: &'a Context, stage: &'a Stage, sizes: Sizes) -> Vec<Contestant<'a>> {
    let mut contestants = Vec::new();
    for protocol in Protocol::ALL {
        for &link in protocol.links() {
            // Its rate is limited by what deployed peers can take.
            let is_slow = protocol == Protocol::V1Deployed;
            let sizes = if is_slow { sizes.slowly() } else { sizes };
            let mut note = match link {
                Link::Packet => "AF_PACKET at both ends",
                Link::Xdp => "AF_XDP at both ends",
                Link::XdpGeneric => "AF_XDP and a generic program at both ends",
            }
            .to_owned();
            note += match protocol {
                Protocol::V2 => ENCRYPTED,
                Protocol::V1 => ", plaintext",
                Protocol::V1Deployed => ", plaintext, held back by design",
            };
            if is_slow {
                note += &format!(", {} MiB", sizes.measured >> 20);
            }
            contestants.push(push(context, stage, protocol, link, sizes).note(note));
        }
        if protocol == Protocol::V2 {
            let note = format!(
                "what `--link auto` chooses: AF_XDP at the agent, AF_PACKET at the operator{ENCRYPTED}"
            );
            contestants.push(automatic(context, stage, sizes).note(note));
            let note = format!("the agent sends: its core is the sender's{ENCRYPTED}");
            contestants.push(pull(context, stage, sizes).note(note));
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
    Contestant::new(&name, move |turn| {
        let operator = protocol.operator(stage, link);
        run(context, stage, "push", &operator, link, turn, sizes)
    })
}

/// A push over version 2 with the links that both ends choose by themselves, with a fresh
/// agent.
fn automatic<'a>(context: &'a Context, stage: &'a Stage, sizes: Sizes) -> Contestant<'a> {
    Contestant::new("v2-auto", move |turn| {
        let operator = Protocol::V2.operator(stage, Link::Packet);
        run(context, stage, "push", &operator, Link::Xdp, turn, sizes)
    })
}

/// A pull of one file over version 2 and AF_XDP, with a fresh agent.
fn pull<'a>(context: &'a Context, stage: &'a Stage, sizes: Sizes) -> Contestant<'a> {
    Contestant::new("v2-pull-xdp", move |turn| {
        let operator = Protocol::V2.operator(stage, Link::Xdp);
        let mut run = run(context, stage, "pull", &operator, Link::Xdp, turn, sizes)?;
        // The agent's core did the sending.
        run.cpu = run.cpu.map(|[operator, agent]| [agent, operator]);
        Ok(run)
    })
}

fn run(
    context: &Context,
    stage: &Stage,
    verb: &str,
    operator: &Operator<'_>,
    link: Link,
    turn: Turn,
    sizes: Sizes,
) -> Result<Run> {
    let files = &context.files;
    let bytes = sizes.of(turn);
    let source = files.source(bytes)?;
    let agent = stage.start_agent(link)?;
    let destination = files.destination("file", bytes)?;
    let (counted, seconds, cpu) = timed(|| copy(verb, operator, &source, &destination))?;
    let memory = agent.memory()?.peak;
    drop(agent);
    files.check(&source, &destination, turn == Turn::WarmUp)?;
    Ok(Run::rate(bytes, seconds)
        .with_cpu(cpu)
        .with("retransmitted", counted)
        .with("agent_memory", memory as f64))
}

/// Pushes or pulls a file; returns how many frames the command sent again.
fn copy(verb: &str, operator: &Operator<'_>, source: &Path, destination: &Path) -> Result<f64> {
    let words = [Path::new(verb), source, destination];
    let mut process = cores::on(SENDER, || operator.clone().json().start(&words))?;
    let finished = job::finish(&mut process, &format!("bmstools {verb}"), limit(source))?;
    Ok(finished.json()?["retransmitted"].as_f64().unwrap_or_default())
}

/// What version 2 does besides.
const ENCRYPTED: &str = ", encrypted, digest compared";
