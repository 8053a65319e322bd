//! Much at once: sessions, bytes, and a hostile neighbour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bmstools_common::{Mac, Packet as _, ethernet};
use bmstools_link::KeyClaim;
use bmstools_tests::counters::Counters;
use bmstools_tests::memory::{self, MIB};
use bmstools_tests::nic::{self, Statistics};
use bmstools_tests::peer::{HandOperator, Options};
use bmstools_tests::testbed::AGENT_MAC;
use bmstools_tests::wire::Tap;
use bmstools_tests::{Agent, Flood, Link, Testbed, data, report, wire, with_every_link};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

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

/// An agent takes the open of a second operator with the first one's key for a
/// repetition, and answers both as one.
#[test]
fn no_operator_uses_a_key_that_another_holds() -> Result<()> {
    let _alone = alone();
    let bed = Testbed::new(Link::Packet)?;
    let end = bed.operator_end();
    // Nobody answers, so that each is still there when the next one starts.
    let held = end.namespace.enter(|| hold_every_eighth_key(end.mac))??;
    let wire = Tap::promiscuous(bed.agent_end())?;
    let operator = bed.operator();
    let started: Vec<_> = (0..OPERATORS)
        .map(|_| operator.start(&["ping", "--connect-timeout", "5"]))
        .collect::<Result<_>>()?;
    let mut used = BTreeMap::<u16, u64>::new();
    let mut sources = BTreeSet::new();
    for mut operator in started {
        let finished = operator.wait(Duration::from_secs(60))?;
        assert_ne!(finished.code(), Some(0), "nobody answers, but it succeeded");
    }
    while let Some(bytes) = wire.receive_bytes(Instant::now())? {
        if let Some(outer) = ethernet::Header::parse(&bytes[..]) {
            let [a, b] = bytes[..].read(outer.len() + 2).context("a frame without a key")?;
            *used.entry(u16::from_be_bytes([a, b])).or_default() += 1;
            sources.insert(outer.source);
        }
    }
    assert_eq!(sources, BTreeSet::from([end.mac]));
    assert_eq!(used.len(), OPERATORS, "two operators used one key: {used:?}");
    let taken: Vec<_> = held.iter().filter(|claim| used.contains_key(&claim.key())).collect();
    ensure!(taken.is_empty(), "keys were used that others hold: {taken:?}");
    Ok(())
}

/// Holds 8191 keys: the chance that none of the operators picks one blindly is 1 in
/// 5000.
fn hold_every_eighth_key(mac: Mac) -> Result<Vec<KeyClaim>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let keys = (8..=u16::MAX).step_by(8);
    keys.map(|key| KeyClaim::on(mac, key)?.with_context(|| format!("{key} is held"))).collect()
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
/// Operators at once.
const OPERATORS: usize = 64;
