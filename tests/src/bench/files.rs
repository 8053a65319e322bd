//! What is sent, and where it arrives: files that live in memory.

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use tempfile::TempDir;

use crate::memory::{self, MIB};
use crate::{data, interrupt};

/// Gives this thread, and what it starts, a file system in memory of its own. It is gone
/// with the last of them, however they end.
///
/// It takes memory in pieces as long as what is written, as file systems on disks do
/// (XFS, ext4, btrfs), and not in single pages: those would be a third of what receiving
/// a file costs, whoever receives it.
///
/// # Errors
///
/// Without root, or where the kernel has no huge pages.
pub(crate) fn mount_memory() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot have mounts of its own")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot keep mounts to itself")?;
    mount(MEMORY, memory::PLACE, "tmpfs", MountFlags::empty(), Some(MEMORY_OPTIONS))
        .with_context(|| format!("cannot mount a file system in memory at {}", memory::PLACE))
}

/// A directory of sources and of what arrived. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Files {
    directory: TempDir,
    kept: RefCell<Kept>,
}

/// Memory that has been used and given back but for the last page of each 2 MiB: hosts
/// take memory back that has been free for a moment, in pieces of that length.
#[derive(Debug)]
struct Kept {
    /// It has holes where memory is free.
    file: File,
    bytes: u64,
    _still: Still,
}

/// The kernel leaves memory where it is, for as long as this lives: it would otherwise
/// spend a core on moving what is kept out of the way.
#[derive(Debug)]
struct Still {
    before: Option<String>,
}

impl Still {
    fn new() -> Self {
        // Linux before 5.9 has no such thing.
        let before = fs::read_to_string(PROACTIVENESS).ok();
        if before.is_some() {
            let _ = fs::write(PROACTIVENESS, "0");
        }
        Self { before }
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = fs::write(PROACTIVENESS, before);
        }
    }
}

impl Kept {
    fn new(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        Ok(Self { file, bytes: 0, _still: Still::new() })
    }

    /// Makes it enough for `bytes` where `held` bytes of files are there already.
    fn make_room(&mut self, held: u64, bytes: u64) -> Result<()> {
        // Some of it is in pieces shorter than what is written.
        let wanted = bytes + bytes / SPARE;
        let missing = wanted.saturating_sub(self.bytes.saturating_sub(held));
        let begin = self.bytes;
        let end = begin + missing.next_multiple_of(PIECE);
        // A file that is known to be long is given memory by the piece.
        self.file.set_len(end)?;
        let touch = vec![1; PIECE as usize];
        while self.bytes < end {
            interrupt::check()?;
            self.file.write_all_at(&touch, self.bytes)?;
            self.bytes += PIECE;
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for start in (begin..end).step_by(PIECE as usize) {
            fallocate(&self.file, hole, start, PIECE - PAGE)?;
        }
        Ok(())
    }
}

impl Files {
    /// A directory with room for `bytes`.
    ///
    /// # Errors
    ///
    /// Where no place has the room.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        let directory = memory::directory("bmstools-bench-", bytes)?;
        let kept = RefCell::new(Kept::new(directory.path())?);
        Ok(Self { directory, kept })
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Whether the files are in memory.
    pub(crate) fn in_memory(&self) -> bool {
        self.directory.path().starts_with(memory::PLACE)
    }

    /// A file of `bytes` random bytes.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub(crate) fn source(&self, bytes: u64) -> Result<PathBuf> {
        let path = self.path(&format!("source-{bytes}"));
        if path.exists() {
            return Ok(path);
        }
        data::write_random(&path, bytes, bytes)?;
        Ok(path)
    }

    /// Removes a source that is not needed any more.
    ///
    /// # Errors
    ///
    /// Where it cannot be removed.
    pub(crate) fn forget(&self, bytes: u64) -> Result<()> {
        remove(&self.path(&format!("source-{bytes}")))
    }

    /// A directory of `count` files of `bytes` each.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub(crate) fn small(&self, count: usize, bytes: usize) -> Result<PathBuf> {
        let directory = self.path(&format!("small-{count}"));
        if directory.exists() {
            return Ok(directory);
        }
        fs::create_dir(&directory)?;
        for (number, content) in data::random(count as u64, count * bytes).chunks(bytes).enumerate()
        {
            fs::write(directory.join(format!("{number:05}")), content)?;
        }
        Ok(directory)
    }

    /// A path where nothing is, for `bytes` to arrive at, and that much free memory that
    /// this machine has: the first use of memory may be slow, where a host gives it only
    /// then, and is nobody's merit.
    ///
    /// # Errors
    ///
    /// Where there is no room.
    pub(crate) fn destination(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.path(&format!("arrived-{name}"));
        remove(&path)?;
        let held: u64 = fs::read_dir(self.directory())?
            .map(|entry| Ok(entry?.metadata()?.len()))
            .sum::<Result<u64>>()?;
        self.kept
            .borrow_mut()
            .make_room(held, bytes)
            .with_context(|| format!("no room for {} MiB", bytes / MIB))?;
        Ok(path)
    }

    /// Fails unless what arrived is what was sent: every byte where `thorough` or
    /// where that takes no time, else the length. Removes it.
    ///
    /// # Errors
    ///
    /// As it says.
    pub(crate) fn check(&self, sent: &Path, arrived: &Path, thorough: bool) -> Result<()> {
        let is_short = fs::metadata(sent).is_ok_and(|metadata| metadata.len() <= SHORT);
        let checked = match thorough || is_short {
            true => data::require_same(sent, arrived),
            false => same_length(sent, arrived),
        };
        let removed = remove(arrived);
        checked.and(removed)
    }
}

fn same_length(sent: &Path, arrived: &Path) -> Result<()> {
    let expected = fs::metadata(sent)?.len();
    let len = fs::metadata(arrived).context("nothing arrived")?.len();
    ensure!(len == expected, "{expected} bytes were sent, {len} arrived");
    Ok(())
}

/// Removes a file or a directory with all that is in it, where there is one.
///
/// # Errors
///
/// Where it cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

const PROACTIVENESS: &str = "/proc/sys/vm/compaction_proactiveness";
const MEMORY: &str = "bmstools-bench";
const MEMORY_OPTIONS: &CStr = c"huge=within_size,size=100%,mode=1777";
/// What the processor takes for a huge page, and hosts take at least.
const PIECE: u64 = 2 << 20;
const PAGE: u64 = 4096;
/// One part in so many of a file's bytes is kept beyond them.
pub(crate) const SPARE: u64 = 12;
/// Files up to this length are compared byte for byte whenever they arrive.
const SHORT: u64 = 64 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_arrived_changed_or_short_is_noticed_and_removed() {
        let files = Files::new(MIB).unwrap();
        let source = files.source(5000).unwrap();
        let arrived = files.destination("x", 5000).unwrap();
        let mut bytes = fs::read(&source).unwrap();
        fs::write(&arrived, &bytes).unwrap();
        files.check(&source, &arrived, true).unwrap();
        assert!(!arrived.exists());
        bytes[4999] ^= 1;
        fs::write(&arrived, &bytes).unwrap();
        files.check(&source, &arrived, true).unwrap_err();
        fs::write(&arrived, &bytes).unwrap();
        files.check(&source, &arrived, false).unwrap_err();
        assert!(!arrived.exists());
        fs::write(&arrived, &bytes[1..]).unwrap();
        files.check(&source, &arrived, false).unwrap_err();
        files.check(&source, &arrived, false).unwrap_err();
    }
}
