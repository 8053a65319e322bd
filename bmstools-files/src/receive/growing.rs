//! Digests of blocks that come in several pieces.

use std::collections::VecDeque;

use twox_hash::XxHash3_128;

use crate::digest::{self, Blocks, Digest};

/// Blocks that come in several pieces, each behind the one before: those of the largest
/// files.
#[derive(Default)]
pub(super) struct Growing(VecDeque<(u64, XxHash3_128)>);

impl Growing {
    /// The digest of the block that this piece completes.
    pub(super) fn digest(&mut self, blocks: Blocks, offset: u64, data: &[u8]) -> Option<Digest> {
        let (start, block_len) = blocks.range(blocks.at(offset));
        let end = offset + data.len() as u64;
        if (offset, end) == (start, start + block_len) {
            return Some(digest::of(data));
        }
        let continued = self.0.iter().position(|(next, _)| *next == offset && offset != start);
        let (_, mut hasher) = match continued {
            Some(at) => self.0.remove(at)?,
            None if offset == start => (offset, XxHash3_128::new()),
            None => return None,
        };
        hasher.write(data);
        if end == start + block_len {
            return Some(hasher.finish_128().to_be_bytes());
        }
        if end < start + block_len {
            self.0.push_back((end, hasher));
            // The oldest has a hole, or what would go on with it is late.
            if self.0.len() > MAX_GROWING {
                self.0.pop_front();
            }
        }
        None
    }
}

/// Blocks that grow at once: pieces come nearly in order.
const MAX_GROWING: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_in_pieces_is_digested_as_they_come() {
        let blocks = Blocks::of(9 << 30);
        let (start, len) = blocks.range(3);
        let data: Vec<u8> = (0..2 * len).map(|at| (at % 251) as u8).collect();
        let piece = |from: u64, to: u64| (start + from, &data[from as usize..to as usize]);
        let all = |pieces: &[(u64, &[u8])]| {
            let mut growing = Growing::default();
            let digest = |&(offset, data): &_| growing.digest(blocks, offset, data);
            pieces.iter().map(digest).collect::<Vec<_>>()
        };
        let (third, half) = (len / 3, len / 2);
        let [first, second] = [0, len].map(|at| digest::of(&data[at as usize..][..len as usize]));
        assert_eq!(all(&[piece(0, len)]), [Some(first)]);
        let pieces = [piece(0, third), piece(third, half), piece(half, len)];
        assert_eq!(all(&pieces), [None, None, Some(first)]);
        let mixed = [piece(0, half), piece(len, len + half), piece(half, len)];
        assert_eq!(all(&mixed), [None, None, Some(first)]);
        let behind = [&mixed[..], &[piece(len + half, 2 * len)]].concat();
        assert_eq!(all(&behind), [None, None, Some(first), Some(second)]);
        // The end of the one and the beginning of the other.
        assert_eq!(all(&[piece(0, half), piece(half, len + half)]), [None, None]);
        assert_eq!(all(&[piece(half, len), piece(0, half)]), [None, None]);
        assert_eq!(all(&[piece(0, half), piece(third, len)]), [None, None]);
    }

    #[test]
    fn no_more_blocks_grow_at_once_than_make_sense() {
        let blocks = Blocks::of(9 << 30);
        let mut growing = Growing::default();
        for block in 0..100 {
            assert_eq!(growing.digest(blocks, blocks.range(block).0, b"x"), None);
        }
        assert_eq!(growing.0.len(), MAX_GROWING);
        // It is the oldest that do not.
        let (start, len) = blocks.range(99);
        let rest = vec![0; len as usize - 1];
        let whole = [b"x", &rest[..]].concat();
        assert_eq!(growing.digest(blocks, start + 1, &rest), Some(digest::of(&whole)));
        assert_eq!(growing.digest(blocks, blocks.range(0).0 + 1, &rest), None);
    }
}
