//! Programs whose output a test reads.

#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitStatus;

use bmstools_spawn::{Abort, Failure, Program, User};

/// What a program wrote, and how it ended.
pub(crate) struct Done {
    pub(crate) pid: i32,
    pub(crate) output: String,
    pub(crate) status: ExitStatus,
}

/// A shell with a script, and where programs are.
pub(crate) fn shell(script: &str) -> Program {
    let mut shell = Program::new("/bin/sh");
    shell.args(["-c", script]).environment([("PATH", "/usr/bin:/bin")]);
    shell
}

/// Runs it to its end. It has nothing to read.
pub(crate) fn run(program: &Program) -> Result<Done, Failure> {
    let (mut reader, writer) = io::pipe().unwrap();
    let null = null();
    let abort = Abort::default();
    let mut process = program.start([null.as_fd(), writer.as_fd(), writer.as_fd()], &abort)?;
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let status = process.wait().unwrap();
    Ok(Done { pid: process.pid().as_raw_nonzero().get(), output, status })
}

/// What has nothing to read and keeps nothing.
pub(crate) fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

/// The value of a line of `/proc/PID/status`.
pub(crate) fn line<'a>(status: &'a str, name: &str) -> &'a str {
    let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// The user `nobody`, with two groups more.
pub(crate) fn nobody() -> User {
    assert!(rustix::process::geteuid().is_root(), "this test changes users: run it as root");
    User { uid: NOBODY, gid: NOBODY, groups: vec![7, 8, NOBODY] }
}

pub(crate) const NOBODY: u32 = 65534;
