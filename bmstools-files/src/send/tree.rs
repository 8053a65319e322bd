//! The source as messages, made on a thread that may block.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::files::{
    Check, Dir, MAX_INLINE, Skipped, Small, Symlink, ToReceiver,
};
use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::large::LargeFile;
use super::read::{check_same, read_small};
use super::walk::{Step, Walk, read_failure};
use super::{Shared, Source};
use crate::digest;
use crate::failure::TransferError;
use crate::meta;
use crate::wire::Batch;

/// What goes out, in this order.
pub(crate) enum Item {
    /// Messages.
    Batch(Bytes),
    /// A file to be announced with a stream of its own.
    Large(LargeFile),
    /// The transfer cannot go on.
    Failed(TransferError),
}

/// Reads the source up to its end, or until nobody takes anything any more.
pub(crate) fn read(source: &Source, check: bool, shared: &Arc<Shared>, items: &mpsc::Sender<Item>) {
    let mut reader = Reader { check, shared, items, batch: Batch::default(), entries: 0 };
    let read = if source.directory { reader.tree(source) } else { reader.root(source) };
    if let Err(Halt::Failed(error)) = read.and_then(|()| reader.flush()) {
        let _ = items.blocking_send(Item::Failed(error));
    }
}

struct Reader<'a> {
    check: bool,
    shared: &'a Arc<Shared>,
    items: &'a mpsc::Sender<Item>,
    batch: Batch,
    entries: u64,
}

/// Why reading ends early.
enum Halt {
    /// The transfer is over.
    Over,
    Failed(TransferError),
}

impl Reader<'_> {
    fn root(&mut self, source: &Source) -> Result<(), Halt> {
        let file = source.file.try_clone().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Halt::Failed(read_failure("read", source.path(), errno).into())
        })?;
        // The size and time that were announced, not those of a moment later.
        match self.file(Vec::new(), source.path().to_vec(), file, &source.stat)? {
            None => Ok(()),
            Some(failure) => Err(Halt::Failed(failure.into())),
        }
    }

    fn tree(&mut self, source: &Source) -> Result<(), Halt> {
        let meta = meta::of(&source.stat);
        self.message(&ToReceiver::Dir(Dir { name: Vec::new(), meta }))?;
        self.entry();
        let mut walk = Walk::new(source.file.as_fd(), source.path())
            .map_err(|failure| Halt::Failed(failure.into()))?;
        while let Some(step) = walk.next() {
            match step {
                Step::Enter(name, stat) => {
                    self.message(&ToReceiver::Dir(Dir { name, meta: meta::of(&stat) }))?;
                    self.entry();
                }
                Step::Leave => self.message(&ToReceiver::Leave)?,
                Step::Failed(failure) => self.problem(failure)?,
                Step::Found(name, stat) => self.found(&walk, name, &stat)?,
            }
        }
        Ok(())
    }

    fn found(&mut self, walk: &Walk, name: Vec<u8>, stat: &Stat) -> Result<(), Halt> {
        let dir = match walk.dir() {
            Ok(dir) => dir,
            Err(error) => return self.problem(walk.failed("read", &name, error)),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => match open_file(dir, &name) {
                Ok((file, stat)) => {
                    let path = walk.path_of(&name);
                    return match self.file(name, path, file, &stat)? {
                        None => Ok(()),
                        Some(failure) => self.problem(failure),
                    };
                }
                Err(error) => return self.problem(walk.failed("read", &name, error)),
            },
            FileType::Symlink => {
                return match readlinkat(dir, &name, Vec::new()) {
                    Ok(target) => {
                        let target = target.into_bytes();
                        let meta = meta::of(stat);
                        self.message(&ToReceiver::Symlink(Symlink { name, meta, target }))?;
                        self.entry();
                        Ok(())
                    }
                    Err(error) => self.problem(walk.failed("read the link", &name, error)),
                };
            }
            FileType::Fifo => "pipe",
            FileType::Socket => "socket",
            _ => "device",
        };
        let path = walk.below(&name);
        self.shared.summary().skip(path.clone(), kind);
        self.message(&ToReceiver::Skipped(Skipped { path, kind: kind.to_owned() }))
    }

    /// Sends a file; why it cannot be sent.
    fn file(
        &mut self,
        name: Vec<u8>,
        path: Vec<u8>,
        file: OwnedFd,
        stat: &Stat,
    ) -> Result<Option<Failure>, Halt> {
        let meta = meta::of(stat);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size > MAX_INLINE as u64 {
            self.flush()?;
            let entry = self.entry();
            let file = LargeFile { entry, name, path, file, stat: *stat };
            self.items.blocking_send(Item::Large(file)).map_err(|_| Halt::Over)?;
            return Ok(None);
        }
        let data = match read_small(&file, stat) {
            Ok(data) => data,
            Err(Errno::NODATA) => return Ok(Some(super::read::changed(&path))),
            Err(error) => return Ok(Some(read_failure("read", &path, error))),
        };
        if let Err(failure) = check_same(&file, stat, &path) {
            return Ok(Some(failure));
        }
        self.shared.summary().bytes += data.len() as u64;
        if self.check && data.len() > NOT_WORTH {
            self.offer_check(name, meta, data)?;
        } else {
            self.shared.progress.add(data.len() as u64);
            self.shared.summary().sent += data.len() as u64;
            self.message(&ToReceiver::Small(Small { name, meta, data }))?;
            self.entry();
        }
        Ok(None)
    }

    fn offer_check(
        &mut self,
        name: Vec<u8>,
        meta: bmstools_proto::v2::message::files::Meta,
        data: Vec<u8>,
    ) -> Result<(), Halt> {
        let (size, digest) = (data.len() as u64, digest::of(&data));
        if self.shared.window.is_full() {
            // What is waited for must have been sent.
            self.flush()?;
        }
        let entry = self.entry();
        if !self.shared.window.put(entry, data) {
            return Err(Halt::Over);
        }
        self.message(&ToReceiver::Check(Check { name, meta, size, digest }))
    }

    /// Counts an entry; its number.
    fn entry(&mut self) -> u64 {
        self.shared.progress.entry();
        self.entries += 1;
        self.entries - 1
    }

    fn problem(&mut self, failure: Failure) -> Result<(), Halt> {
        let message = self.shared.problem(None, failure);
        self.message(&message)
    }

    fn message(&mut self, message: &ToReceiver) -> Result<(), Halt> {
        self.batch.push(message).map_err(|error| Halt::Failed(error.into()))?;
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Halt> {
        if self.batch.len() == 0 {
            return Ok(());
        }
        self.items.blocking_send(Item::Batch(self.batch.take())).map_err(|_| Halt::Over)
    }
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, Stat), Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    // Replaced since it was looked at.
    if FileType::from_raw_mode(stat.st_mode).is_file() {
        Ok((file, stat))
    } else {
        Err(Errno::NOENT)
    }
}

/// Bytes of messages written at once.
const BATCH: usize = 192 << 10;
/// A digest of files up to this size costs what it may spare.
const NOT_WORTH: usize = 64;
