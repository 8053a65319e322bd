//! Memory for a new process: its stack, and where it reports a failure.

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::failure::{Failure, Step};

/// A stack, and a report above it. Both sides see the same, whether the process borrows
/// the caller's memory or has a copy.
pub(crate) struct Memory {
    base: *mut c_void,
}

/// Why the process did not become the program. Zero at first.
#[derive(Default)]
pub(crate) struct Report {
    step: AtomicU32,
    errno: AtomicI32,
}

impl Memory {
    /// New memory with an empty report.
    pub(crate) fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, which replaces no other.
        let base = unsafe { libc::mmap(ptr::null_mut(), SIZE, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Self { base };
        // A stack that grows past its end shall fault.
        //
        // SAFETY: these bytes are the mapping's first, and nobody uses them.
        match unsafe { libc::mprotect(base, GUARD, libc::PROT_NONE) } {
            0 => Ok(memory),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The stack's upper end.
    pub(crate) fn stack(&self) -> *mut c_void {
        ptr::from_ref(self.report()).cast_mut().cast()
    }

    /// The report.
    pub(crate) fn report(&self) -> &Report {
        // SAFETY: within the mapping, which lives as long as `self`, page-aligned at its
        // end less 64, and so aligned; zeroes, as it was made, are a report, and all
        // access is atomic. The stack ends below it.
        unsafe { &*self.base.byte_add(SIZE - REPORT).cast::<Report>() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and a process on it has become another or
        // has ended: whoever clones waits for that.
        unsafe { libc::munmap(self.base, SIZE) };
    }
}

impl Report {
    /// Reports. Makes no system call.
    pub(crate) fn write(&self, step: Step, errno: i32) {
        self.errno.store(errno, Ordering::Relaxed);
        self.step.store(step as u32, Ordering::Release);
    }

    /// What was reported.
    pub(crate) fn read(&self) -> Option<Failure> {
        let step = Step::reported(self.step.load(Ordering::Acquire))?;
        let errno = self.errno.load(Ordering::Relaxed);
        Some(Failure::new(step, io::Error::from_raw_os_error(errno)))
    }
}

/// Far more than a few system calls need, the loader's work at the first call of each
/// included.
const SIZE: usize = 1 << 17;
/// A page, whatever the machine's is.
const GUARD: usize = 1 << 16;
/// A multiple of a stack's alignment.
const REPORT: usize = 64;
