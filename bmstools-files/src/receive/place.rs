//! Where the root of a transfer goes.

use std::os::fd::{AsFd as _, OwnedFd};

use bmstools_proto::v2::message::files::{Offer, PutOptions};
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, stat, statat};
use rustix::io::Errno;

use super::sweep::hidden_name;
use crate::failure::{failure, of_errno};
use crate::name::{self, Shown};

/// A name in a directory.
pub(crate) struct Place {
    /// The directory, which is there.
    pub(crate) parent: OwnedFd,
    /// Its path, for people.
    pub(crate) parent_path: Vec<u8>,
    /// The root's name in it.
    pub(crate) name: Vec<u8>,
    /// The whole path.
    pub(crate) path: Vec<u8>,
    /// The root is a directory.
    pub(crate) directory: bool,
    /// Something is there.
    pub(crate) exists: bool,
    /// In a root that is not there yet, or that an earlier attempt made: the hidden
    /// file that tells this attempt's root from a directory that was there before.
    pub(crate) marker: Option<Vec<u8>>,
}

/// Where `offer` goes that is sent to `destination`:
///
/// - a file becomes `destination`, or a file of its own name in it where that ends in
///   a slash;
/// - a directory becomes `destination` where that does not exist, and otherwise a
///   directory of its own name in it.
///
/// # Errors
///
/// Where it cannot go there.
pub(crate) fn resolve(
    destination: &[u8],
    offer: &Offer,
    options: &PutOptions,
) -> Result<Place, Failure> {
    if destination.is_empty() || destination.contains(&0) {
        return Err(failure(FailureCode::Invalid, "the destination is no path"));
    }
    let shown = Shown(destination);
    let is_there = match stat(destination) {
        Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT | Errno::NOTDIR) => None,
        Err(error) => return Err(of_errno("use", shown, error)),
    };
    let place = match (is_there, offer.directory) {
        (Some(FileType::Directory), true) if !is_resumable(destination, &offer.name) => {
            Place::within(destination, offer)?
        }
        (Some(FileType::Directory), false) if !names_directory(destination) => {
            let message = format!(
                "{shown} is a directory: end the path with a slash to put `{}` into it",
                Shown(&offer.name)
            );
            return Err(failure(FailureCode::Exists, message));
        }
        (Some(FileType::Directory), false) => Place::within(destination, offer)?,
        (None, false) if names_directory(destination) => {
            let message = format!("the directory {shown} does not exist");
            return Err(failure(FailureCode::NotFound, message));
        }
        _ => Place::at(destination, offer)?,
    };
    place.checked(options)
}

impl Place {
    /// In the directory `destination`, under the offer's name.
    fn within(destination: &[u8], offer: &Offer) -> Result<Self, Failure> {
        if offer.name.is_empty() {
            let message = format!(
                "{} exists and the source has no name to get in it: give a path that does not exist",
                Shown(destination)
            );
            return Err(failure(FailureCode::Invalid, message));
        }
        Self::new(destination, &offer.name, offer, None)
    }

    /// Exactly at `destination`.
    fn at(destination: &[u8], offer: &Offer) -> Result<Self, Failure> {
        let end = destination.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
        let trimmed = destination.get(..end).unwrap_or_default();
        let split = trimmed.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
        let (parent, base) = trimmed.split_at(split);
        let parent = if parent.is_empty() { b"." } else { parent };
        let marker = offer.directory.then(|| marker(&offer.name));
        Self::new(parent, base, offer, marker)
    }

