//! Why a program did not start.

use std::error::Error;
use std::fmt;
use std::io;

/// What was being done when starting a program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Everything that comes before there is a process: zero bytes in an argument, no
    /// memory, no descriptors.
    Prepare = 1,
    /// Making the process, clone(2).
    Process,
    /// Its session, setsid(2).
    Session,
    /// Its descriptors, dup2(2).
    Descriptors,
    /// Its controlling terminal, `TIOCSCTTY` of ioctl_tty(2).
    Terminal,
    /// Its groups and user, setgroups(2), setgid(2), setuid(2).
    User,
    /// The signal for its parent's end, `PR_SET_PDEATHSIG` of prctl(2).
    DeathSignal,
    /// Its directory, chdir(2).
    Directory,
    /// Becoming the program, execve(2).
    Execute,
    /// None: an [`Abort`](crate::Abort) ended it.
    Aborted,
}

impl Step {
    /// All that the new process may report.
    const REPORTED: [Self; 7] = [
        Self::Session,
        Self::Descriptors,
        Self::Terminal,
        Self::User,
        Self::DeathSignal,
        Self::Directory,
        Self::Execute,
    ];

    /// The step of a report.
    pub(crate) fn reported(number: u32) -> Option<Self> {
        Self::REPORTED.into_iter().find(|step| *step as u32 == number)
    }
}

/// A program that did not start. There is no process of it.
#[derive(Debug)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// What the system said.
    pub error: io::Error,
}

impl Failure {
    pub(crate) fn new(step: Step, error: impl Into<io::Error>) -> Self {
        Self { step, error: error.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.step {
            Step::Prepare => "prepare a program",
            Step::Process => "make a process",
            Step::Session => "begin a session",
            Step::Descriptors => "hand descriptors over",
            Step::Terminal => "take the terminal",
            Step::User => "become the user",
            Step::DeathSignal => "ask for the death signal",
            Step::Directory => "change the directory",
            Step::Execute => "execute the program",
            Step::Aborted => "wait for the program",
        };
        write!(f, "cannot {doing}: {}", self.error)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
