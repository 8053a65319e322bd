//! Files read, and whether they stayed the same meanwhile.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use bmstools_proto::v2::message::files::{DIGEST_LEN, Have, MAX_INLINE, MIN_BLOCK};
use bmstools_proto::v2::message::{Failure, FailureCode};
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{SeekFrom, Stat, fstat, seek};
use rustix::io::{Errno, pread};
use twox_hash::XxHash3_128;

use super::large::LargeFile;
use super::walk::read_failure;
use crate::digest::{self, Bits, Blocks, Digest, Zeros};
use crate::failure::{failure, violation};
use crate::name::Shown;
use crate::pool::Pool;

/// All of a small file.
///
/// # Errors
///
/// The file's; `NODATA` where it is not small.
pub(crate) fn read_small(file: &OwnedFd, stat: &Stat) -> Result<Vec<u8>, Errno> {
    let size = usize::try_from(stat.st_size).unwrap_or(0);
    // One byte more finds the end with the same call.
    let mut data = Vec::with_capacity(size + 1);
    loop {
        if data.len() > MAX_INLINE {
            return Err(Errno::NODATA);
        }
        if data.len() == data.capacity() {
            // Files that are made up on reading tell no size.
            data.reserve(4096);
        }
        let offset = data.len() as u64;
        match pread(file, spare_capacity(&mut data), offset) {
            Ok(0) => return Ok(data),
            Ok(_) if size > 0 && data.len() == size => return Ok(data),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Checks that nobody wrote to a file since it had this `stat`.
///
/// # Errors
///
/// Where somebody did, or it was removed.
pub(crate) fn check_same(file: &OwnedFd, before: &Stat, path: &[u8]) -> Result<(), Failure> {
    let after = fstat(file).map_err(|error| read_failure("read", path, error))?;
    if after.st_nlink == 0 {
        let message = format!("{} vanished while it was sent", Shown(path));
        return Err(failure(FailureCode::NotFound, message));
    }
    let of = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if of(before) == of(&after) {
        return Ok(());
    }
    let message = if before.st_size == after.st_size {
        format!("{} changed while it was sent", Shown(path))
    } else {
        format!(
            "{} changed while it was sent: it had {} bytes and has {}",
            Shown(path),
            before.st_size,
            after.st_size
        )
    };
    Err(failure(FailureCode::Changed, message))
}

/// The failure for a file that is not what it was.
pub(crate) fn changed(path: &[u8]) -> Failure {
    failure(FailureCode::Changed, format!("{} changed while it was sent", Shown(path)))
}

/// What the receiver has of a file, compared with the file.
pub(crate) struct Compared {
    /// The receiver has all of it in place: its digest.
    pub(crate) whole: Option<Digest>,
    /// What it has and is right.
    pub(crate) keep: Bits,
    /// The digests of these.
    digests: Vec<Option<Digest>>,
}

impl Compared {
    /// Bytes that stay of a file of `size` bytes.
    pub(crate) fn kept(&self, size: u64) -> u64 {
        let blocks = Blocks::of(size);
        self.keep.iter().map(|block| blocks.range(block).1).sum()
    }
}

/// Compares what the receiver has with the file. Blocks.
///
/// # Errors
///
/// The file's, or where the receiver makes no sense.
pub(crate) fn compare(file: &LargeFile, have: &Have) -> Result<Compared, Failure> {
    let blocks = Blocks::of(file.size());
    let failed = |error| match error {
        Errno::NODATA => changed(&file.path),
        error => read_failure("read", &file.path, error),
    };
    let bits = Bits(have.blocks.clone());
    let mut compared =
        Compared { whole: None, keep: Bits::default(), digests: vec![None; blocks.count()] };
    if let Some(theirs) = have.whole {
        let ours = digest::read_whole(&file.file, file.size()).map_err(failed)?;
        if ours == theirs {
            compared.whole = Some(ours);
            return Ok(compared);
        }
    }
    let mut buffer = Vec::new();
    let mut theirs = have.digests.chunks_exact(DIGEST_LEN);
    for block in bits.iter() {
        let (Some(theirs), Some(digest)) = (theirs.next(), compared.digests.get_mut(block)) else {
            return Err(violation("digests of no blocks"));
        };
        let (start, len) = blocks.range(block);
        let ours = digest::read(&file.file, start, len, &mut buffer).map_err(failed)?;
        if ours == *theirs {
            *digest = Some(ours);
            compared.keep.set(block);
        }
    }
    Ok(compared)
}

/// Reads a file block by block but for those that are kept, and hands on what is not
/// a hole. Returns the file's digest and the bytes handed on. Blocks.
///
/// # Errors
///
/// The file's, or where it changed.
pub(crate) fn read_large(
    file: &LargeFile,
    compared: &Compared,
    pool: &Arc<Pool>,
    hand_on: HandOn<'_>,
) -> Result<(Digest, u64), Failure> {
    let blocks = Blocks::of(file.size());
    let (zeros, dense_to) = (Zeros::default(), 0);
    let mut reader = BlockReader { file, pool, hand_on, sent: 0, zeros, dense_to };
    let mut digests = Vec::with_capacity(blocks.count());
    for block in 0..blocks.count() {
        digests.push(match compared.digests.get(block) {
            Some(Some(digest)) => *digest,
            _ => {
                let (start, len) = blocks.range(block);
                reader.block(start, len).map_err(|error| match error {
                    Errno::NODATA => changed_size(file),
                    error => read_failure("read", &file.path, error),
                })?
            }
        });
    }
    check_same(&file.file, &file.stat, &file.path)?;
    Ok((digest::whole(file.size(), &digests), reader.sent))
}

/// The failure for a file that ended early.
fn changed_size(file: &LargeFile) -> Failure {
    check_same(&file.file, &file.stat, &file.path).err().unwrap_or_else(|| changed(&file.path))
}

/// Takes a piece and its offset, and says whether to go on.
pub(crate) type HandOn<'a> = &'a mut dyn FnMut(u64, Bytes) -> bool;

struct BlockReader<'a> {
    file: &'a LargeFile,
    pool: &'a Arc<Pool>,
    hand_on: HandOn<'a>,
    sent: u64,
    zeros: Zeros,
    /// Up to here there is no hole, as far as is known.
    dense_to: u64,
}

impl BlockReader<'_> {
    /// Sends a block's data and digests it with its holes.
    fn block(&mut self, start: u64, len: u64) -> Result<Digest, Errno> {
        let end = start + len;
        if self.is_dense(start, end)? && len == MIN_BLOCK {
            let data = self.read(start, len)?;
            let digest = digest::of(&data);
            self.send(start, data)?;
            return Ok(digest);
        }
        let mut hasher = XxHash3_128::new();
        let mut at = start;
        while at < end {
            let data_start = self.next_data(at)?.min(end);
            if at == start && data_start == end {
                return Ok(self.zeros.of(len));
            }
            hash_zeros(&mut hasher, data_start - at);
            at = data_start;
            if at < end {
                let take = (self.next_hole(at)?.min(end) - at).min(MIN_BLOCK);
                let data = self.read(at, take)?;
                hasher.write(&data);
                self.send(at, data)?;
                at += take;
            }
        }
        Ok(hasher.finish_128().to_be_bytes())
    }

    fn is_dense(&mut self, start: u64, end: u64) -> Result<bool, Errno> {
        if !self.file.is_sparse() || end <= self.dense_to {
            return Ok(true);
        }
        if self.next_data(start)? == start {
            self.dense_to = self.next_hole(start)?;
        }
        Ok(end <= self.dense_to)
    }

    fn next_data(&self, from: u64) -> Result<u64, Errno> {
        if !self.file.is_sparse() {
            return Ok(from);
        }
        match seek(self.file.file.as_fd(), SeekFrom::Data(from)) {
            Err(Errno::NXIO) => Ok(u64::MAX),
            Err(Errno::INVAL) => Ok(from),
            result => result,
        }
    }

    fn next_hole(&self, from: u64) -> Result<u64, Errno> {
        if !self.file.is_sparse() {
            return Ok(u64::MAX);
        }
        match seek(self.file.file.as_fd(), SeekFrom::Hole(from)) {
            Err(Errno::NXIO) => Err(Errno::NODATA),
            Err(Errno::INVAL) => Ok(u64::MAX),
            result => result,
        }
    }

    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::INVAL)?;
        let mut data = self.pool.take();
        data.reserve_exact(len);
        while data.len() < len {
            let at = offset + data.len() as u64;
            // The buffer may have room for more.
            let left = len - data.len();
            let read = if data.capacity() - data.len() == left {
                pread(&self.file.file, spare_capacity(&mut data), at)
            } else {
                let have = data.len();
                data.resize(len, 0);
                let read = pread(&self.file.file, &mut data[have..], at);
                data.truncate(have + *read.as_ref().unwrap_or(&0));
                read
            };
            match read {
                Ok(0) => return Err(Errno::NODATA),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(data)
    }

    fn send(&mut self, offset: u64, data: Vec<u8>) -> Result<(), Errno> {
        self.sent += data.len() as u64;
        if (self.hand_on)(offset, self.pool.lend(data)) { Ok(()) } else { Err(Errno::CANCELED) }
    }
}

fn hash_zeros(hasher: &mut XxHash3_128, mut len: u64) {
    let zeros = [0; 4096];
    while len > 0 {
        let take = len.min(zeros.len() as u64);
        hasher.write(&zeros[..take as usize]);
        len -= take;
    }
}
