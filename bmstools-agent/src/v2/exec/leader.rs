//! A command's process, which leads a session and a process group of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use bmstools_spawn::Process;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
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
    process: Option<Process>,
    pid: Pid,
    end: AsyncFd<OwnedFd>,
}

impl Leader {
    /// Watches a process. Within a runtime.
    ///
    /// # Errors
    ///
    /// Where there are no descriptors left. The process is killed then, with its group.
    pub(crate) fn new(process: Process) -> io::Result<Self> {
        let pid = process.pid();
        let opened = pidfd_open(pid, PidfdFlags::NONBLOCK)
            .map_err(io::Error::from)
            .and_then(|end| readiness::register(end, Interest::READABLE));
        match opened {
            Ok(end) => Ok(Self { process: Some(process), pid, end }),
            Err(error) => {
                signal_group(pid, Signal::KILL);
                reap_later(process);
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
        match self.process.take() {
            Some(mut process) => process.wait(),
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
        if let Some(process) = self.process.take() {
            self.signal(Signal::KILL);
            reap_later(process);
        }
    }
}

/// Sends every process of a group a signal.
pub(crate) fn signal_group(leader: Pid, signal: Signal) {
    if let Err(error) = kill_process_group(leader, signal) {
        debug!(%error, ?signal, "cannot signal a command");
    }
}

/// Takes the status of a killed process. One in an uninterruptible wait outlives even
/// SIGKILL, and nobody shall wait for it but a thread.
fn reap_later(mut process: Process) {
    if !matches!(process.try_wait(), Ok(Some(_))) {
        let _ = thread::Builder::new().name("reaper".into()).spawn(move || process.wait());
    }
}

/// Time for a command to end in order after its operator is gone.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Instant;

    use bmstools_spawn::{Abort, Program};

    use super::*;

    fn start(script: &str) -> Leader {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut shell = Program::new("/bin/sh");
        shell.args(["-c", script]).environment([("PATH", "/usr/bin:/bin")]);
        let process = shell.start([null.as_fd(); 3], &Abort::default()).unwrap();
        Leader::new(process).unwrap()
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
