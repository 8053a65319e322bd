//! Where a pushed file shall be.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bmstools_proto::response::{Code, Response};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// A path at which a file may be put: its directory is there and open.
pub(crate) struct Target {
    path: PathBuf,
    dir: OwnedFd,
    name: OsString,
}

impl Target {
    /// The target at `path`, as it came from the operator.
    ///
    /// # Errors
    ///
    /// The response for a path at which no file may be put.
    pub(crate) fn new(path: &[u8]) -> Result<Self, Response> {
        let refuse = |cause: fmt::Arguments<'_>| {
            Err(Response::error(Code::ParameterError, cause.to_string()))
        };
        if path.is_empty() {
            return refuse(format_args!("the path is empty"));
        }
        if path.contains(&0) {
            return refuse(format_args!("the path contains a zero byte"));
        }
        let text = Path::new(OsStr::from_bytes(path));
        let shown = text.display();
        if text.is_relative() {
            return refuse(format_args!("the path {shown} is relative; give an absolute one"));
        }
        let (Some(name), Some(parent)) = (text.file_name(), text.parent()) else {
            return refuse(format_args!("{shown} is a directory"));
        };
        if !path.ends_with(name.as_bytes()) {
            return refuse(format_args!("{shown} names a directory"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = match openat(CWD, parent, flags, Mode::empty()) {
            Ok(dir) => Self { path: text.to_owned(), dir, name: name.to_owned() },
            Err(Errno::NOENT) => {
                return refuse(format_args!("the directory {} does not exist", parent.display()));
            }
            Err(Errno::NOTDIR) => {
                return refuse(format_args!("{} is not a directory", parent.display()));
            }
            Err(error @ (Errno::NAMETOOLONG | Errno::LOOP)) => {
                return refuse(format_args!("{shown}: {error}"));
            }
            Err(error) => {
                let cause = format!("cannot open the directory {}: {error}", parent.display());
                return Err(Response::error(Code::UnknownError, cause));
            }
        };
        target.check_free()?;
        Ok(target)
    }

    /// Refuses what is there already, unless it may be replaced.
    fn check_free(&self) -> Result<(), Response> {
        let cause = match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failure("cannot create", error.into())),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                format!("{self} is a directory")
            }
            Ok(_) if self.is_script() => return Ok(()),
            Ok(_) => exists(self),
        };
        Err(Response::error(Code::ParameterError, cause))
    }

    /// Whether this is a one-shot script: replaced by the next, and removed when
    /// its session ends (the protocol's rule for such a path).
    pub(crate) fn is_script(&self) -> bool {
        let path = self.path.as_os_str().as_bytes();
        path.windows(SCRIPT_MARK.len()).any(|part| part == SCRIPT_MARK)
    }

    /// The directory of the file.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The file's name in its directory.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// The whole path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The response for `error`, which happened while `doing` this.
    pub(crate) fn failure(&self, doing: &str, error: std::io::Error) -> Response {
        match Errno::from_io_error(&error) {
            Some(Errno::EXIST) => Response::error(Code::ParameterError, exists(self)),
            Some(Errno::ISDIR) => {
                Response::error(Code::ParameterError, format!("{self} is a directory"))
            }
            Some(Errno::NAMETOOLONG) => {
                Response::error(Code::ParameterError, format!("{doing} {self}: {error}"))
            }
            _ => Response::error(Code::UnknownError, format!("{doing} {self}: {error}")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

fn exists(target: &Target) -> String {
    format!("{target} exists already; only one-shot scripts (__cds_bms_tools) are replaced")
}

const SCRIPT_MARK: &[u8] = b"__cds_bms_tools";