    fn new(
        parent: &[u8],
        base: &[u8],
        offer: &Offer,
        marker: Option<Vec<u8>>,
    ) -> Result<Self, Failure> {
        name::check(base)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Its last slash is nothing to people.
        let shown = match parent.strip_suffix(b"/") {
            Some(stripped) if !stripped.is_empty() => Shown(stripped),
            _ => Shown(parent),
        };
        let fd = openat(CWD, parent, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => {
                failure(FailureCode::NotFound, format!("the directory {shown} does not exist"))
            }
            Errno::NOTDIR => failure(FailureCode::Invalid, format!("{shown} is not a directory")),
            error => of_errno("open the directory", shown, error),
        })?;
        let dot = parent == b".";
        Ok(Self {
            parent: fd,
            path: if dot { base.to_vec() } else { name::join(parent, base) },
            parent_path: if dot { Vec::new() } else { parent.to_vec() },
            name: base.to_vec(),
            directory: offer.directory,
            exists: false,
            marker,
        })
    }

    fn checked(mut self, options: &PutOptions) -> Result<Self, Failure> {
        let shown = Shown(&self.path);
        let there = match statat(self.parent.as_fd(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(self),
            Err(error) => return Err(of_errno("look at", shown, error)),
        };
        let refused = match (there, self.directory) {
            (FileType::Directory, true) => None,
            (_, true) => Some(format!("{shown} is there and is no directory")),
            (FileType::Directory, false) => Some(format!("{shown} is a directory")),
            (FileType::RegularFile | FileType::Symlink, false) => {
                let refuse = options.no_clobber && !options.again;
                refuse.then(|| format!("{shown} exists and is not replaced (--no-clobber)"))
            }
            _ => Some(format!("{shown} is a device, pipe or socket, which is not replaced")),
        };
        match refused {
            Some(message) => Err(failure(FailureCode::Exists, message)),
            None => {
                self.exists = true;
                Ok(self)
            }
        }
    }
}

/// Whether an earlier attempt to send a directory of this name made `destination` and
/// did not come to its end.
fn is_resumable(destination: &[u8], name: &[u8]) -> bool {
    stat(name::join(destination, &marker(name))).is_ok()
}

/// The name of the file that marks the root of an unfinished transfer.
fn marker(name: &[u8]) -> Vec<u8> {
    hidden_name(&[b"tree ", name].concat())
}

/// Whether `path` can only name a directory.
fn names_directory(path: &[u8]) -> bool {
    matches!(path.rsplit(|&byte| byte == b'/').next(), Some(b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::*;

    fn offer(name: &str, directory: bool) -> Offer {
        Offer { name: name.into(), directory, bytes: 0, space: 0, entries: 1 }
    }

    fn at(destination: &Path, slash: &str, offer: &Offer) -> Result<Vec<u8>, FailureCode> {
        let destination = [destination.as_os_str().as_bytes(), slash.as_bytes()].concat();
        match resolve(&destination, offer, &PutOptions::default()) {
            Ok(place) => Ok(place.path),
            Err(failure) => Err(failure.code),
        }
    }

    #[test]
    fn a_file_goes_into_a_directory_only_behind_a_slash() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = offer("name", false);
        assert_eq!(at(&dir.path().join("new"), "", &file).unwrap(), bytes(&dir.path().join("new")));
        assert_eq!(at(&inner, "/", &file).unwrap(), bytes(&inner.join("name")));
        assert_eq!(at(&inner, "", &file), Err(FailureCode::Exists));
        assert_eq!(at(&dir.path().join("none"), "/", &file), Err(FailureCode::NotFound));
        assert_eq!(at(&dir.path().join("none/new"), "", &file), Err(FailureCode::NotFound));
        fs::create_dir(inner.join("name")).unwrap();
        assert_eq!(at(&inner, "/", &file), Err(FailureCode::Exists));
    }

    #[test]
    fn a_directory_becomes_a_new_path_or_goes_into_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let tree = offer("tree", true);
        let new = dir.path().join("new");
        for slash in ["", "/"] {
            assert_eq!(at(&new, slash, &tree).unwrap(), bytes(&new));
            assert_eq!(at(dir.path(), slash, &tree).unwrap(), bytes(&dir.path().join("tree")));
        }
        fs::write(&new, b"file").unwrap();
        assert_eq!(at(&new, "", &tree), Err(FailureCode::Exists));
        assert_eq!(at(dir.path(), "", &offer("", true)), Err(FailureCode::Invalid));
    }

    #[test]
    fn the_root_of_an_unfinished_attempt_is_taken_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(&marker(b"tree"))), b"").unwrap();
        assert_eq!(at(&root, "", &offer("tree", true)).unwrap(), bytes(&root));
        assert_eq!(at(&root, "", &offer("other", true)).unwrap(), bytes(&root.join("other")));
    }

    #[test]
    fn devices_are_not_replaced() {
        assert_eq!(at(Path::new("/dev/null"), "", &offer("x", false)), Err(FailureCode::Exists));
    }

    fn bytes(path: &Path) -> Vec<u8> {
        path.as_os_str().as_bytes().to_vec()
    }
}
