//! Files that come within a message.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::files::{MAX_INLINE, Meta};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fdatasync, fstat, ftruncate, linkat, openat, syncfs};
use rustix::io::{Errno, pwrite};
use rustix::process::{Resource, getrlimit};

use super::folder::Folder;
use super::partial::Partial;
use crate::digest::{self, Digest};
use crate::failure::of_errno;
use crate::meta;
use crate::name::Shown;

/// A name in a folder.
#[derive(Clone)]
pub(crate) struct Spot {
    /// Where.
    pub(crate) folder: Arc<Folder>,
    /// The name.
    pub(crate) name: Vec<u8>,
}

impl Spot {
    /// The whole path, for people.
    pub(crate) fn path(&self) -> Vec<u8> {
        self.folder.path_of(&self.name)
    }

    /// The failure for a system call on it.
    pub(crate) fn failed(&self, doing: &str, error: Errno) -> Failure {
        of_errno(doing, Shown(&self.path()), error)
    }
}

/// Puts small files in place. Those that replace others wait for the disk together.
pub(crate) struct Placer {
    waiting: Vec<Waiting>,
    bytes: usize,
    max_waiting: usize,
}

/// A file that is complete and will replace another.
struct Waiting {
    entry: u64,
    spot: Spot,
    file: Fresh,
    bytes: usize,
}

/// A file that has been written.
enum Fresh {
    Nameless(OwnedFd),
    Hidden(Partial),
}

impl Placer {
    /// Nothing waits yet.
    pub(crate) fn new() -> Self {
        // Each file that waits is open, and other transfers need files as well.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 16;
        let max_waiting = usize::try_from(limit).unwrap_or(usize::MAX).clamp(64, 1024);
        Self { waiting: Vec::new(), bytes: 0, max_waiting }
    }

    /// Writes a file. It may wait to be put in place; `finish` says what became of it.
    ///
    /// # Errors
    ///
    /// The file system's, or where something is there that is not replaced.
    pub(crate) fn put(
        &mut self,
        entry: u64,
        spot: Spot,
        meta: &Meta,
        data: &[u8],
        failed: &mut dyn FnMut(u64, Failure),
    ) -> Result<(), Failure> {
        let ctx = Arc::clone(spot.folder.ctx());
        let mut file = write(&spot, meta, data).map_err(|error| spot.failed("write", error))??;
        if ctx.single
            && let Err(error) = file.sync()
        {
            file.discard();
            return Err(spot.failed("write", error));
        }
        match file.put_new(&spot) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if let Err(failure) = may_replace(&spot, data) {
                    file.discard();
                    return Err(failure);
                }
                if ctx.no_clobber {
                    file.discard();
                } else {
                    self.wait(Waiting { entry, spot, file, bytes: data.len() }, failed);
                    return Ok(());
                }
            }
            Err(error) => {
                file.discard();
                return Err(spot.failed("put in place", error));
            }
        }
        ctx.arrived(data.len() as u64, 0);
        Ok(())
    }

    fn wait(&mut self, file: Waiting, failed: &mut dyn FnMut(u64, Failure)) {
        self.bytes += file.bytes;
        self.waiting.push(file);
        if self.waiting.len() >= self.max_waiting || self.bytes >= MAX_WAITING_BYTES {
            self.finish(failed);
        }
    }

    /// Puts all that wait in place.
    pub(crate) fn finish(&mut self, failed: &mut dyn FnMut(u64, Failure)) {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let mut synced = Vec::new();
        for Waiting { entry, spot, file, bytes } in waiting {
            let ready = if spot.folder.ctx().single { Ok(()) } else { file.sync_with(&mut synced) };
            match ready.and_then(|()| file.replace(&spot)) {
                Ok(()) => spot.folder.ctx().arrived(bytes as u64, 0),
                Err(error) => failed(entry, spot.failed("replace", error)),
            }
        }
    }
}

impl Fresh {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Nameless(file) => file.as_fd(),
            Self::Hidden(partial) => partial.file().as_fd(),
        }
    }

    fn sync(&self) -> Result<(), Errno> {
        fdatasync(self.fd())
    }

    /// Makes it safe, and all files of its file system with it: one wait for many.
    fn sync_with(&self, synced: &mut Vec<u64>) -> Result<(), Errno> {
        let device = fstat(self.fd())?.st_dev;
        if !synced.contains(&device) {
            syncfs(self.fd())?;
            synced.push(device);
        }
        Ok(())
    }

    fn discard(self) {
        if let Self::Hidden(partial) = self {
            partial.discard();
        }
    }

    fn put_new(&mut self, spot: &Spot) -> Result<(), Errno> {
        match self {
            Self::Nameless(file) => link(file, spot.folder.fd(), &spot.name),
            Self::Hidden(partial) => partial.put_in_place(false),
        }
    }

    fn replace(self, spot: &Spot) -> Result<(), Errno> {
        let mut partial = match self {
            Self::Hidden(partial) => partial,
            Self::Nameless(file) => {
                let folder = &spot.folder;
                Partial::adopt(folder, &spot.name, file, |file, hidden| {
                    link(file, folder.fd(), hidden)
                })?
            }
        };
        let result = partial.put_in_place(true);
        if result.is_err() {
            partial.discard();
        }
        result
    }
}

