//! A directory into which entries go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bmstools_proto::v2::message::files::Meta;
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;

use super::context::Context;
use super::sweep::sweep;
use crate::failure::{failure, of_errno};
use crate::journal::{LIFETIME, Note};
use crate::meta::hands_group_on;
use crate::name::{self, Shown};

/// An open directory. It lives as long as anything is under way in it; its owner,
/// mode and time are set when the last of that is done.
pub(crate) struct Folder {
    fd: OwnedFd,
    path: Vec<u8>,
    inherits: bool,
    meta: Option<Meta>,
    complete: AtomicBool,
    note: OnceLock<Option<Note>>,
    ctx: Arc<Context>,
    /// Dropped after this.
    _parent: Option<Arc<Folder>>,
}

impl Folder {
    /// The directory that is there for the root.
    pub(crate) fn outer(ctx: &Arc<Context>, fd: OwnedFd, path: Vec<u8>) -> Arc<Self> {
        sweep(&fd, LIFETIME);
        ctx.touch(fd.as_fd());
        Self::new(ctx, fd, path, None, None)
    }

    /// The directory `name` in this one, made where it is missing; says which.
    ///
    /// # Errors
    ///
    /// Where something else is there, or the file system's.
    pub(crate) fn enter(
        self: &Arc<Self>,
        name: &[u8],
        meta: Meta,
    ) -> Result<(Arc<Self>, bool), Failure> {
        let path = self.path_of(name);
        let made = match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(of_errno("make the directory", Shown(&path), error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => failure(
                FailureCode::Exists,
                format!("{} is there and is no directory: move it away first", Shown(&path)),
            ),
            error => of_errno("open the directory", Shown(&path), error),
        })?;
        if !made {
            sweep(&fd, LIFETIME);
        }
        self.ctx.touch(fd.as_fd());
        Ok((Self::new(&self.ctx, fd, path, Some(meta), Some(Arc::clone(self))), made))
    }

    fn new(
        ctx: &Arc<Context>,
        fd: OwnedFd,
        path: Vec<u8>,
        meta: Option<Meta>,
        parent: Option<Arc<Self>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inherits: hands_group_on(&fd),
            fd,
            path,
            meta,
            complete: AtomicBool::new(false),
            note: OnceLock::new(),
            ctx: Arc::clone(ctx),
            _parent: parent,
        })
    }

    /// The open directory.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The path of `name` in it, for people.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        name::join(&self.path, name)
    }

    /// Whether new files get its group.
    pub(crate) fn hands_group_on(&self) -> bool {
        self.inherits
    }

    /// The transfer.
    pub(crate) fn ctx(&self) -> &Arc<Context> {
        &self.ctx
    }

    /// Everything that belongs into it has been begun.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }

    /// An unfinished file is about to be made here.
    pub(crate) fn note(&self) {
        let journal = self.ctx.receiver.journal.as_ref();
        self.note.get_or_init(|| journal.and_then(|journal| journal.note(self.fd())));
    }

    /// Checks that a file may be put at `name`; whether one is there.
    ///
    /// # Errors
    ///
    /// Where what is there is neither a file nor a link.
    pub(crate) fn check_replaceable(&self, name: &[u8]) -> Result<bool, Failure> {
        let path = self.path_of(name);
        let stat = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(of_errno("look at", Shown(&path), error)),
        };
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink => return Ok(true),
            FileType::Directory => "a directory",
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        let message = format!("{} is {what}, which is not replaced by a file", Shown(&path));
        Err(failure(FailureCode::Exists, message))
    }

    /// The failure for a file that may not be replaced.
    pub(crate) fn exists(&self, name: &[u8]) -> Failure {
        let message =
            format!("{} exists and is not replaced (--no-clobber)", Shown(&self.path_of(name)));
        failure(FailureCode::Exists, message)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(meta) = self.meta.filter(|_| *self.complete.get_mut()) else { return };
        if let Err(error) = self.ctx.policy.set_dir(self.fd.as_fd(), &meta) {
            let failed = of_errno("set owner, mode and time of", Shown(&self.path), error);
            self.ctx.failed_late(failed);
        }
    }
}
