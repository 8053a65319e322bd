//! Signals around the making of a process.
//!
//! System calls are made directly: the C library's functions leave out the signals that
//! it uses itself.

use std::io;
use std::ptr;

/// All signals of the calling thread blocked, until this is dropped.
///
/// No handler of the caller's runs in the new process, whose memory it would share.
pub(crate) struct Blocked {
    before: Set,
}

impl Blocked {
    /// Blocks all signals.
    pub(crate) fn all() -> io::Result<Self> {
        let mut before = 0;
        set_mask(!0, Some(&mut before))?;
        Ok(Self { before })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // It cannot fail: it did not the first time.
        let _ = set_mask(self.before, None);
    }
}

/// Makes every signal do by default what signal(7) says. For a new process alone.
pub(crate) fn reset() {
    for number in 1..=LAST {
        // It fails for SIGKILL and SIGSTOP, which are as they should be.
        //
        // SAFETY: the new process has dispositions of its own, which are nobody else's,
        // and the pointer is to a disposition as the kernel has it.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                DEFAULT.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<Set>(),
            )
        };
    }
}

/// Lets every signal through.
pub(crate) fn unblock() {
    // It cannot fail: it did not in the parent.
    let _ = set_mask(0, None);
}

fn set_mask(mask: Set, before: Option<&mut Set>) -> io::Result<()> {
    let before = before.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: both point to sets of the size that is given, or are null.
    let set = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(&mask),
            before,
            size_of::<Set>(),
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's, a bit for each signal.
type Set = u64;
const LAST: i32 = 64;
/// The kernel's `struct sigaction`: `SIG_DFL`, no flags, an empty mask.
static DEFAULT: [u64; 4] = [0; 4];
