//! Digests of files: XXH3-128 of blocks, and of a file as that of its blocks' digests.

use std::os::fd::AsFd;

use bmstools_proto::v2::message::files::{DIGEST_LEN, block_len};
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};
use twox_hash::XxHash3_128;

/// A digest on the wire: big-endian.
pub(crate) type Digest = [u8; DIGEST_LEN];

/// Of `data`.
pub(crate) fn of(data: &[u8]) -> Digest {
    XxHash3_128::oneshot(data).to_be_bytes()
}

/// How a file of some size is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    size: u64,
    len: u64,
}

impl Blocks {
    /// Of a file of `size` bytes.
    pub(crate) fn of(size: u64) -> Self {
        Self { size, len: block_len(size) }
    }

    /// How many there are.
    pub(crate) fn count(self) -> usize {
        usize::try_from(self.size.div_ceil(self.len)).unwrap_or(usize::MAX)
    }

    /// Where a block begins, and its bytes.
    pub(crate) fn range(self, block: usize) -> (u64, u64) {
        let start = (block as u64).saturating_mul(self.len).min(self.size);
        (start, self.len.min(self.size - start))
    }

    /// The block that the byte at `offset` is in.
    pub(crate) fn at(self, offset: u64) -> usize {
        usize::try_from(offset / self.len).unwrap_or(usize::MAX)
    }

    /// The blocks that `offset..offset + len` touches.
    pub(crate) fn touched(self, offset: u64, len: u64) -> std::ops::Range<usize> {
        if len == 0 { 0..0 } else { self.at(offset)..self.at(offset + len - 1) + 1 }
    }
}

/// The digest of a file from those of its blocks, in order.
pub(crate) fn whole<'a>(size: u64, blocks: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let mut hasher = XxHash3_128::new();
    hasher.write(&size.to_be_bytes());
    for digest in blocks {
        hasher.write(digest);
    }
    hasher.finish_128().to_be_bytes()
}

/// Digests of blocks of zeros, of which a file has two lengths at most.
#[derive(Debug, Default)]
pub(crate) struct Zeros(Vec<(u64, Digest)>);

impl Zeros {
    /// Of `len` zeros.
    pub(crate) fn of(&mut self, len: u64) -> Digest {
        if let Some((_, digest)) = self.0.iter().find(|known| known.0 == len) {
            return *digest;
        }
        let zeros = [0; 4096];
        let mut hasher = XxHash3_128::new();
        let mut left = len;
        while left > 0 {
            let take = left.min(zeros.len() as u64);
            hasher.write(&zeros[..take as usize]);
            left -= take;
        }
        let digest = hasher.finish_128().to_be_bytes();
        self.0.push((len, digest));
        digest
    }
}

/// Reads `len` bytes at `offset` and digests them, through `buffer`.
///
/// # Errors
///
/// The file's; `NODATA` where it ends before.
pub(crate) fn read(
    file: impl AsFd,
    offset: u64,
    len: u64,
    buffer: &mut Vec<u8>,
) -> Result<Digest, Errno> {
    buffer.resize(READ, 0);
    let mut hasher = XxHash3_128::new();
    let mut done = 0;
    while done < len {
        let take = usize::try_from(len - done).map_or(READ, |left| left.min(READ));
        match pread(&file, &mut buffer[..take], offset + done) {
            Ok(0) => return Err(Errno::NODATA),
            Ok(n) => {
                hasher.write(&buffer[..n]);
                done += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish_128().to_be_bytes())
}

/// The digest of a file of `size` bytes, holes not read.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn read_whole(file: impl AsFd, size: u64) -> Result<Digest, Errno> {
    let blocks = Blocks::of(size);
    let (mut buffer, mut zeros) = (Vec::new(), Zeros::default());
    let mut digests = Vec::with_capacity(blocks.count());
    for block in 0..blocks.count() {
        let (start, len) = blocks.range(block);
        digests.push(if has_data(&file, start, len)? {
            read(&file, start, len, &mut buffer)?
        } else {
            zeros.of(len)
        });
    }
    Ok(whole(size, &digests))
}

/// Whether any of these bytes is outside of holes.
///
/// # Errors
///
/// The file's.
pub(crate) fn has_data(file: impl AsFd, offset: u64, len: u64) -> Result<bool, Errno> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(at < offset + len),
        Err(Errno::NXIO) => Ok(false),
        // File systems that know no holes.
        Err(Errno::INVAL) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A set of blocks, as on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(pub(crate) Vec<u8>);

impl Bits {
    /// Adds a block.
    pub(crate) fn set(&mut self, block: usize) {
        if self.0.len() <= block / 8 {
            self.0.resize(block / 8 + 1, 0);
        }
        self.0[block / 8] |= 1 << (block % 8);
    }

    /// Whether a block is in it.
    pub(crate) fn get(&self, block: usize) -> bool {
        self.0.get(block / 8).is_some_and(|byte| byte & (1 << (block % 8)) != 0)
    }

    /// The blocks in it, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 8).filter(|&block| self.get(block))
    }
}

/// Bytes read at a time.
const READ: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn the_digest_of_a_file_covers_its_size_and_every_byte_and_skips_holes() {
        let digest = |size: u64, data: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.seek(SeekFrom::Start(size - data.len() as u64)).unwrap();
            file.write_all(data).unwrap();
            read_whole(&file, size).unwrap()
        };
        let size = 3 * (256 << 10) + 5;
        assert_eq!(digest(size, b"x"), digest(size, b"\0x"));
        assert_ne!(digest(size, b"x"), digest(size, b"y"));
        assert_ne!(digest(size, b"\0"), digest(size + 1, b"\0"));
        let mut dense = tempfile::tempfile().unwrap();
        dense.write_all(&vec![0; size as usize]).unwrap();
        assert_eq!(read_whole(&dense, size).unwrap(), digest(size, b"\0"));
    }

    #[test]
    fn blocks_cover_a_file_once() {
        for size in [0, 1, 256 << 10, (256 << 10) + 1, 9 << 30] {
            let blocks = Blocks::of(size);
            let mut at = 0;
            for block in 0..blocks.count() {
                let (start, len) = blocks.range(block);
                assert_eq!((start, blocks.at(start)), (at, block));
                assert!(len > 0);
                at += len;
            }
            assert_eq!(at, size);
        }
    }

    #[test]
    fn bits_are_kept_and_listed() {
        let mut bits = Bits::default();
        assert_eq!(bits.iter().count(), 0);
        for block in [3, 0, 77] {
            bits.set(block);
        }
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 3, 77]);
        assert!(!bits.get(1) && !bits.get(1000));
    }
}
