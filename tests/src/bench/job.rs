//! Programs whose time is taken.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::interrupt;
use crate::process::{Finished, Process};

/// Waits for the end of `process` without keeping a core busy, and fails where
/// it was no success.
///
/// # Errors
///
/// Where it fails or takes longer than `limit`, and where a signal came.
pub(crate) fn finish(process: &mut Process, what: &str, limit: Duration) -> Result<Finished> {
    let deadline = Instant::now() + limit;
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let pid = pid.context("a process id that is none")?;
    let ended = pidfd_open(pid, PidfdFlags::empty()).context("cannot wait for a process")?;
    loop {
        let mut waited = [PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut waited, Some(&TURN)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => {
                let finished = process.wait(OUTPUT)?;
                interrupt::check()?;
                return finished.success().with_context(|| what.to_owned());
            }
            Err(error) => return Err(error).context("cannot wait for a process"),
        }
        interrupt::check()?;
        if Instant::now() >= deadline {
            bail!("{what} did not end within {} s", limit.as_secs());
        }
    }
}

/// Waits until `ready` says so.
///
/// # Errors
///
/// Where it does not within ten seconds, and where a signal came.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + START;
    while !ready()? {
        interrupt::check()?;
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", START.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// For the output of a program that has ended.
const OUTPUT: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(10);
