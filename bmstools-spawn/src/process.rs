//! A process that was started.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitOptions, waitpid};

/// A process. It goes on, and is not reaped, when this is dropped.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid, status: None }
    }

    /// Its number, which is its session's and its process group's as well. It is nobody
    /// else's until it was waited for.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended, and tells how. Says the same however often it is
    /// called.
    ///
    /// # Errors
    ///
    /// Where somebody else has waited for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let ended = self.status_with(WaitOptions::empty())?;
        ended.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// How it ended, where it has.
    ///
    /// # Errors
    ///
    /// Where somebody else has waited for it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.status_with(WaitOptions::NOHANG)
    }

    fn status_with(&mut self, options: WaitOptions) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let waited = retry_on_intr(|| waitpid(Some(self.pid), options))?;
            self.status = waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        }
        Ok(self.status)
    }
}
