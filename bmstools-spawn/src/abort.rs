//! Ends what takes too long to start.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Ends the start of a program from another thread.
///
/// Serves for one program.
#[derive(Debug, Default)]
pub struct Abort {
    state: Mutex<State>,
    /// Written by the kernel as soon as there is a process.
    pid: AtomicI32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    Starting,
    Started,
    Aborted,
}

impl Abort {
    /// Kills the process if it is being started, and keeps it from being started
    /// otherwise. What runs already goes on.
    pub fn abort(&self) {
        loop {
            let mut state = self.lock();
            match *state {
                State::Started | State::Aborted => return,
                State::Waiting => {
                    *state = State::Aborted;
                    return;
                }
                State::Starting => {}
            }
            // It is not reaped, nor its number another's, before the state is another.
            if let Some(pid) = Pid::from_raw(self.pid.load(Ordering::Acquire)) {
                let _ = kill_process(pid, Signal::KILL);
                *state = State::Aborted;
                return;
            }
            drop(state);
            // It is in the middle of clone(2), which is not interrupted.
            thread::sleep(TURN);
        }
    }

    /// Begins to start a process; false where that is not wanted any more.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.lock();
        let begins = *state == State::Waiting;
        if begins {
            *state = State::Starting;
        }
        begins
    }

    /// Ends that, before the process is reaped; false where it was killed meanwhile.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.lock();
        let goes_on = *state == State::Starting;
        if goes_on {
            *state = State::Started;
        }
        goes_on
    }

    /// Where the kernel writes the process's number.
    pub(crate) fn pid(&self) -> *mut i32 {
        self.pid.as_ptr()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Making a process takes some microseconds, and longer where it has a copy of memory.
const TURN: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_aborted_does_not_begin_and_what_has_started_goes_on() {
        let abort = Abort::default();
        abort.abort();
        assert!(!abort.begin());
        let abort = Abort::default();
        assert!(abort.begin() && abort.end());
        abort.abort();
        assert!(!abort.begin(), "it serves twice");
    }
}
