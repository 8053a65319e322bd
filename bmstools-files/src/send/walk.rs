//! Everything in a directory, directories before what is in them.

use std::os::fd::{BorrowedFd, OwnedFd};

use bmstools_proto::v2::message::files::MAX_DEPTH;
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::failure::{failure, of_errno};
use crate::name::{self, Shown};

/// A walk through a tree. It holds one open directory for each level.
pub(crate) struct Walk {
    levels: Vec<Level>,
    /// Below the root.
    path: Vec<u8>,
    root: Vec<u8>,
}

struct Level {
    dir: Dir,
    /// Bytes of the path up to this directory.
    path_len: usize,
}

/// A step of a walk.
pub(crate) enum Step {
    /// Into a directory.
    Enter(Vec<u8>, Stat),
    /// Out of it.
    Leave,
    /// Something else.
    Found(Vec<u8>, Stat),
    /// Something that cannot be looked at.
    Failed(Failure),
}

impl Walk {
    /// Through the open directory `root`, called `path`.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub(crate) fn new(root: BorrowedFd<'_>, path: &[u8]) -> Result<Self, Failure> {
        let dir = Dir::read_from(root)
            .map_err(|error| of_errno("read the directory", Shown(path), error))?;
        Ok(Self { levels: vec![Level { dir, path_len: 0 }], path: Vec::new(), root: path.to_vec() })
    }

    /// The next step; `None` behind the root's end.
    pub(crate) fn next(&mut self) -> Option<Step> {
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            match level.dir.read() {
                None => {
                    self.levels.pop();
                    return Some(Step::Leave);
                }
                Some(Err(error)) => {
                    // The rest of it is out of reach.
                    let failed = self.failed("read the directory", b"", error);
                    level_over(&mut self.levels);
                    return Some(Step::Failed(failed));
                }
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        return Some(self.look(name.to_vec()));
                    }
                }
            }
        }
    }

    fn look(&mut self, name: Vec<u8>) -> Step {
        let result = self.dir().and_then(|dir| {
            let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
            if is_dir { Ok((Some(open_dir(dir, &name)?), stat)) } else { Ok((None, stat)) }
        });
        match result {
            Err(error) => Step::Failed(self.failed("read", &name, error)),
            Ok((None, stat)) => Step::Found(name, stat),
            Ok((Some(_), _)) if self.levels.len() >= MAX_DEPTH => {
                let path = self.path_of(&name);
                let message = format!(
                    "{}: more than {MAX_DEPTH} directories within each other",
                    Shown(&path)
                );
                Step::Failed(failure(FailureCode::Unsupported, message))
            }
            Ok((Some(fd), _)) => self.enter(name, fd),
        }
    }

    fn enter(&mut self, name: Vec<u8>, fd: OwnedFd) -> Step {
        // What was opened, in case another was put in its place.
        match fstat(&fd).and_then(|stat| Ok((stat, Dir::new(fd)?))) {
            Ok((stat, dir)) => {
                self.path = name::join(&self.path, &name);
                self.levels.push(Level { dir, path_len: self.path.len() });
                Step::Enter(name, stat)
            }
            Err(error) => Step::Failed(self.failed("read the directory", &name, error)),
        }
    }

    /// The directory that the walk is in.
    ///
    /// # Errors
    ///
    /// Behind the end.
    pub(crate) fn dir(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.levels.last().ok_or(Errno::NOENT)?.dir.fd()
    }

    /// The path below the root of `name` in the present directory.
    pub(crate) fn below(&self, name: &[u8]) -> Vec<u8> {
        name::join(&self.path, name)
    }

    /// The same with the root's path.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        name::join(&self.root, &self.below(name))
    }

    /// The failure for a system call on `name`.
    pub(crate) fn failed(&self, doing: &str, name: &[u8], error: Errno) -> Failure {
        read_failure(doing, &self.path_of(name), error)
    }
}

/// Makes the innermost directory end with its next step.
fn level_over(levels: &mut [Level]) {
    if let Some(level) = levels.last_mut() {
        while level.dir.read().is_some_and(|entry| entry.is_ok()) {}
    }
}

fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// The failure for something that cannot be read.
pub(crate) fn read_failure(doing: &str, path: &[u8], error: Errno) -> Failure {
    match error {
        Errno::NOENT => {
            let message = format!("{} has vanished", Shown(path));
            failure(FailureCode::NotFound, message)
        }
        error => of_errno(doing, Shown(path), error),
    }
}
