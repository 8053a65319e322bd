//! Starts programs in a session of their own, with a terminal, a user and a directory.
//!
//! [`Program::start`] does what `posix_spawn` does, and what that cannot do: a
//! controlling terminal, another user, a death signal. The new process borrows the
//! caller's memory until it becomes the program, as with vfork(2), so that starting one
//! costs the same however large the caller is; one of another user does not. Everything that it needs is prepared
//! before; in between it makes system calls and nothing else.
//!
//! # Another user
//!
//! A program of another user starts from a copy of the memory instead. The kernel would
//! protect borrowed memory: before the new user's number can be seen, it makes the
//! memory undumpable, which is what keeps that user from tracing or reading it
//! (`commit_creds` in the kernel's `kernel/cred.c`). But the protection is as good as
//! the sysctl `fs.suid_dumpable`, whose value 1 turns it off, and the user could write
//! to the caller then. Before Linux 5.16 a core dump ends all processes that share the
//! memory, and the user may ask for one by a signal. And the caller's memory would stay
//! undumpable. The copy holds the caller's secrets until the process becomes the program.
//! It is made undumpable as soon as it is the user's, signals being blocked until then;
//! with `fs.suid_dumpable` at 1, which no system for production has, the user could trace
//! it in between.
//!
//! # Waiting
//!
//! The calling thread waits, and only a signal that ends it can interrupt that, until
//! the process has become the program or failed. A directory or a program on a network
//! file system that does not answer makes that long, and so does the other user, who may
//! stop the process in between. An [`Abort`] ends it from another thread.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("the numbers of the system calls used here are those of 64-bit Linux");

mod abort;
mod child;
mod failure;
mod memory;
mod prepare;
mod process;
mod program;
mod signals;
mod start;

pub use self::abort::Abort;
pub use self::failure::{Failure, Step};
pub use self::process::Process;
pub use self::program::{Program, User};
