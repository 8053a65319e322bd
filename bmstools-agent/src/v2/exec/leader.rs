//! A command's process, which leads a session and a process group of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use tracing::debug;

use crate::v2::readiness;

/// A command's process. Killed with its group when dropped, unless it was reaped.
///
/// Its number and its group's are nobody else's until it is reaped, so that signals
/// never go astray.
pub(crate) struct Leader {
    child: Option<Child>,
    pid: Pid,
    end: AsyncFd<OwnedFd>,
}

impl Leader {
    /// The process of `child`. Within a runtime.
    ///
    /// # Errors
    ///
    /// Where there are no descriptors left. The process is killed then.
    pub(crate) fn new(mut child: Child) -> io::Result<Self> {
        let opened = id(&child).and_then(|pid| {
            let end =
                readiness::register(pidfd_open(pid, PidfdFlags::NONBLOCK)?, Interest::READABLE)?;
            Ok((pid, end))
        });
        match opened {
            Ok((pid, end)) => Ok(Self { child: Some(child), pid, end }),
            Err(error) => {
                let _ = child.kill();
                reap_later(child);
                Err(error)
            }
        }
    }

    /// Its number, which is its group's as well.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends every process of the group a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        signal_group(self.pid, signal);
    }

    /// Ready when it has ended. It is still to be reaped.
    pub(crate) async fn ended(&self) {
        // It fails where the runtime shuts down, which drops this.
        let _ = self.end.readable().await;
    }

    /// How it ended. Blocks until it has.
    ///
    /// # Errors
    ///
    /// Where the system does not say.
    pub(crate) fn reap(mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Ends the group: with SIGHUP, and with SIGKILL what is left after [`GRACE`].
    pub(crate) async fn hang_up(self) {
        self.signal(Signal::HUP);
        // What is stopped gets the other one first.
        self.signal(Signal::CONT);
        let _ = timeout(GRACE, self.ended()).await;
        // Dropping this kills what is left.
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.signal(Signal::KILL);
            reap_later(child);
        }
    }
}

/// Sends every process of a group a signal; its leader alone where it does not lead it
/// yet.
pub(crate) fn signal_group(leader: Pid, signal: Signal) {
    let sent = kill_process_group(leader, signal).or_else(|_| kill_process(leader, signal));
    if let Err(error) = sent {
        debug!(%error, ?signal, "cannot signal a command");
    }
}

/// The process's number.
pub(crate) fn id(child: &Child) -> io::Result<Pid> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Takes the status of a killed process. One in an uninterruptible wait outlives even
/// SIGKILL, and nobody shall wait for it but a thread.
fn reap_later(mut child: Child) {
    if !matches!(child.try_wait(), Ok(Some(_))) {
        let _ = thread::Builder::new().name("reaper".into()).spawn(move || child.wait());
    }
}

/// Time for a command to end in order after its operator is gone.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    fn start(script: &str) -> Leader {
        let child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        Leader::new(child).unwrap()
    }

    fn is_gone(pid: Pid) -> bool {
        let status = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    }

    #[tokio::test]
    async fn an_exit_code_and_a_signal_come_back() {
        let leader = start("exit 7");
        leader.ended().await;
        assert_eq!(leader.reap().unwrap().code(), Some(7));
        let leader = start("kill -USR1 $$");
        leader.ended().await;
        assert_eq!(leader.reap().unwrap().signal(), Some(10));
    }

    #[tokio::test]
    async fn a_command_that_ignores_the_hangup_is_killed_after_a_while() {
        let leader = start("trap '' HUP; sleep 1000 & wait; sleep 1000");
        let pid = leader.pid;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        leader.hang_up().await;
        assert!(began.elapsed() >= GRACE);
        while !is_gone(pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn dropping_it_kills_the_group() {
        let leader = start("sleep 1000 & wait");
        let pid = leader.pid;
        drop(leader);
        while rustix::process::test_kill_process_group(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
