//! What runs in a new process until it becomes the program.
//!
//! It may share the memory of a process with many threads, and any of them may hold a
//! lock: there is nothing here but system calls on memory that was prepared before.
//! Users and groups change by the system calls themselves. The C library's functions
//! would ask all threads to do the same.

use std::convert::Infallible;
use std::ffi::{CStr, c_int, c_long, c_void};
use std::io;

use crate::failure::Step;
use crate::memory::Report;
use crate::prepare::{Others, Prepared};
use crate::program::User;
use crate::signals;

/// What a new process begins with.
pub(crate) struct Plan<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) report: &'a Report,
    /// It has a copy of the caller's memory, and does not borrow it.
    pub(crate) has_copy: bool,
}

/// Begins. Takes a pointer to a [`Plan`], and never returns.
pub(crate) extern "C" fn main(plan: *mut c_void) -> c_int {
    // SAFETY: the caller of clone(2) gives a plan, and keeps it until this process has
    // become the program or ended.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    let Err(Failed { step, errno }) = become_program(plan);
    plan.report.write(step, errno);
    // SAFETY: it ends this process at once, and runs nothing of the caller's.
    unsafe { libc::_exit(NOT_STARTED) }
}

struct Failed {
    step: Step,
    errno: c_int,
}

fn become_program(plan: &Plan<'_>) -> Result<Infallible, Failed> {
    let prepared = plan.prepared;
    // SAFETY: this process is new, and its session is nobody else's.
    check(Step::Session, unsafe { libc::setsid() }.into())?;
    take_descriptors(prepared)?;
    if prepared.terminal {
        // SAFETY: it takes a number, and no pointer.
        let taken = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
        check(Step::Terminal, taken.into())?;
    }
    if let Some(user) = &prepared.user {
        become_user(user)?;
    }
    if plan.has_copy {
        hide_copy()?;
    }
    // After that: becoming another user takes it back.
    die_with(prepared.parent)?;
    // SAFETY: the string ends in a zero byte.
    check(Step::Directory, unsafe { libc::chdir(prepared.directory.as_ptr()) }.into())?;
    signals::reset();
    signals::unblock();
    Err(Failed { step: Step::Execute, errno: execute(prepared) })
}

/// Takes the three descriptors and nothing else.
fn take_descriptors(prepared: &Prepared) -> Result<(), Failed> {
    for (standard, descriptor) in (0..).zip(prepared.descriptors) {
        // SAFETY: this process has descriptors of its own, and they are not used
        // otherwise. The two numbers are not the same, so that the program gets it.
        let taken = unsafe { libc::dup2(descriptor, standard) };
        check(Step::Descriptors, taken.into())?;
    }
    match &prepared.others {
        Others::All => {
            // SAFETY: as above.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            check(Step::Descriptors, closed)?;
        }
        Others::These(others) => {
            for other in others {
                // It fails where it was closed before.
                //
                // SAFETY: as above.
                unsafe { libc::close(*other) };
            }
        }
    }
    Ok(())
}

fn become_user(user: &User) -> Result<(), Failed> {
    let User { uid, gid, groups } = user;
    // SAFETY: the pointer and the number of groups are those of one vector. None of them
    // touches anything but this process.
    unsafe {
        let set = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
        check(Step::User, set)?;
        check(Step::User, libc::syscall(libc::SYS_setgid, *gid))?;
        check(Step::User, libc::syscall(libc::SYS_setuid, *uid))
    }
}

/// Keeps the caller's secrets, which the copy of its memory holds, from the user that this
/// process has become: nobody traces it or gets its core from here on (`PR_SET_DUMPABLE`),
/// until it is the program.
fn hide_copy() -> Result<(), Failed> {
    // SAFETY: it takes a number, and no pointer. The memory is this process's alone.
    let hidden = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    check(Step::User, hidden.into())
}

/// Asks to be killed when the thread ends that made this process.
fn die_with(parent: c_int) -> Result<(), Failed> {
    // SAFETY: it takes a number, and no pointer.
    let asked = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    check(Step::DeathSignal, asked.into())?;
    // SAFETY: they cannot fail, and nobody is there for a report.
    unsafe {
        if libc::getppid() != parent {
            libc::_exit(NOT_STARTED);
        }
    }
    Ok(())
}

/// Becomes the first of the candidates that can be, and tells why none can, as
/// execvp(3) does.
fn execute(prepared: &Prepared) -> c_int {
    let (mut denied, mut last) = (false, libc::ENOENT);
    for candidate in &prepared.candidates {
        last = execute_one(prepared, candidate);
        match last {
            libc::EACCES => denied = true,
            libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => return last,
        }
    }
    if denied { libc::EACCES } else { last }
}

fn execute_one(prepared: &Prepared, candidate: &CStr) -> c_int {
    let environment = prepared.environment.as_ptr();
    // SAFETY: a string, and two arrays of strings that end in a null.
    unsafe { libc::execve(candidate.as_ptr(), prepared.argv.as_ptr(), environment) };
    let errno = errno();
    let [_, file, ..] = &*prepared.script else { return errno };
    if errno != libc::ENOEXEC {
        return errno;
    }
    // No program and without a first line that names one: a script for the shell.
    file.set(candidate.as_ptr());
    // SAFETY: as above: `Cell<T>` is laid out like `T`.
    unsafe { libc::execve(prepared.shell.as_ptr(), prepared.script.as_ptr().cast(), environment) };
    self::errno()
}

fn check(step: Step, result: c_long) -> Result<(), Failed> {
    if result == -1 { Err(Failed { step, errno: errno() }) } else { Ok(()) }
}

/// What the last system call said. The calling thread's own variable holds it, which
/// that thread does not use meanwhile.
fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

const NOT_STARTED: c_int = 127;