/// Whether the file that is there may be replaced by `data`, or need not be.
fn may_replace(spot: &Spot, data: &[u8]) -> Result<(), Failure> {
    let ctx = spot.folder.ctx();
    spot.folder.check_replaceable(&spot.name)?;
    let kept = ctx.no_clobber
        && !(ctx.identical_is_done && matches_digest(spot, data.len() as u64, &digest::of(data)));
    if kept { Err(spot.folder.exists(&spot.name)) } else { Ok(()) }
}

/// Writes a file that nobody sees yet.
fn write(spot: &Spot, meta: &Meta, data: &[u8]) -> Result<Result<Fresh, Failure>, Errno> {
    let ctx = spot.folder.ctx();
    let file = match nameless(spot)? {
        Some(file) => Fresh::Nameless(file),
        None => match Partial::open(&spot.folder, &spot.name) {
            Ok(partial) => {
                ftruncate(partial.file(), 0)?;
                Fresh::Hidden(partial)
            }
            Err(failure) => return Ok(Err(failure)),
        },
    };
    let written = write_all(file.fd(), data)
        .and_then(|()| ctx.policy.set_new(file.fd(), meta, spot.folder.hands_group_on()));
    if let Err(error) = written {
        file.discard();
        return Err(error);
    }
    Ok(Ok(file))
}

/// A file without a name, which leaves nothing even where this process is killed;
/// `None` where the file system has none.
fn nameless(spot: &Spot) -> Result<Option<OwnedFd>, Errno> {
    let ctx = spot.folder.ctx();
    if ctx.names_only.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(spot.folder.fd(), ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(Some(file)),
        // How kernels and file systems without it say so (open(2)).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
            ctx.names_only.store(true, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Gives a file without a name one.
fn link(file: &OwnedFd, dir: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    match linkat(file, "", dir, name, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH, proc is the way.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

pub(crate) fn write_all(file: std::os::fd::BorrowedFd<'_>, data: &[u8]) -> Result<(), Errno> {
    write_all_at(file, data, 0)
}

/// Writes all of `data` at `offset`.
pub(crate) fn write_all_at(
    file: std::os::fd::BorrowedFd<'_>,
    mut data: &[u8],
    mut offset: u64,
) -> Result<(), Errno> {
    while !data.is_empty() {
        match pwrite(file, data, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => {
                data = data.get(n..).unwrap_or_default();
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a small file is there and has this size and digest.
pub(crate) fn matches_digest(spot: &Spot, size: u64, digest: &Digest) -> bool {
    open_present(spot, size).is_some_and(|file| holds(&file, size, digest))
}

/// Gives the file that is there the owner, mode and time of the one that was sent,
/// where it has its size and digest; whether it has.
///
/// # Errors
///
/// The file system's.
pub(crate) fn take_present(
    spot: &Spot,
    meta: &Meta,
    size: u64,
    digest: &Digest,
) -> Result<bool, Errno> {
    let Some(file) = open_present(spot, size) else { return Ok(false) };
    // Another name of the inode would be changed as well.
    if fstat(&file)?.st_nlink != 1 || !holds(&file, size, digest) {
        return Ok(false);
    }
    spot.folder.ctx().policy.set_file(file.as_fd(), meta)?;
    Ok(true)
}

/// The regular file that is there, where it has this size.
pub(crate) fn open_present(spot: &Spot, size: u64) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(spot.folder.fd(), &spot.name, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    (regular && u64::try_from(stat.st_size) == Ok(size)).then_some(file)
}

fn holds(file: &OwnedFd, size: u64, digest: &Digest) -> bool {
    size <= MAX_INLINE as u64
        && digest::read(file, 0, size, &mut Vec::new()).is_ok_and(|present| present == *digest)
}

/// Whether a large file of this size and time is there, and its digest.
pub(crate) fn digest_present(spot: &Spot, size: u64, meta: &Meta) -> Option<Digest> {
    let file = open_present(spot, size)?;
    let stat = fstat(&file).ok()?;
    if stat.st_nlink != 1 || !meta::same_time(&stat, meta) {
        return None;
    }
    digest::read_whole(&file, size).ok()
}

/// Bytes of files that wait for the disk together at most.
const MAX_WAITING_BYTES: usize = 16 << 20;
