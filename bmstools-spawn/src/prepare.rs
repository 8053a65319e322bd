//! Everything that a new process needs, in the shape in which the system takes it.

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process;
use std::ptr;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{getegid, geteuid};

use crate::failure::{Failure, Step};
use crate::program::{Program, User};

mod leftover;

pub(crate) use self::leftover::Others;

/// A program as its process needs it. All pointers are to what this holds.
pub(crate) struct Prepared {
    /// What to try, in this order.
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: Strings,
    /// The arguments of the shell that runs a file which is no program; the first one
    /// is still to be set.
    pub(crate) script: Vec<Cell<*const c_char>>,
    pub(crate) shell: CString,
    pub(crate) environment: Strings,
    pub(crate) directory: CString,
    pub(crate) user: Option<User>,
    pub(crate) terminal: bool,
    /// None of them is one of those that they become.
    pub(crate) descriptors: [RawFd; 3],
    pub(crate) others: Others,
    /// The caller's number.
    pub(crate) parent: i32,
    _moved: Vec<OwnedFd>,
}

/// Strings, and an array of pointers to them that ends in a null.
pub(crate) struct Strings {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Prepared {
    /// Prepares.
    ///
    /// # Errors
    ///
    /// Where there is a zero byte in a string, or no descriptor left.
    pub(crate) fn new(program: &Program, given: [BorrowedFd<'_>; 3]) -> Result<Self, Failure> {
        let fails = |error: io::Error| Failure::new(Step::Prepare, error);
        let shell = CString::from(SHELL);
        let argv = Strings::new(program.argv.iter().cloned()).map_err(fails)?;
        let mut script = vec![Cell::new(shell.as_ptr()), Cell::new(ptr::null())];
        script.extend(argv.pointers[1..].iter().copied().map(Cell::new));
        let variables = program.environment.iter().map(|(name, value)| {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            variable
        });
        let (descriptors, moved) = apart(given).map_err(fails)?;
        Ok(Self {
            candidates: candidates(program).map_err(fails)?,
            argv,
            script,
            shell,
            environment: Strings::new(variables).map_err(fails)?,
            directory: string(program.directory.clone()).map_err(fails)?,
            user: program.user.clone(),
            terminal: program.terminal,
            descriptors,
            others: Others::find().map_err(fails)?,
            parent: process::id().cast_signed(),
            _moved: moved,
        })
    }

    /// Whether the program runs as the caller's own user, who alone may borrow the
    /// caller's memory (see the crate's documentation).
    pub(crate) fn stays_user(&self) -> bool {
        let own = |user: &User| (user.uid, user.gid) == (geteuid().as_raw(), getegid().as_raw());
        self.user.as_ref().is_none_or(own)
    }
}

impl Strings {
    fn new(strings: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let owned = strings.map(string).collect::<io::Result<Vec<_>>>()?;
        let ends = [ptr::null()];
        let pointers = owned.iter().map(|string| string.as_ptr()).chain(ends).collect();
        Ok(Self { _owned: owned, pointers })
    }

    /// As execve(2) takes them.
    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Where the program may be, as execvp(3) looks for it.
fn candidates(program: &Program) -> io::Result<Vec<CString>> {
    let name = &program.name;
    if name.as_bytes().contains(&b'/') {
        return Ok(vec![string(name.clone())?]);
    }
    let path = program.variable("PATH").filter(|_| !name.is_empty());
    let directories = path.map(|path| path.as_bytes().split(|byte| *byte == b':'));
    let inside = |directory: &[u8]| {
        let mut path = OsStr::from_bytes(directory).to_owned();
        // The empty directory is the current one.
        if !directory.is_empty() {
            path.push("/");
        }
        path.push(name);
        string(path)
    };
    directories.into_iter().flatten().map(inside).collect()
}

/// The numbers of the descriptors, past those that they are to become, and what holds
/// them where they had to be moved.
fn apart(given: [BorrowedFd<'_>; 3]) -> io::Result<([RawFd; 3], Vec<OwnedFd>)> {
    let mut moved = Vec::new();
    let mut numbers = given.map(|descriptor| descriptor.as_raw_fd());
    for (number, descriptor) in numbers.iter_mut().zip(given) {
        if *number <= libc::STDERR_FILENO {
            let elsewhere = fcntl_dupfd_cloexec(descriptor, libc::STDERR_FILENO + 1)?;
            *number = elsewhere.as_raw_fd();
            moved.push(elsewhere);
        }
    }
    Ok((numbers, moved))
}

fn string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

/// The shell that execvp(3) uses.
const SHELL: &std::ffi::CStr = c"/bin/sh";
