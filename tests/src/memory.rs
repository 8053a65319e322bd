//! Memory: what a process takes, and files that live in it.

use std::fs;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most that it was.
    pub peak: u64,
}

impl Memory {
    /// Of the process `pid`.
    ///
    /// # Errors
    ///
    /// Where there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is gone"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            let kilobytes: u64 = number.with_context(|| format!("no {name} of {pid}"))?.parse()?;
            anyhow::Ok(kilobytes * 1024)
        };
        Ok(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}

/// A directory with room for `bytes`, in memory where that has it; removed when
/// dropped.
///
/// # Errors
///
/// Where no place has the room.
pub fn directory(prefix: &str, bytes: u64) -> Result<TempDir> {
    for place in [PLACE, "/var/tmp", "/tmp"] {
        let Ok(stat) = rustix::fs::statvfs(place) else {
            continue;
        };
        let mut room = stat.f_bavail * stat.f_frsize;
        if place == PLACE {
            // A memory-backed file system offers more than the machine may have.
            room = room.min(available()?.saturating_sub(HEADROOM));
        }
        if room >= bytes {
            let mut builder = tempfile::Builder::new();
            return builder.prefix(prefix).tempdir_in(place).context("no temporary directory");
        }
    }
    bail!("no room for {} MiB of files in {PLACE}, /var/tmp or /tmp", bytes.div_ceil(MIB))
}

/// Bytes of memory that programs can still have.
fn available() -> Result<u64> {
    let info = fs::read_to_string("/proc/meminfo").context("no /proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let kilobytes: u64 = number.context("no MemAvailable in /proc/meminfo")?.parse()?;
    Ok(kilobytes * 1024)
}

/// Where files live in memory.
pub const PLACE: &str = "/dev/shm";
/// Left to everything else.
const HEADROOM: u64 = 512 * MIB;
