//! Good neighbours to what is in the field: bmstools 1.1 at the other end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bmstools_tests::peer::{DeployedAgent, Options};
use bmstools_tests::relay::Impairments;
use bmstools_tests::{KeyPair, Link, Operator, Testbed, data, report, with_every_link};

with_every_link!(
    two_hundred_sessions_of_a_deployed_operator_never_stall,
    a_push_to_a_deployed_agent_is_exact,
    a_push_to_a_deployed_agent_over_a_lossy_cable_is_exact,
    a_deployed_agent_with_a_1024_bit_key_is_reached,
);

fn two_hundred_sessions_of_a_deployed_operator_never_stall(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let started = Instant::now();
    for number in 1..=200 {
        let mut operator = bed.hand_operator(Options::deployed(number))?;
        operator.authenticate(&bed.keys)?;
        let response = operator.exec(&format!("echo {number}"))?;
        assert_eq!(response["data"]["stdout"], format!("{number}\n"), "{response}");
        operator.end()?;
    }
    let took = started.elapsed();
    report(format_args!("--link {link}: 200 sessions of a deployed operator took {took:.2?}"));
    Ok(())
}

fn a_push_to_a_deployed_agent_is_exact(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let agent = DeployedAgent::start(bed.agent_end(), &bed.keys)?;
    push(&bed, &agent, 1_000_000)?;
    assert_eq!(agent.seen().repeats, 0, "frames of finished messages were repeated");
    assert_eq!(agent.seen().ended, 1);
    Ok(())
}

fn a_push_to_a_deployed_agent_over_a_lossy_cable_is_exact(link: Link) -> Result<()> {
    let lossy = Impairments { loss: 0.01, ..Impairments::default() };
    let bed = Testbed::with_relay(link, lossy, 5)?;
    let agent = DeployedAgent::start(bed.agent_end(), &bed.keys)?;
    push(&bed, &agent, 300_000)?;
    let counts = bed.relay()?.counts();
    ensure!(counts.lost > 1, "too little was lost: {counts:?}");
    Ok(())
}

fn a_deployed_agent_with_a_1024_bit_key_is_reached(link: Link) -> Result<()> {
    let mut bed = Testbed::new(link)?;
    bed.keys = KeyPair::shared(1024)?;
    let agent = DeployedAgent::start(bed.agent_end(), &bed.keys)?;
    push(&bed, &agent, 3000)
}

fn operator(bed: &Testbed) -> Operator<'_> {
    bed.operator().dialect("v1-deployed").target("52:54:00:aa:bb:01@1708%eth0")
}

fn push(bed: &Testbed, agent: &DeployedAgent, len: u64) -> Result<()> {
    let sent = bed.random_file("sent", len)?;
    let words = [Path::new("push"), &sent, Path::new("/remote/file")];
    let done = operator(bed).start(&words)?.wait(Duration::from_secs(300))?.success()?;
    let seen = agent.seen();
    let Some(arrived) = seen.files.get("/remote/file") else {
        anyhow::bail!("no file came: {seen:?}");
    };
    std::fs::write(bed.path("arrived"), arrived)?;
    data::require_same(&sent, &bed.path("arrived"))?;
    report(format_args!(
        "--link {}: {len} bytes to a deployed agent took {:.2?}",
        bed.link, done.took
    ));
    Ok(())
}
