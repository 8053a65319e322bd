//! The counters as a table.

use bmstools_common::counters::Counter;
use bmstools_tests::counters::Counters;

/// Prints every verdict that some frame had, and those that explain the rest.
pub(crate) fn print(counters: &Counters) {
    println!("  {:<24}{:>12}  became of it", "verdict", "frames");
    println!("  {RULE}");
    for &counter in Counter::ALL {
        let frames = counters.get(counter);
        let always = matches!(counter, Counter::Session | Counter::Open | Counter::Passed);
        if frames > 0 || always {
            println!("  {:<24}{frames:>12}  {}", counter.name(), fate(counter));
        }
    }
    println!("  {RULE}");
    println!("  {:<24}{:>12}", "all", counters.verdicts());
}

fn fate(counter: Counter) -> &'static str {
    match counter {
        Counter::Passed => "another protocol's: to the kernel, untouched",
        Counter::Session => "of a live session: to the AF_XDP socket",
        Counter::SessionViaRing => "of a live session: to the ring buffer",
        Counter::Open => "of a new session: to the ring buffer",
        _ => "dropped in XDP",
    }
}

const RULE: &str = "------------------------------------------------------------------------------";
