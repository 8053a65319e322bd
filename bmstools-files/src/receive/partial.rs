//! A file that arrives: hidden, locked, and found again by the next attempt.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Stat, flock, fstat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::context::Stop;
use super::folder::Folder;
use super::sweep::{hidden_name, is_ours};
use crate::failure::{TransferError, failure, of_errno};
use crate::name::Shown;

/// A file under its hidden name. Dropped before it is put in place, it stays for the
/// next attempt, or goes where the transfer leaves nothing.
pub(crate) struct Partial {
    folder: Arc<Folder>,
    target: Vec<u8>,
    hidden: Vec<u8>,
    /// Shared with writes under way.
    file: Arc<OwnedFd>,
    named: bool,
    _claim: Claim,
}

impl Partial {
    /// The hidden file for `target`, as a previous attempt left it where one did. Blocks:
    /// an attempt of the same operator that has not noticed its end is ended first.
    ///
    /// # Errors
    ///
    /// Where somebody else writes it, or the file system's.
    pub(crate) fn open(folder: &Arc<Folder>, target: &[u8]) -> Result<Self, Failure> {
        Self::open_hidden(folder, target, hidden_name(target))
    }

    /// The same with this hidden name.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn open_hidden(
        folder: &Arc<Folder>,
        target: &[u8],
        hidden: Vec<u8>,
    ) -> Result<Self, Failure> {
        folder.note();
        let path = folder.path_of(target);
        let until = Instant::now() + PATIENCE;
        loop {
            let file = open_or_make(folder.fd(), &hidden)
                .map_err(|error| of_errno("write", Shown(&path), error))?;
            match lock(folder.fd(), &hidden, &file) {
                Ok(Some(stat)) => {
                    let claim = Claim::new(&stat, folder);
                    return Ok(Self {
                        folder: Arc::clone(folder),
                        target: target.to_vec(),
                        hidden,
                        file: Arc::new(file),
                        named: true,
                        _claim: claim,
                    });
                }
                Ok(None) => {}
                Err(Errno::AGAIN) => {
                    let stat = fstat(&file).map_err(|e| of_errno("write", Shown(&path), e))?;
                    if !end_other(&stat, &folder.ctx().receiver.who) || Instant::now() > until {
                        let message =
                            format!("another transfer is writing {} right now", Shown(&path));
                        return Err(failure(FailureCode::Denied, message));
                    }
                    sleep(RETRY);
                }
                Err(error) => return Err(of_errno("lock", Shown(&path), error)),
            }
        }
    }

    /// A file without a name that gets the hidden one from `link`, to be put in place
    /// at once.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub(crate) fn adopt(
        folder: &Arc<Folder>,
        target: &[u8],
        file: OwnedFd,
        link: impl Fn(&OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<Self, Errno> {
        folder.note();
        let hidden = hidden_name(target);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = fstat(&file)?;
        while let Err(error) = link(&file, &hidden) {
            if error != Errno::EXIST {
                return Err(error);
            }
            // What an earlier attempt left, with a larger file of this name.
            unlinkat(folder.fd(), &hidden, AtFlags::empty())?;
        }
        Ok(Self {
            folder: Arc::clone(folder),
            target: target.to_vec(),
            hidden,
            file: Arc::new(file),
            named: true,
            _claim: Claim::new(&stat, folder),
        })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Removes it.
    pub(crate) fn discard(mut self) {
        self.remove();
    }

    /// Removes the name; the file may be in use.
    pub(crate) fn remove(&mut self) {
        if self.named {
            self.named = false;
            // Nothing to be done about an error: it is swept later.
            let _ = unlinkat(self.folder.fd(), &self.hidden, AtFlags::empty());
        }
    }

    /// Gives the file its name, in place of what is there where `replace` says so.
    ///
    /// # Errors
    ///
    /// `EXIST` where something is there, or the file system's; then it stays hidden.
    pub(crate) fn put_in_place(&mut self, replace: bool) -> Result<(), Errno> {
        let dir = self.folder.fd();
        if replace {
            renameat(dir, &self.hidden, dir, &self.target)?;
        } else {
            rename_no_replace(dir, &self.hidden, &self.target)?;
        }
        self.named = false;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.folder.ctx().discards() {
            self.remove();
        }
    }
}

fn open_or_make(dir: BorrowedFd<'_>, hidden: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loop {
        match openat(dir, hidden, flags, Mode::empty()) {
            Ok(file) if is_ours(&fstat(&file)?) => return Ok(file),
            // Made by somebody else, who may still hold it open.
            Ok(_) | Err(Errno::LOOP | Errno::ACCESS | Errno::NXIO) => {
                unlinkat(dir, hidden, AtFlags::empty())?;
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let make = flags | OFlags::CREATE | OFlags::EXCL;
        match openat(dir, hidden, make, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

/// Locks the file; `None` where its name went to another meanwhile.
fn lock(dir: BorrowedFd<'_>, hidden: &[u8], file: &OwnedFd) -> Result<Option<Stat>, Errno> {
    flock(file, FlockOperation::NonBlockingLockExclusive)?;
    let stat = fstat(file)?;
    let named = match statat(dir, hidden, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => named,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(((named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino)).then_some(stat))
}

/// Renames unless something is there.
pub(crate) fn rename_no_replace(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        // The file system cannot do it in one step: the closest there is.
        Err(Errno::INVAL | Errno::NOSYS) => match statat(dir, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => renameat(dir, from, dir, to),
            Err(error) => Err(error),
        },
        result => result,
    }
}

/// Files that transfers of this process have locked.
static CLAIMS: Mutex<Vec<Claimed>> = Mutex::new(Vec::new());

struct Claimed {
    file: (u64, u64),
    who: Arc<[u8]>,
    stop: Arc<Stop>,
}

/// This process has the file locked.
struct Claim {
    file: (u64, u64),
}

impl Claim {
    fn new(stat: &Stat, folder: &Folder) -> Self {
        let file = (stat.st_dev, stat.st_ino);
        let ctx = folder.ctx();
        let stop = Arc::clone(&ctx.stop);
        claims().push(Claimed { file, who: Arc::clone(&ctx.receiver.who), stop });
        Self { file }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        claims().retain(|claimed| claimed.file != self.file);
    }
}

/// Tells the transfer that has the file locked to end, where it is the same operator's
/// in this process, or is just ending.
fn end_other(stat: &Stat, who: &[u8]) -> bool {
    match claims().iter().find(|claimed| claimed.file == (stat.st_dev, stat.st_ino)) {
        Some(claimed) if *claimed.who == *who => {
            claimed.stop.with(TransferError::TakenOver);
            true
        }
        Some(_) => false,
        // Of another process, or its last writes are under way.
        None => true,
    }
}

fn claims() -> MutexGuard<'static, Vec<Claimed>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the end of a transfer that was told to end is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);
