//! One-shot scripts, and which session each belongs to.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

/// The one-shot scripts of all sessions.
///
/// A script goes when its session ends, unless another session has pushed one
/// to the same path since: then it is that one's.
#[derive(Default)]
pub(crate) struct Scripts {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    owners: HashMap<PathBuf, u64>,
    next: u64,
}

/// A session's share of the scripts. Removes them when dropped.
pub(crate) struct Owner {
    scripts: Arc<Scripts>,
    number: u64,
}

impl Scripts {
    /// A session that has none yet.
    pub(crate) fn owner(self: &Arc<Self>) -> Owner {
        let mut inner = self.lock();
        inner.next += 1;
        Owner { number: inner.next, scripts: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    /// Whether the session may push one more.
    pub(crate) fn has_room(&self) -> bool {
        let inner = self.scripts.lock();
        inner.owners.values().filter(|owner| **owner == self.number).count() < MAX_SCRIPTS
    }

    /// Makes the script at `path` this session's.
    pub(crate) fn own(&self, path: &Path) {
        self.scripts.lock().owners.insert(path.to_owned(), self.number);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Removed under the lock: what another session puts there next is its own.
        let mut inner = self.scripts.lock();
        for (path, _) in inner.owners.extract_if(|_, owner| *owner == self.number) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    warn!(path = %path.display(), %error, "cannot remove a one-shot script");
                }
                _ => {}
            }
        }
    }
}

/// Scripts of one session at once: bounds what is remembered. Deployed operators
/// push one or two.
const MAX_SCRIPTS: usize = 256;
