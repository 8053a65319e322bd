//! Which core does what, and how busy each was.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The sender's core: its programs, and its interface's NAPI where that has a
/// thread.
pub(crate) const SENDER: usize = 0;
/// The receiver's core.
pub(crate) const RECEIVER: usize = 1;

/// Fails where there are no two cores to tell the sides apart.
///
/// # Errors
///
/// As it says.
pub(crate) fn require_two() -> Result<()> {
    let allowed = sched_getaffinity(None).context("cannot tell on which cores this may run")?;
    if allowed.is_set(SENDER) && allowed.is_set(RECEIVER) {
        return Ok(());
    }
    bail!(
        "the sender runs on core {SENDER} and the receiver on core {RECEIVER}, and this process \
         may not use both"
    )
}

/// Runs `work` with this thread on `core`. Programs and threads that it starts
/// stay there.
///
/// # Errors
///
/// That of `work`, or where the kernel refuses.
pub(crate) fn on<T>(core: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    sched_setaffinity(None, &only(core)).with_context(|| format!("cannot run on core {core}"))?;
    let done = work();
    sched_setaffinity(None, &before)?;
    done
}

/// Moves a thread to `core`.
///
/// # Errors
///
/// Where there is none, or it may not be moved.
pub(crate) fn pin(thread: i32, core: usize) -> Result<()> {
    let pid = Pid::from_raw(thread).context("a thread number that is none")?;
    sched_setaffinity(Some(pid), &only(core))
        .with_context(|| format!("cannot move thread {thread} to core {core}"))
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// The NAPI threads of all interfaces with this name, in whatever namespace.
pub(crate) fn napi_threads(interface: &str) -> BTreeSet<i32> {
    let prefix = format!("napi/{interface}-");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with(&prefix).then_some(id)
    });
    threads.collect()
}

/// Time that cores were busy since the machine started: programs, kernel and
/// interrupts. The kernel counts it in steps of 10 ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    sender: Duration,
    receiver: Duration,
}

impl Busy {
    /// Now.
    ///
    /// # Errors
    ///
    /// Where the kernel does not say.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("no /proc/stat")?;
        Ok(Self { sender: of(&text, SENDER)?, receiver: of(&text, RECEIVER)? })
    }

    /// Seconds of the sender's and of the receiver's core since then.
    ///
    /// # Errors
    ///
    /// As [`now`](Self::now).
    pub(crate) fn elapsed(self) -> Result<[f64; 2]> {
        let now = Self::now()?;
        Ok([now.sender.saturating_sub(self.sender), now.receiver.saturating_sub(self.receiver)]
            .map(|busy| busy.as_secs_f64()))
    }
}

/// Everything in a core's line of /proc/stat but idle time (the fourth number),
/// waiting for disks (the fifth), time stolen by the host (the eighth) and time of
/// guests, which the first two contain.
fn of(text: &str, core: usize) -> Result<Duration> {
    let name = format!("cpu{core}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '))
        .with_context(|| format!("/proc/stat does not list core {core}"))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|&i| ticks.get(i)).sum::<u64>();
    Ok(Duration::from_millis(busy * TICK_MS))
}

/// What /proc/stat counts in on every architecture that Linux has AF_XDP for.
const TICK_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stolen_time_is_not_busy_time() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\n\
                    cpu0 1 2 4 1000 2000 8 16 4000 0 0\n\
                    cpu1 100 0 0 0 0 0 0 0 0 0\n\
                    cpu10 7 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(of(text, 0).unwrap(), Duration::from_millis(310));
        assert_eq!(of(text, 1).unwrap(), Duration::from_secs(1));
        assert!(of(text, 2).is_err());
    }

    #[test]
    fn work_runs_on_its_core_alone_and_the_thread_is_free_again() {
        let before = sched_getaffinity(None).unwrap();
        let during = on(0, || Ok(sched_getaffinity(None)?)).unwrap();
        assert_eq!(during, only(0));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
