//! Much at once: sessions, bytes, and a hostile neighbour.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bmstools_tests::counters::Counters;
use bmstools_tests::memory::{self, MIB};
use bmstools_tests::nic::{self, Statistics};
use bmstools_tests::peer::{HandOperator, Options};
use bmstools_tests::testbed::AGENT_MAC;
use bmstools_tests::{Agent, Flood, Link, Testbed, data, report, wire, with_every_link};
use rustix::process::Signal;

with_every_link!(
    sixty_four_sessions_answer_while_one_sleeps,
    sixty_four_operators_at_once_are_served,
    a_gibibyte_arrives_exact_in_little_memory,
    a_flood_from_a_neighbour_stops_nobody_and_every_frame_is_accounted_for,
);

/// These tests print rates: each has the machine to itself.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sixty_four_sessions_answer_while_one_sleeps(link: Link) -> Result<()> {
    let _alone = alone();
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operators = Vec::new();
    for key in 1..=64 {
        let mut operator = bed.hand_operator(Options::documented(key))?;
        operator.authenticate(&bed.keys)?;
        operators.push(operator);
    }
    let mut sleeper = operators.pop().context("no operator")?;
    let sleep = wire::control(wire::ctype::EXEC, b"sleep 30");
    sleeper.send(bmstools_common::header::ptype::CONTROL, &sleep)?;

    let answers: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> =
            operators.iter_mut().map(|operator| scope.spawn(|| timed_exec(operator))).collect();
        started.into_iter().map(|thread| thread.join()).collect()
    });
    let mut slowest = Duration::ZERO;
    for answer in answers {
        slowest = slowest.max(answer.map_err(|_| anyhow!("an operator panicked"))??);
    }
    report(format_args!("--link {link}: the slowest of 63 answers took {slowest:?}"));
    ensure!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    ensure!(sleeper.receive(Duration::ZERO)?.is_none(), "the sleeper woke early");
    Ok(())
}

fn timed_exec(operator: &mut HandOperator) -> Result<Duration> {
    let key = operator.keys().own;
    let started = Instant::now();
    let response = operator.exec(&format!("echo {key}"))?;
    ensure!(response["data"]["stdout"] == format!("{key}\n"), "{response}");
    Ok(started.elapsed())
}

fn sixty_four_operators_at_once_are_served(link: Link) -> Result<()> {
    let _alone = alone();
    let (bed, _agent) = Testbed::serving(link)?;
    let operator = bed.operator().link(Link::Packet);
    let mut sleeper = operator.start(&["exec", "--", "sleep", "30"])?;
    let mut others = Vec::new();
    for number in 0..63 {
        others.push(operator.start(&["exec", "--", "echo", &number.to_string()])?);
    }
    for (number, mut other) in others.into_iter().enumerate() {
        let done = other.wait(Duration::from_secs(20))?.success()?;
        assert_eq!(done.text(), format!("{number}\n"));
    }
    ensure!(!sleeper.has_ended()?, "the sleeper ended early: {}", sleeper.stderr());
    sleeper.signal(Signal::INT)?;
    sleeper.wait(Duration::from_secs(5)).map(drop)
}

fn a_gibibyte_arrives_exact_in_little_memory(link: Link) -> Result<()> {
    let _alone = alone();
    let (bed, agent) = Testbed::serving(link)?;
    let files = memory::directory("bmstest-large-", 2 * GIB)?;
    let (sent, arrived) = (files.path().join("sent"), files.path().join("arrived"));
    data::write_random(&sent, 1, GIB)?;
    let took = push(&bed, &sent, &arrived)?;
    data::require_same(&sent, &arrived)?;
    let peak = agent.memory()?.peak;
    report(format_args!(
        "--link {link}: 1 GiB in {took:.2?}: {:.2} Gb/s; the agent's memory peaked at {} MiB",
        gigabits(GIB, took),
        peak / MIB
    ));
    ensure!(peak < 64 * MIB, "the agent's memory peaked at {} MiB", peak / MIB);
    Ok(())
}

fn a_flood_from_a_neighbour_stops_nobody_and_every_frame_is_accounted_for(
    link: Link,
) -> Result<()> {
    let _alone = alone();
    let (bed, mut agent) = Testbed::serving(link)?;
    let files = memory::directory("bmstest-flood-", 2 * GIB)?;
    let path = |name: &str| files.path().join(name);
    data::write_random(&path("sent"), 2, FLOODED)?;
    let quiet = push(&bed, &path("sent"), &path("quiet"))?;
    let before = Snapshot::take(&bed, &mut agent)?;

    let flood = Flood::start(bed.operator_end(), wire::peer(AGENT_MAC, None)?, 1_000_000, 150_000)?;
    let flooded = push(&bed, &path("sent"), &path("flooded"))?;
    let sent = flood.finish()?;
    data::require_same(&path("sent"), &path("flooded"))?;
    let peak = agent.memory()?.peak;
    report(format_args!(
        "--link {link}: {:.2} Gb/s, flooded {:.2}; the agent's memory peaked at {} MiB",
        gigabits(FLOODED, quiet),
        gigabits(FLOODED, flooded),
        peak / MIB
    ));
    ensure!(peak < 64 * MIB, "the agent's memory peaked at {} MiB", peak / MIB);

    let after = Snapshot::take(&bed, &mut agent)?;
    let counted = |number: fn(&Counters) -> u64| number(&after.counters) - number(&before.counters);
    let arrived = after.agent.received - before.agent.received;
    let verdicts = counted(Counters::verdicts);
    let unseen = if link.is_xdp() { 0 } else { counted(|c| c.named("socket_drops")) };
    eprintln!("{sent:?}; {arrived} frames arrived, {:?}", after.counters);
    assert_eq!(verdicts + unseen, arrived, "frames without a verdict: {:?}", after.counters);

    // What veth's ring had no room for never reached the agent's interface.
    let lost = after.operator.send_drops - before.operator.send_drops + unseen;
    let (malformed, opens) = (counted(Counters::malformed), counted(Counters::opens));
    ensure!(malformed <= sent.malformed, "{malformed} malformed frames of {}", sent.malformed);
    ensure!(malformed + lost >= sent.malformed, "malformed frames were not counted");
    ensure!(opens + lost >= sent.opens, "{opens} opens were counted of {}", sent.opens);
    bed.operator().exec(&["true"])?.success().map(drop)
}

/// All counters at one time.
struct Snapshot {
    counters: Counters,
    agent: Statistics,
    operator: Statistics,
}

impl Snapshot {
    fn take(bed: &Testbed, agent: &mut Agent) -> Result<Self> {
        Ok(Self {
            agent: nic::statistics(bed.agent_namespace(), nic::NAME)?,
            operator: nic::statistics(bed.operator_namespace(), nic::NAME)?,
            counters: agent.counters()?,
        })
    }
}

fn push(bed: &Testbed, sent: &Path, arrived: &Path) -> Result<Duration> {
    bed.operator().push(sent, arrived).map(|done| done.took)
}

fn gigabits(bytes: u64, took: Duration) -> f64 {
    bytes as f64 * 8e-9 / took.as_secs_f64()
}

const GIB: u64 = 1 << 30;
const FLOODED: u64 = GIB / 2;
