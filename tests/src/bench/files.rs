//! What is sent, and where it arrives: files that live in memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::memory::{self, MIB};
use crate::{data, interrupt};

/// A directory of sources and of what arrived. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Files {
    directory: TempDir,
    touch: Vec<u8>,
}

impl Files {
    /// A directory with room for `bytes`.
    ///
    /// # Errors
    ///
    /// Where no place has the room.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        let directory = memory::directory("bmstools-bench-", bytes)?;
        Ok(Self { directory, touch: vec![1; PIECE as usize] })
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
        self.directory.path().starts_with("/dev/shm")
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

    /// A path where nothing is, for `bytes` to arrive at. There is free memory for them
    /// that this machine has: the first use of memory may be slow, where a host gives it
    /// only then, and is nobody's merit.
    ///
    /// A host takes memory back that has been free for a moment, in pieces of megabytes.
    /// So the memory is used, and given back but for a page in between here and there:
    /// what is free then is in pieces that no host wants.
    ///
    /// # Errors
    ///
    /// Where there is no room.
    pub(crate) fn destination(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.path(&format!("arrived-{name}"));
        remove(&path)?;
        let used = &self.touch;
        let (kept, keeping) = (self.path("kept"), self.path("keeping"));
        let mut file = File::create(&path)?;
        let mut pages = File::create(&keeping)?;
        let mut left = bytes;
        while left > 0 {
            interrupt::check()?;
            let len = left.min(PIECE);
            file.write_all(&used[..len as usize])
                .and_then(|()| pages.write_all(&used[..PAGE]))
                .with_context(|| format!("no room for {} MiB", bytes / MIB))?;
            left -= len;
        }
        drop((file, pages));
        remove(&path)?;
        fs::rename(&keeping, &kept)?;
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

/// Memory that is free in one piece at most, and the page between two pieces.
const PIECE: u64 = 64 << 10;
const PAGE: usize = 4096;
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
