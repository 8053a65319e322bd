//! Placed data under way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::super::ranges::Ranges;

/// Pieces of a file, each kept until all of it was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// By where they begin. None is empty; they do not overlap.
    chunks: BTreeMap<u64, Chunk>,
    /// What was not sent yet, in the order of writing.
    queue: VecDeque<Range<u64>>,
    /// Bytes written and sent once.
    written: u64,
    sent: u64,
    buffered: u64,
    lost: Ranges,
}

#[derive(Debug)]
struct Chunk {
    data: Bytes,
    acknowledged: Ranges,
}

impl Placed {
    /// Whether the position was free.
    pub(super) fn write(&mut self, offset: u64, data: Bytes) -> bool {
        let length = data.len() as u64;
        let Some(end) = offset.checked_add(length) else { return false };
        if length == 0 {
            return true;
        }
        if let Some((start, chunk)) = self.chunks.range(..end).next_back()
            && start + chunk.data.len() as u64 > offset
        {
            return false;
        }
        self.chunks.insert(offset, Chunk { data, acknowledged: Ranges::default() });
        self.queue.push_back(offset..end);
        self.written += length;
        self.buffered += length;
        true
    }

    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) const fn unsent(&self) -> u64 {
        self.written - self.sent
    }

    pub(super) const fn buffered(&self) -> u64 {
        self.buffered
    }

    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(super) fn all_acknowledged(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Copies the beginning of the first lost range into `out`; its range.
    pub(super) fn resend(&mut self, out: &mut [u8]) -> Option<Range<u64>> {
        let lost = self.lost.first()?;
        let range = self.copy(lost, out)?;
        self.lost.remove(range.clone());
        Some(range)
    }

    /// Copies up to `most` bytes that were not sent yet into `out`; their range.
    pub(super) fn send(&mut self, most: u64, out: &mut [u8]) -> Option<Range<u64>> {
        let next = self.queue.front()?.clone();
        let range = self.copy(next.start..next.end.min(next.start.saturating_add(most)), out)?;
        self.sent += range.end - range.start;
        if range.end == next.end {
            self.queue.pop_front();
        } else if let Some(front) = self.queue.front_mut() {
            front.start = range.end;
        }
        Some(range)
    }

    /// Copies as much of the beginning of `range` as one chunk and `out` hold.
    fn copy(&self, range: Range<u64>, out: &mut [u8]) -> Option<Range<u64>> {
        let (start, chunk) = self.chunks.range(..=range.start).next_back()?;
        let data = chunk.data.get((range.start - start) as usize..)?;
        let length = data.len().min(out.len()).min((range.end - range.start) as usize);
        out[..length].copy_from_slice(&data[..length]);
        Some(range.start..range.start + length as u64)
    }

    pub(super) fn acknowledge(&mut self, range: Range<u64>) {
        self.lost.remove(range.clone());
        if let Some((&start, chunk)) = self.chunks.range_mut(..=range.start).next_back()
            && range.start < start + chunk.data.len() as u64
        {
            chunk.acknowledged.insert(range, |_| ());
            if chunk.acknowledged.bytes() == chunk.data.len() as u64 {
                self.buffered -= chunk.data.len() as u64;
                self.chunks.remove(&start);
            }
        }
    }

    pub(super) fn lose(&mut self, range: Range<u64>) {
        if let Some((&start, chunk)) = self.chunks.range(..=range.start).next_back()
            && range.start < start + chunk.data.len() as u64
        {
            let lost = &mut self.lost;
            chunk.acknowledged.missing(range, |range| lost.insert(range, |_| ()));
        }
    }
}
