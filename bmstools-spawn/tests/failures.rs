//! Programs that cannot start. One test, since it looks for children of this process.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;

use bmstools_spawn::{Abort, Failure, Program, Step, User};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use self::common::{nobody, null, run, shell};

#[test]
fn a_failure_names_its_step_and_leaves_no_process() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &[u8]| {
        let path = place.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let missing = file("missing", b"#!/no/such/interpreter\n");
    let broken = file("broken", b"\x7fELF and nothing else");
    fails(&Program::new("/no/such/file"), Step::Execute, Errno::NOENT);
    fails(Program::new("true").environment([("A", "b")]), Step::Execute, Errno::NOENT);
    fails(Program::new("").environment([("PATH", "/bin")]), Step::Execute, Errno::NOENT);
    let path = [("PATH", "/no/such:/etc:/no/such")];
    fails(Program::new("passwd").environment(path), Step::Execute, Errno::ACCESS);
    fails(&Program::new("/etc/passwd"), Step::Execute, Errno::ACCESS);
    fails(&Program::new("/etc"), Step::Execute, Errno::ACCESS);
    fails(&Program::new("/etc/passwd/x"), Step::Execute, Errno::NOTDIR);
    fails(&Program::new(missing), Step::Execute, Errno::NOENT);
    fails(shell("").args(["x".repeat(3 << 20)]), Step::Execute, Errno::TOOBIG);
    fails(shell("").directory("/no/such"), Step::Directory, Errno::NOENT);
    fails(shell("").terminal(), Step::Terminal, Errno::NOTTY);
    let user = User { groups: vec![0; 70_000], ..nobody() };
    fails(shell("").user(user), Step::User, Errno::INVAL);
    let mut zero = Program::new("/bin/true");
    let failed = run(zero.args(["a\0b"])).map(drop).unwrap_err();
    assert_eq!((failed.step, failed.error.kind()), (Step::Prepare, io::ErrorKind::InvalidInput));
    // The shell gets it, and cannot read it either.
    assert!(!run(&Program::new(broken)).unwrap().status.success());
    // As the user, not as root.
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fails(shell("").directory(place.path()).user(nobody()), Step::Directory, Errno::ACCESS);
    a_descriptor_that_is_none();
    what_was_aborted();
    assert_eq!(wait(WaitOptions::NOHANG).unwrap_err(), Errno::CHILD, "a process is left");
}

fn fails(program: &Program, step: Step, errno: Errno) {
    assert_failed(&run(program).map(drop).unwrap_err(), step, errno);
}

fn a_descriptor_that_is_none() {
    // SAFETY: nobody opens so many, and all that is done with it is meant to fail.
    let none = unsafe { BorrowedFd::borrow_raw(1_000_000) };
    let null = null();
    let failed = shell("").start([null.as_fd(), none, null.as_fd()], &Abort::default());
    assert_failed(&failed.map(drop).unwrap_err(), Step::Descriptors, Errno::BADF);
}

fn what_was_aborted() {
    let (null, abort) = (null(), Abort::default());
    abort.abort();
    let failed = shell("").start([null.as_fd(); 3], &abort).map(drop).unwrap_err();
    assert_eq!(failed.step, Step::Aborted);
}

fn assert_failed(failed: &Failure, step: Step, errno: Errno) {
    let says = (failed.step, failed.error.raw_os_error());
    assert_eq!(says, (step, Some(errno.raw_os_error())), "{failed}");
}
