//! Over a bad cable everything arrives, and arrives exact.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use bmstools_tests::memory::MIB;
use bmstools_tests::relay::Impairments;
use bmstools_tests::{Link, Testbed, data, report, with_every_link};

with_every_link!(
    a_push_over_a_bad_cable_is_exact,
    two_hundred_commands_over_a_bad_cable_run_once_each,
    a_cable_that_changes_bytes_does_not_bring_the_agent_down,
    a_long_way_costs_time_only,
);

const BAD: Impairments = Impairments {
    loss: 0.05,
    duplication: 0.05,
    reordering: 0.1,
    corruption: 0.0,
    delay: Duration::ZERO,
    rate: None,
};

fn a_push_over_a_bad_cable_is_exact(link: Link) -> Result<()> {
    let bed = Testbed::with_relay(link, BAD, 1)?;
    let _agent = bed.start_agent()?;
    let sent = bed.random_file("sent", 20 * MIB)?;
    let done = bed.operator().push(&sent, &bed.path("arrived"))?;
    data::require_same(&sent, &bed.path("arrived"))?;
    let counts = bed.relay()?.require_impaired()?;
    report(format_args!("--link {link}: 20 MiB took {:.2?}: {counts:?}", done.took));
    Ok(())
}

fn two_hundred_commands_over_a_bad_cable_run_once_each(link: Link) -> Result<()> {
    let bed = Testbed::with_relay(link, BAD, 2)?;
    let _agent = bed.start_agent()?;
    let log = bed.path("log");
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (bed, log, failures) = (&bed, &log, &failures);
            scope.spawn(move || {
                for number in (worker..COMMANDS).step_by(WORKERS) {
                    if let Err(error) = run_one(bed, log, number)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(format!("{number}: {error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    ensure!(failures.is_empty(), "{} failed: {failures:#?}", failures.len());
    let mut ran: Vec<usize> =
        fs::read_to_string(log)?.lines().map(str::parse).collect::<Result<_, _>>()?;
    ran.sort_unstable();
    assert_eq!(ran, (0..COMMANDS).collect::<Vec<_>>(), "each must run exactly once");
    bed.relay()?.require_impaired().map(drop)
}

/// The operators share one interface, where only one XDP program can be: their
/// link is AF_PACKET.
fn run_one(bed: &Testbed, log: &Path, number: usize) -> Result<()> {
    let script =
        format!("echo {number} >> {}; echo out {number}; exit {}", log.display(), number % 7);
    let done = bed.operator().link(Link::Packet).exec(&["sh", "-c", &script])?;
    ensure!(done.code() == i32::try_from(number % 7).ok(), "{done:?}");
    ensure!(done.text() == format!("out {number}\n"), "{done:?}");
    Ok(())
}

fn a_cable_that_changes_bytes_does_not_bring_the_agent_down(link: Link) -> Result<()> {
    let bed = Testbed::with_relay(link, Impairments { corruption: 0.02, ..BAD }, 3)?;
    let mut agent = bed.start_agent()?;
    let sent = bed.random_file("sent", MIB)?;
    // This dialect has no check of its own: the outcome is the cable's.
    let mut push = bed.operator().start(&[Path::new("push"), &sent, &bed.path("x")])?;
    let _ = push.wait(Duration::from_secs(10));
    drop(push);
    bed.relay()?.require_impaired()?;
    bed.relay()?.set(Impairments::default());
    ensure!(agent.is_running()?, "the agent died");
    bed.operator().push(&sent, &bed.path("arrived"))?;
    data::require_same(&sent, &bed.path("arrived"))
}

fn a_long_way_costs_time_only(link: Link) -> Result<()> {
    let way = Impairments { delay: Duration::from_millis(25), ..Impairments::default() };
    let bed = Testbed::with_relay(link, way, 4)?;
    let _agent = bed.start_agent()?;
    let sent = bed.random_file("sent", 4 * MIB)?;
    let done = bed.operator().push(&sent, &bed.path("arrived"))?;
    data::require_same(&sent, &bed.path("arrived"))?;
    let took = done.took;
    report(format_args!("--link {link}: 4 MiB over a round trip of 50 ms took {took:.2?}"));
    Ok(())
}

const COMMANDS: usize = 200;
const WORKERS: usize = 10;
