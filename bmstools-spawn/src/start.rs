//! Makes a process, and waits until it has become the program.

use std::io;
use std::ptr;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::abort::Abort;
use crate::child::{self, Plan};
use crate::failure::{Failure, Step};
use crate::memory::Memory;
use crate::prepare::Prepared;
use crate::process::Process;
use crate::signals::Blocked;

/// Starts a program.
///
/// # Errors
///
/// As [`Program::start`](crate::Program::start).
pub(crate) fn start(prepared: &Prepared, abort: &Abort) -> Result<Process, Failure> {
    let memory = Memory::new().map_err(|error| Failure::new(Step::Prepare, error))?;
    if !abort.begin() {
        return Err(aborted());
    }
    let cloned = clone(prepared, &memory, abort);
    let goes_on = abort.end();
    let mut process = cloned.map_err(|error| Failure::new(Step::Process, error))?;
    let failure = if goes_on {
        memory.report().read()
    } else {
        // Where it became the program at that moment.
        let _ = kill_process_group(process.pid(), Signal::KILL);
        Some(aborted())
    };
    match failure {
        None => Ok(process),
        Some(failure) => {
            // It has reported and ends, or was killed.
            let _ = process.wait();
            Err(failure)
        }
    }
}

/// Makes the process. Returns when it has become the program or failed.
fn clone(prepared: &Prepared, memory: &Memory, abort: &Abort) -> io::Result<Process> {
    let has_copy = !prepared.stays_user();
    let borrows = if has_copy { 0 } else { libc::CLONE_VM };
    let flags = borrows | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
    let plan = Plan { prepared, report: memory.report(), has_copy };
    let blocked = Blocked::all()?;
    // SAFETY: `main` gets the plan that it takes. The stack's end is aligned, and the
    // stack is in use by nobody else. This thread waits (`CLONE_VFORK`) until the process
    // has become the program or ended, so that the plan, the stack and what they point to
    // outlive its use of them; where a signal ends this thread instead, it ends the whole
    // process, and the memory is the new one's alone. In between it runs no handler, all
    // signals being blocked, and shares no thread's variables but this one's, which waits.
    // The kernel writes the number to an atomic that outlives this call.
    let pid = unsafe {
        libc::clone(
            child::main,
            memory.stack(),
            flags,
            ptr::from_ref(&plan).cast_mut().cast(),
            abort.pid(),
        )
    };
    let error = io::Error::last_os_error();
    drop(blocked);
    Pid::from_raw(pid).filter(|_| pid > 0).map(Process::new).ok_or(error)
}

fn aborted() -> Failure {
    Failure::new(Step::Aborted, io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, Read as _};
    use std::os::fd::AsFd as _;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;
    use crate::prepare::Others;
    use crate::program::Program;

    #[test]
    fn where_there_is_no_close_range_nothing_is_left_open_either() {
        let _left = pipe_with(PipeFlags::empty()).unwrap();
        let null = File::open("/dev/null").unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let mut ls = Program::new("/bin/ls");
        ls.args(["/proc/self/fd"]);
        let given = [null.as_fd(), writer.as_fd(), null.as_fd()];
        let mut prepared = Prepared::new(&ls, given).unwrap();
        prepared.others = Others::listed().unwrap();
        assert!(matches!(&prepared.others, Others::These(others) if others.len() >= 2));
        let mut process = start(&prepared, &Abort::default()).unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        assert!(process.wait().unwrap().success());
        // The last one is that of the directory.
        assert_eq!(output, "0\n1\n2\n3\n");
    }
}
