//! What is to be sent.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bmstools_proto::v2::message::files::Offer;
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use super::walk::{Step, Walk};
use crate::failure::{failure, of_errno};
use crate::name;

/// A file or a directory that is open.
#[derive(Debug)]
pub struct Source {
    pub(crate) file: OwnedFd,
    pub(crate) stat: Stat,
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
    offer: Offer,
}

impl Source {
    /// Opens what is at `path`, a link's target included, and counts what is in it.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, is neither file nor directory, or is a directory and
    /// `recursive` does not allow that.
    pub fn open(path: &Path, recursive: bool) -> Result<Self, Failure> {
        let shown = path.display();
        // A pipe would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty()).and_then(|file| {
            let stat = fstat(&file)?;
            Ok((file, stat))
        });
        let (file, stat) = opened.map_err(|error| match error {
            Errno::NOENT => failure(FailureCode::NotFound, format!("{shown} does not exist")),
            // A socket.
            Errno::NXIO => refused(path, "is not a regular file"),
            error => of_errno("read", shown, error),
        })?;
        let directory = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::Directory if recursive => true,
            FileType::Directory => {
                return Err(refused(path, "is a directory: -r copies it with all in it"));
            }
            _ => return Err(refused(path, "is not a regular file")),
        };
        let offer = count(&file, &stat, path, directory)?;
        Ok(Self { file, stat, path: path.to_owned(), directory, offer })
    }

    /// What is told about it before anything is sent.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The path as bytes.
    pub(crate) fn path(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}

fn refused(path: &Path, why: &str) -> Failure {
    failure(FailureCode::Invalid, format!("{} {why}", path.display()))
}

fn count(file: &OwnedFd, stat: &Stat, path: &Path, directory: bool) -> Result<Offer, Failure> {
    let bytes = path.as_os_str().as_bytes();
    let mut offer = Offer { name: own_name(path), directory, bytes: 0, space: 0, entries: 1 };
    if !directory {
        offer.bytes = u64::try_from(stat.st_size).unwrap_or(0);
        offer.space = needed(stat);
        return Ok(offer);
    }
    let mut walk = Walk::new(file.as_fd(), bytes)?;
    while let Some(step) = walk.next() {
        match step {
            Step::Enter(..) => {
                offer.entries += 1;
                offer.space += BLOCK;
            }
            Step::Found(_, stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                offer.entries += u64::from(kind.is_file() || kind.is_symlink());
                if kind.is_file() {
                    let size = u64::try_from(stat.st_size).unwrap_or(0);
                    offer.bytes = offer.bytes.saturating_add(size);
                    offer.space = offer.space.saturating_add(needed(&stat));
                }
            }
            Step::Leave => {}
            // Told when it is come to.
            Step::Failed(_) => {}
        }
    }
    Ok(offer)
}

/// The name that a copy gets: the last component, of the real path where the given
/// one has none.
fn own_name(path: &Path) -> Vec<u8> {
    let name = name::last(path.as_os_str().as_bytes());
    if !name.is_empty() {
        return name.to_vec();
    }
    let real = path.canonicalize().unwrap_or_default();
    name::last(real.as_os_str().as_bytes()).to_vec()
}

/// Bytes that a file takes on the disk.
pub(crate) fn space_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// Bytes that a copy of the file will take: holes none, and otherwise whole blocks,
/// also where the source's file system packs them better.
fn needed(stat: &Stat) -> u64 {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let whole = size.div_ceil(BLOCK).saturating_mul(BLOCK);
    // Without a block, a file of this size is compressed or made up on reading.
    let space = space_of(stat);
    if space == 0 && size <= BLOCK { whole } else { space.min(whole) }
}

/// Bytes that the files of a directory take; stops counting at `enough`.
pub(crate) fn space_of_tree(root: BorrowedFd<'_>, enough: u64) -> u64 {
    let Ok(mut walk) = Walk::new(root, b"") else { return 0 };
    let mut space = 0_u64;
    while let Some(step) = walk.next() {
        if let Step::Found(_, stat) = step {
            space = space.saturating_add(space_of(&stat));
        }
        if space >= enough {
            break;
        }
    }
    space
}

/// What most file systems give out at a time.
const BLOCK: u64 = 4096;
