//! One-shot scripts, and which session each belongs to.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, unlinkat};
use tracing::warn;

/// The one-shot scripts of all sessions.
///
/// A script goes when its session ends, unless another session has pushed one
/// to the same path since: then it is that one's.
#[derive(Default)]
pub(crate) struct Scripts {
    /// Each script's path and its owner. Locked while scripts are removed, which
    /// takes for ever on a file system that hangs.
    owners: Mutex<HashMap<PathBuf, Script>>,
    /// The number of the next owner.
    next: AtomicU64,
}

struct Script {
    owner: u64,
    /// Device and inode of its directory, which is where it is removed: whoever may
    /// rename that must not have another's file removed.
    dir: (u64, u64),
}

/// A session's share of the scripts. Removes them when dropped.
pub(crate) struct Owner {
    scripts: Arc<Scripts>,
    number: u64,
    owned_any: bool,
}

impl Scripts {
    /// A session that has none yet. Never blocks.
    pub(crate) fn owner(self: &Arc<Self>) -> Owner {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Owner { number, scripts: Arc::clone(self), owned_any: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Script>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    /// Whether the session may push one more.
    pub(crate) fn has_room(&self) -> bool {
        let owners = self.scripts.lock();
        owners.values().filter(|script| script.owner == self.number).count() < MAX_SCRIPTS
    }

    /// Makes the script at `path`, in the directory `dir`, this session's.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub(crate) fn own(&mut self, path: &Path, dir: BorrowedFd<'_>) -> io::Result<()> {
        let script = Script { owner: self.number, dir: identity(dir)? };
        self.owned_any = true;
        self.scripts.lock().insert(path.to_owned(), script);
        Ok(())
    }

    /// Whether dropping this may have scripts to remove, and block.
    pub(crate) fn owns_any(&self) -> bool {
        self.owned_any
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.owned_any {
            return;
        }
        // Removed under the lock: what another session puts there next is its own.
        let mut owners = self.scripts.lock();
        for (path, script) in owners.extract_if(|_, script| script.owner == self.number) {
            match remove(&path, script.dir) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    warn!(path = %path.display(), %error, "cannot remove a one-shot script");
                }
                _ => {}
            }
        }
    }
}

fn remove(path: &Path, dir: (u64, u64)) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, parent, flags, Mode::empty())?;
    if identity(parent.as_fd())? != dir {
        return Err(io::Error::other("its directory is another now"));
    }
    Ok(unlinkat(parent, name, AtFlags::empty())?)
}

fn identity(dir: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Scripts of one session at once: bounds what is remembered. Deployed operators
/// push one or two.
const MAX_SCRIPTS: usize = 256;
