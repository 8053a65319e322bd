//! Where transfers have unfinished files, so that none stays for good.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode, OFlags, openat};
use tracing::{debug, warn};
use twox_hash::XxHash3_64;

use crate::receive::sweep::{Swept, sweep};

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
        let name = format!("{:016x}", XxHash3_64::oneshot(target.as_os_str().as_bytes()));
        let note = Note { path: self.dir.join(name) };
        let mut used = used();
        let noted = fs::create_dir_all(&self.dir).and_then(|()| symlink(&target, &note.path));
        match noted {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                debug!(journal = %self.dir.display(), %error, "cannot note an unfinished file");
            }
            _ => {}
        }
        used.push(note.path.clone());
        Some(note)
    }
}

/// A link of a journal in use. Dropped, the link goes where nothing unfinished is left.
#[derive(Debug)]
pub(crate) struct Note {
    path: PathBuf,
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut used = used();
        if let Some(at) = used.iter().position(|path| *path == self.path) {
            used.swap_remove(at);
        }
        if !used.contains(&self.path) && sweep_target(&self.path, LIFETIME).left == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Links that transfers of this process use, once for each.
fn used() -> MutexGuard<'static, Vec<PathBuf>> {
    static USED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sweeps the directory that a link points to.
fn sweep_target(link: &Path, lifetime: Duration) -> Swept {
    let Ok(target) = fs::read_link(link) else { return Swept::default() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat(CWD, &target, flags, Mode::empty()) else { return Swept::default() };
    let swept = sweep(&dir, lifetime);
    if swept.removed > 0 {
        warn!(directory = %target.display(), files = swept.removed,
            "removed what an interrupted transfer left");
    }
    swept
}

fn sweep_link(link: &Path, lifetime: Duration) -> usize {
    let used = used();
    let swept = sweep_target(link, lifetime);
    // Another process may be about to make the file of a young link.
    let settled = age(link).is_some_and(|age| age >= lifetime.min(SETTLED));
    if swept.left == 0 && settled && !used.iter().any(|path| path == link) {
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
