//! A push that is cut goes on where it stopped, and what arrived is not sent again.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bmstools_tests::memory::MIB;
use bmstools_tests::process::Process;
use bmstools_tests::transfer::{agent, require_clean, wait_for_bytes, wait_for_tree, words};
use bmstools_tests::{Agent, Link, Testbed, data, nic, report, with_every_link};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

with_every_link!(
    a_push_cut_at_twenty_random_points_goes_on_each_time,
    a_tree_that_is_cut_goes_on_in_the_same_place,
    an_operator_goes_on_by_itself_when_the_connection_is_back,
);

/// Who dies in the middle of a push.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Operator,
    OperatorBySignal,
    Both,
    Link,
}

const CUTS: [Cut; 4] = [Cut::Operator, Cut::OperatorBySignal, Cut::Both, Cut::Link];

fn a_push_cut_at_twenty_random_points_goes_on_each_time(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let mut running = Some(agent(&bed)?.start()?);
    let from = bed.random_file("from", SIZE)?;
    let to = bed.path("to");
    let mut dice = StdRng::seed_from_u64(20);
    let clean = frames(&bed, || push(&bed, &from, &bed.path("clean")))?;
    fs::remove_file(bed.path("clean"))?;
    let mut worst = 0.0_f64;
    for (round, cut) in CUTS.into_iter().cycle().take(20).enumerate() {
        fs::write(&to, "old")?;
        let at = dice.gen_range(1..SIZE - 4 * MIB);
        let sent = frames(&bed, || {
            interrupted(&bed, &mut running, cut, &from, &to, at)
                .with_context(|| format!("round {round}: {cut:?} at {at}"))
        })?;
        data::require_same(&from, &to)?;
        require_clean(&bed)?;
        let again = sent as f64 / clean as f64 - 1.0;
        worst = worst.max(again);
        ensure!(again < 0.05, "round {round}: {cut:?} at {at}: {:.1} % more", again * 100.0);
    }
    report(format_args!("--link {link}: at most {:.2} % more frames", worst * 100.0));
    Ok(())
}

/// Cuts a push when so many bytes have arrived, and lets it go on.
fn interrupted(
    bed: &Testbed,
    running: &mut Option<Agent>,
    cut: Cut,
    from: &Path,
    to: &Path,
    at: u64,
) -> Result<()> {
    let mut pushing = start(bed, from, to)?;
    wait_for_bytes(to, at, LIMIT)?;
    match cut {
        Cut::Operator => pushing.signal(Signal::KILL)?,
        Cut::OperatorBySignal => pushing.signal(Signal::INT)?,
        Cut::Both => {
            if let Some(agent) = running.take() {
                agent.end(Signal::KILL, LIMIT)?;
            }
            pushing.signal(Signal::KILL)?;
        }
        Cut::Link => {
            bed.operator_namespace().ip(&format!("link set {} down", nic::NAME))?;
            sleep(Duration::from_secs(1));
            ensure!(fs::read_to_string(to)? == "old", "the old file is gone");
            bed.operator_namespace().ip(&format!("link set {} up", nic::NAME))?;
            return pushing.wait(LIMIT)?.success().map(drop);
        }
    }
    pushing.wait(LIMIT)?;
    ensure!(fs::read_to_string(to)? == "old", "the old file is gone");
    if running.is_none() {
        *running = Some(agent(bed)?.start()?);
    }
    push(bed, from, to)
}

fn a_tree_that_is_cut_goes_on_in_the_same_place(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let _agent = agent(&bed)?.start()?;
    let (from, to) = (bed.path("from"), bed.path("to"));
    for directory in 0..4 {
        let directory = from.join(directory.to_string());
        fs::create_dir_all(&directory)?;
        for file in 0..200_u64 {
            fs::write(directory.join(file.to_string()), data::random(file, 20_000))?;
        }
        data::write_random(&directory.join("large"), 7, 3 * MIB)?;
    }
    let push = words("push", &["-r", "--rate", "10M"], &from, &to);
    // There are 28 MB.
    for arrived in [6 * MIB, 12 * MIB, 18 * MIB] {
        let mut pushing = bed.operator().v2().start(&push)?;
        wait_for_tree(&to, arrived, LIMIT)?;
        pushing.signal(Signal::KILL)?;
        let killed = pushing.wait(LIMIT)?;
        ensure!(killed.signal() == Some(9), "too late: {killed:?}");
    }
    let operator = bed.operator().v2().json();
    let json = operator.run(&words("push", &["-r"], &from, &to))?.success()?.json()?;
    bmstools_tests::tree::require_same(&from, &to)?;
    ensure!(json["resumed"].as_u64() > Some(17 * MIB), "{json}");
    require_clean(&bed)
}

fn an_operator_goes_on_by_itself_when_the_connection_is_back(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let running = agent(&bed)?.start()?;
    let from = bed.random_file("from", SIZE)?;
    let to = bed.path("to");
    let mut pushing = start(&bed, &from, &to)?;
    wait_for_bytes(&to, SIZE / 2, LIMIT)?;
    running.end(Signal::KILL, LIMIT)?;
    let _agent = agent(&bed)?.start()?;
    let done = pushing.wait(LIMIT)?.success()?;
    data::require_same(&from, &to)?;
    ensure!(done.stderr.contains("the connection broke"), "{done:?}");
    let json = done.json()?;
    assert_eq!(json["attempts"], 2, "{json}");
    ensure!(json["resumed"].as_u64() > Some(SIZE / 2 - SIZE / 20), "{json}");
    require_clean(&bed)
}

/// A push slow enough to be cut where it shall be.
fn start(bed: &Testbed, from: &Path, to: &Path) -> Result<Process> {
    let operator = bed.operator().v2().json();
    operator.start(&words("push", &["--rate", "40M"], from, to))
}

fn push(bed: &Testbed, from: &Path, to: &Path) -> Result<()> {
    start(bed, from, to)?.wait(LIMIT)?.success().map(drop)
}

/// Frames that the agent's host receives meanwhile.
fn frames(bed: &Testbed, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let count = || Ok(nic::statistics(bed.agent_namespace(), nic::NAME)?.received);
    let before = count()?;
    work()?;
    count().map(|after: u64| after - before)
}

const SIZE: u64 = 48 * MIB;
const LIMIT: Duration = Duration::from_secs(90);
