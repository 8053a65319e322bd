//! A file that has no name until it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rand::Rng as _;
use rand::distributions::Alphanumeric;
use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, RenameFlags, fchmod, fdatasync, flock, fstat,
    fsync, linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

/// A file that nobody sees yet. Dropping it leaves nothing.
pub(crate) struct Temporary {
    file: File,
    /// Its hidden name, on file systems without anonymous files and for the
    /// moment in which it replaces another.
    hidden: Option<Hidden>,
}

/// A hidden name; removed when dropped.
struct Hidden {
    dir: OwnedFd,
    name: OsString,
}

impl Temporary {
    /// A file that can be put at `name` in `dir`: anonymous where the file system
    /// can do that, so that even a killed agent leaves nothing.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub(crate) fn create(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(dir, ".", flags, MODE) {
            Ok(file) => {
                fchmod(&file, MODE)?;
                Ok(Self { file: file.into(), hidden: None })
            }
            // How kernels and file systems without it say so (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                Self::create_hidden(dir, name)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A file with a hidden name. It is locked for as long as it is in use: what
    /// a killed agent left is not, and is removed here.
    pub(crate) fn create_hidden(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        remove_leftovers(dir);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        loop {
            let hidden = hidden_name(name);
            let file = match openat(dir, &hidden, flags, MODE) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            let hidden = Hidden { dir: dir.try_clone_to_owned()?, name: hidden };
            flock(&file, FlockOperation::LockExclusive)?;
            if fstat(&file)?.st_nlink == 0 {
                // Taken for a leftover before it was locked.
                continue;
            }
            fchmod(&file, MODE)?;
            return Ok(Self { file: file.into(), hidden: Some(hidden) });
        }
    }

    /// Appends `data`.
    ///
    /// # Errors
    ///
    /// The file system's: no space left, a quota, a broken disk.
    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }

    /// Makes the data safe and gives the file its name, in place of what is there
    /// where `replace` says so.
    ///
    /// # Errors
    ///
    /// `EEXIST` where something is there that may not be replaced, or the file
    /// system's; then nothing is left and what was there is untouched.
    pub(crate) fn put_in_place(
        mut self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        replace: bool,
    ) -> io::Result<()> {
        fdatasync(&self.file)?;
        if self.hidden.is_none() && !replace {
            link(&self.file, dir, name)?;
        } else {
            self.rename(dir, name, replace)?;
        }
        // So that the name is safe too. Some file systems cannot; the data is.
        let _ = fsync(dir);
        Ok(())
    }

    fn rename(&mut self, dir: BorrowedFd<'_>, name: &OsStr, replace: bool) -> io::Result<()> {
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => link_hidden(&self.file, dir, name)?,
        };
        if replace {
            renameat(dir, &hidden.name, dir, name)?;
        } else {
            rename_no_replace(dir, &hidden.name, name)?;
        }
        hidden.forget();
        Ok(())
    }
}

impl Hidden {
    /// The name is gone already.
    fn forget(mut self) {
        self.name.clear();
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Nothing to be done about an error: the next push removes it.
            let _ = unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

/// Gives an anonymous file a name.
fn link(file: &File, dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    match linkat(file.as_fd(), "", dir, name, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH, proc is the way.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

/// Gives an anonymous file a hidden name.
fn link_hidden(file: &File, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Hidden> {
    flock(file, FlockOperation::LockExclusive)?;
    loop {
        let hidden = hidden_name(name);
        match link(file, dir, &hidden) {
            Ok(()) => return Ok(Hidden { dir: dir.try_clone_to_owned()?, name: hidden }),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn rename_no_replace(dir: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> rustix::io::Result<()> {
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

/// A name that no listing shows by default, and that tells whose it is.
fn hidden_name(name: &OsStr) -> OsString {
    let mut hidden = b".".to_vec();
    // File names have at most 255 bytes.
    hidden.extend(name.as_bytes().iter().take(200));
    hidden.extend(MARK);
    hidden.extend(rand::thread_rng().sample_iter(Alphanumeric).take(SUFFIX_LEN));
    OsString::from_vec(hidden)
}

fn is_hidden_name(name: &[u8]) -> bool {
    let stem = name.split_at_checked(name.len().saturating_sub(SUFFIX_LEN)).map(|(stem, _)| stem);
    name.starts_with(b".") && stem.is_some_and(|stem| stem.ends_with(MARK))
}

/// Removes hidden files in `dir` that nobody has locked: their agent was killed.
fn remove_leftovers(dir: BorrowedFd<'_>) {
    let Ok(entries) = Dir::read_from(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_hidden_name(name.to_bytes()) {
            continue;
        }
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(dir, name, flags, Mode::empty()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
    }
}

const MODE: Mode = Mode::from_bits_truncate(0o644);
const MARK: &[u8] = b".bmstools-";
const SUFFIX_LEN: usize = 8;
