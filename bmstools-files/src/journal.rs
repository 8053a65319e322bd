//! Where transfers have unfinished files, so that none stays for good.

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rand::Rng as _;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tracing::{debug, warn};

use crate::receive::sweep;

/// A directory with a symbolic link for each directory in which a transfer under way
/// or cut off has files that are not finished.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// The journal in `dir`, which need not exist yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Removes unfinished files that nobody has written to for `lifetime`, and
    /// returns how many there were.
    pub fn sweep(&self, lifetime: Duration) -> usize {
        let Ok(links) = fs::read_dir(&self.dir) else { return 0 };
        links.flatten().map(|link| sweep_link(&link.path(), lifetime)).sum()
    }

    /// Notes that `directory` will have an unfinished file. What cannot be noted is
    /// still removed by the next transfer into that directory.
    pub(crate) fn note(&self, directory: BorrowedFd<'_>) -> Option<Note> {
        let target = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
        let name = format!("{:016x}", rand::thread_rng().r#gen::<u64>());
        let path = self.dir.join(name);
        let noted = fs::create_dir_all(&self.dir).and_then(|()| symlink(&target, &path));
        if let Err(error) = noted {
            debug!(journal = %self.dir.display(), %error, "cannot note an unfinished file");
            return None;
        }
        Some(Note { path, kept: AtomicBool::new(false) })
    }
}

/// A link of a journal: gone when dropped, unless something unfinished is left.
#[derive(Debug)]
pub(crate) struct Note {
    path: PathBuf,
    kept: AtomicBool,
}

impl Note {
    /// Something unfinished is left.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn sweep_link(link: &Path, lifetime: Duration) -> usize {
    let Ok(target) = fs::read_link(link) else { return 0 };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let swept = match openat(CWD, &target, flags, Mode::empty()) {
        Ok(dir) => sweep(&dir, lifetime),
        Err(_) => sweep::Swept::default(),
    };
    if swept.removed > 0 {
        warn!(directory = %target.display(), files = swept.removed,
            "removed what an interrupted transfer left");
    }
    // A young link may be older than its file.
    if swept.left == 0 && age(link).is_some_and(|age| age > SETTLED) {
        let _ = fs::remove_file(link);
    }
    swept.removed
}

fn age(link: &Path) -> Option<Duration> {
    let modified = fs::symlink_metadata(link).ok()?.modified().ok()?;
    SystemTime::now().duration_since(modified).ok()
}

/// How long an interrupted transfer can be taken up again.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A link's file is there by then.
const SETTLED: Duration = Duration::from_secs(600);
