//! Owner, mode and times: read, checked, set.

use std::os::fd::{AsFd, BorrowedFd};

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::files::{Meta, PutOptions};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown,
    fstat, futimens, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::failure::violation;
use crate::owner;

/// What is sent of an inode.
pub(crate) fn of(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & PERMISSIONS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nsec: stat.st_mtime_nsec as u32,
    }
}

/// Whether the file of `stat` has this modification time.
pub(crate) fn same_time(stat: &Stat, meta: &Meta) -> bool {
    let of_file = of(stat);
    (of_file.mtime, of_file.mtime_nsec) == (meta.mtime, meta.mtime_nsec)
}

/// Checks what the peer sent: what system calls would take for something else.
///
/// # Errors
///
/// Where it makes no sense.
pub(crate) fn check(meta: &Meta) -> Result<(), Failure> {
    if meta.mode & !PERMISSIONS != 0
        || meta.uid == u32::MAX
        || meta.gid == u32::MAX
        || meta.mtime_nsec >= 1_000_000_000
    {
        return Err(violation("an impossible mode, owner or time"));
    }
    Ok(())
}

/// How a receiver sets owners and modes.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    own: (u32, u32),
}

impl Policy {
    /// As the options say.
    ///
    /// # Errors
    ///
    /// Where the user or the group does not exist.
    pub(crate) fn new(options: &PutOptions) -> Result<Self, Failure> {
        if options.mode.is_some_and(|mode| mode & !PERMISSIONS != 0) {
            return Err(violation("an impossible mode"));
        }
        Ok(Self {
            mode: options.mode,
            uid: options.user.as_ref().map(owner::user).transpose()?,
            gid: options.group.as_ref().map(owner::group).transpose()?,
            own: (geteuid().as_raw(), getegid().as_raw()),
        })
    }

    /// Sets everything on a file that this process has just made in a directory that
    /// hands its group on where `inherits` says so.
    pub(crate) fn set_new(
        &self,
        file: BorrowedFd<'_>,
        meta: &Meta,
        inherits: bool,
    ) -> Result<(), Errno> {
        let present = if inherits { None } else { Some(self.own) };
        self.set(file, meta, self.mode.unwrap_or(meta.mode), present)
    }

    /// Sets everything on a file.
    pub(crate) fn set_file(&self, file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
        self.set(file, meta, self.mode.unwrap_or(meta.mode), None)
    }

    /// Sets everything on a directory.
    pub(crate) fn set_dir(&self, dir: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
        self.set(dir, meta, meta.mode, None)
    }

    /// Sets owner and time of a symbolic link.
    pub(crate) fn set_link(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        meta: &Meta,
    ) -> Result<(), Errno> {
        let (uid, gid) = self.wanted(meta);
        let (to_uid, to_gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        self.forgive(chownat(dir, name, to_uid, to_gid, AtFlags::SYMLINK_NOFOLLOW))?;
        utimensat(dir, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set(
        &self,
        file: BorrowedFd<'_>,
        meta: &Meta,
        mut mode: u32,
        present: Option<(u32, u32)>,
    ) -> Result<(), Errno> {
        let present = match present {
            Some(present) => present,
            None => fstat(file).map(|stat| (stat.st_uid, stat.st_gid))?,
        };
        let wanted = self.wanted(meta);
        if wanted != present {
            let (uid, gid) = (Uid::from_raw(wanted.0), Gid::from_raw(wanted.1));
            if !self.forgive(fchown(file, Some(uid), Some(gid)))? {
                // These bits give the owner's rights: not another's than was meant.
                mode &= !SET_IDS;
            }
        }
        fchmod(file, Mode::from_raw_mode(mode))?;
        futimens(file, &times(meta))
    }

    fn wanted(&self, meta: &Meta) -> (u32, u32) {
        (self.uid.unwrap_or(meta.uid), self.gid.unwrap_or(meta.gid))
    }

    /// Whether an owner was set. That an ordinary user cannot is no error unless it
    /// was asked for.
    fn forgive(&self, result: Result<(), Errno>) -> Result<bool, Errno> {
        match result {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP)
                if self.uid.is_none() && self.gid.is_none() =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether files made in the directory `dir` get its group.
pub(crate) fn hands_group_on(dir: impl AsFd) -> bool {
    fstat(dir).is_ok_and(|stat| stat.st_mode & 0o2000 != 0)
}

fn times(meta: &Meta) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: meta.mtime, tv_nsec: meta.mtime_nsec.into() },
    }
}

const PERMISSIONS: u32 = 0o7777;
const SET_IDS: u32 = 0o6000;
