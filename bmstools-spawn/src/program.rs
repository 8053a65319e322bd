//! What to start.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;

use crate::abort::Abort;
use crate::failure::Failure;
use crate::prepare::Prepared;
use crate::process::Process;
use crate::start::start;

/// A program, and how to start it.
///
/// It leads a session and a process group of its own. It has the three descriptors that
/// it is given and no other; every signal does by default what signal(7) says, and none
/// is blocked. File mode mask, limits, priority and the like are the caller's.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) name: OsString,
    pub(crate) argv: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: OsString,
    pub(crate) user: Option<User>,
    pub(crate) terminal: bool,
}

/// Whom a program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The numbers of all groups, as getgrouplist(3) tells them.
    pub groups: Vec<u32>,
}

impl Program {
    /// The program of this name, without arguments or environment, in `/`.
    ///
    /// A name without a slash is looked for as execvp(3) does, in the `PATH` of the
    /// program's own environment, and nowhere where there is none.
    pub fn new(name: impl Into<OsString>) -> Self {
        let name = name.into();
        Self {
            argv: vec![name.clone()],
            name,
            environment: Vec::new(),
            directory: "/".into(),
            user: None,
            terminal: false,
        }
    }

    /// Replaces the zeroth argument, which is the name otherwise.
    pub fn arg0(&mut self, argument: impl Into<OsString>) -> &mut Self {
        self.argv[0] = argument.into();
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item: Into<OsString>>) -> &mut Self {
        self.argv.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the environment. It has the variables in this order.
    pub fn environment<N, V>(&mut self, variables: impl IntoIterator<Item = (N, V)>) -> &mut Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = variables.collect();
        self
    }

    /// Sets where it starts. A name that is not absolute begins at the caller's
    /// directory.
    pub fn directory(&mut self, directory: impl Into<OsString>) -> &mut Self {
        self.directory = directory.into();
        self
    }

    /// Sets whom it runs as; the caller's user and groups otherwise.
    pub fn user(&mut self, user: User) -> &mut Self {
        self.user = Some(user);
        self
    }

    /// Makes its standard input its controlling terminal.
    pub fn terminal(&mut self) -> &mut Self {
        self.terminal = true;
        self
    }

    /// Starts it with these descriptors as its standard input, output and error. Blocks
    /// until it runs or has failed.
    ///
    /// It is killed when the *thread* that calls this ends, whatever the thread's
    /// process does (`PR_SET_PDEATHSIG` in prctl(2)).
    ///
    /// What ends the process between its last step and the program is no failure here,
    /// but told by [`Process::wait`].
    ///
    /// # Errors
    ///
    /// What the system said at which step. The file's or interpreter's absence is
    /// [`Step::Execute`](crate::Step) with `ENOENT`, an error in the way to a directory
    /// [`Step::Directory`](crate::Step).
    pub fn start(
        &self,
        descriptors: [BorrowedFd<'_>; 3],
        abort: &Abort,
    ) -> Result<Process, Failure> {
        start(&Prepared::new(self, descriptors)?, abort)
    }

    /// The value of the last variable of that name.
    pub(crate) fn variable(&self, wanted: &str) -> Option<&OsStr> {
        let mut last_first = self.environment.iter().rev();
        last_first.find(|(name, _)| name == wanted).map(|(_, value)| &**value)
    }
}
