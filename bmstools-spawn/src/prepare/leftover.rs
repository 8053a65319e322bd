//! Descriptors that the program must not have.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// What a new process must close, its first three descriptors left alone.
#[derive(Debug)]
pub(crate) enum Others {
    /// Everything, by close_range(2), which Linux has from 5.9 on.
    All,
    /// These.
    These(Vec<RawFd>),
}

impl Others {
    /// What there is to be closed.
    ///
    /// # Errors
    ///
    /// Where there is no close_range(2) and no `/proc`.
    pub(crate) fn find() -> io::Result<Self> {
        static HAS_CLOSE_RANGE: OnceLock<bool> = OnceLock::new();
        if *HAS_CLOSE_RANGE.get_or_init(has_close_range) {
            return Ok(Self::All);
        }
        Self::listed()
    }

    /// All that there are, as `/proc` lists them. What is opened meanwhile closes by itself
    /// when the program begins: Rust opens every descriptor so.
    pub(crate) fn listed() -> io::Result<Self> {
        let entries = fs::read_dir("/proc/self/fd")?.flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(Self::These(numbers.filter(|number| *number > 2).collect()))
    }
}

/// Whether the system has it. Closes nothing: there is no descriptor of that number.
fn has_close_range() -> bool {
    // SAFETY: it touches descriptors of this number alone, which is past every limit.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) };
    closed == 0
}
