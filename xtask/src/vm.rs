//! The whole system on Debian's kernels, in an emulated machine: real drivers, a
//! bond, VLAN devices, bad weather.

mod apt;
mod initramfs;
mod kernel;
mod machine;
mod report;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::command::target;
use initramfs::Contents;
use kernel::{SERIES, Series};
use machine::{Console, Machine};
use report::{Event, Report};

/// The Debian packages that this needs; `cargo xtask setup --vm` installs them.
pub(crate) const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "busybox-static",
    "bash",
    "cpio",
    "gzip",
    "xz-utils",
    "kmod",
    "ethtool",
    "iproute2",
    "util-linux",
    "debian-archive-keyring",
];

/// What to run in the emulated machine.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct VmArgs {
    /// With --vm: only this series of kernels, and no other tests (repeatable)
    #[arg(long, requires = "vm", value_name = "SERIES", value_parser = ["6.1", "6.12", "6.18"])]
    pub(crate) kernel: Vec<String>,
    /// With --vm: only this scenario of tests/vm/scenarios.sh, and no other tests
    /// (repeatable)
    #[arg(long, requires = "vm", value_name = "NAME")]
    pub(crate) scenario: Vec<String>,
}

impl VmArgs {
    /// Whether only a part of this is wanted, and so nothing else.
    pub(crate) fn is_choice(&self) -> bool {
        !(self.kernel.is_empty() && self.scenario.is_empty())
    }
}

/// Runs the scenarios of `tests/vm` on each kernel and prints a line for each.
///
/// The programs must have been built for release.
///
/// # Errors
///
/// Where a scenario fails, or the machine cannot be made.
pub(crate) fn run(root: &Path, args: &VmArgs) -> Result<()> {
    let dir = target(root).join("vm");
    fs::create_dir_all(&dir)?;
    let programs = target(root).join("release");
    let contents = Contents { root, programs: &programs, scenarios: &args.scenario };
    let chosen = |series: &&Series| {
        args.kernel.is_empty() || args.kernel.iter().any(|name| name == series.name)
    };
    let mut failed = 0;
    for series in SERIES.iter().filter(chosen) {
        failed += run_kernel(series, &contents, &dir)?;
    }
    ensure!(failed == 0, "{failed} scenarios failed in the emulated machine");
    Ok(())
}

/// Runs the scenarios on one kernel and returns how many failed.
fn run_kernel(series: &Series, contents: &Contents<'_>, dir: &Path) -> Result<usize> {
    let kernel = kernel::fetch(series, dir)?;
    let archive = initramfs::build(&kernel, contents, dir)?;
    println!("Linux {} (Debian {}), emulated", kernel.release, kernel.version);
    let started = Instant::now();
    let mut machine = Machine::start(&kernel.image, &archive, TIME_LIMIT)?;
    let mut report = Report::default();
    let end = loop {
        match machine.next() {
            Console::Line(line) => match report.take(&line) {
                Some(Event::SetLink { nic, up }) => machine.set_link(&nic, up)?,
                Some(Event::Done) => break "the guest was done",
                None => {}
            },
            Console::Ended => break "the emulator ended early",
            Console::TimeOver => break "the time for this kernel was over",
        }
    };
    drop(machine);
    let failed = report.finish(end);
    fs::write(dir.join(format!("console-{}.log", kernel.release)), report.console())?;
    println!("  {} passed, {failed} failed, {} s", report.passed(), started.elapsed().as_secs());
    Ok(failed)
}

/// A whole run takes a few minutes; scenarios have their own limits in the guest.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);
