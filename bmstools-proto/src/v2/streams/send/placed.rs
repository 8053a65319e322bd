//! Placed data under way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::{Buf as _, Bytes};

use super::super::ranges::Ranges;

/// Pieces of a file, each kept until all of it was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// By where they begin. None is empty; they do not overlap.
    chunks: BTreeMap<u64, Chunk>,
    /// What was not sent yet and where it begins, in the order of writing.
    queue: VecDeque<(u64, Bytes)>,
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
        self.queue.push_back((offset, data.clone()));
        self.chunks.insert(offset, Chunk { data, acknowledged: Ranges::default() });
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

    /// Copies the beginning of the first lost range into `out`, as much as one chunk
    /// holds; its range.
    pub(super) fn resend(&mut self, out: &mut [u8]) -> Option<Range<u64>> {
        let lost = self.lost.first()?;
        let (start, chunk) = self.chunks.range(..=lost.start).next_back()?;
        let data = chunk.data.get((lost.start - start) as usize..)?;
        let length = copy(data, lost.end - lost.start, out);
        let range = lost.start..lost.start + length;
        self.lost.remove(range.clone());
        Some(range)
    }

    /// Copies up to `most` bytes that were not sent yet into `out`; their range.
    pub(super) fn send(&mut self, most: u64, out: &mut [u8]) -> Option<Range<u64>> {
        let (start, data) = self.queue.front_mut()?;
        let length = copy(data, most, out);
        let range = *start..*start + length;
        *start = range.end;
        data.advance(length as usize);
        if data.is_empty() {
            self.queue.pop_front();
        }
        self.sent += length;
        Some(range)
    }

    /// Takes a range that may reach over several chunks, from the last down.
    pub(super) fn acknowledge(&mut self, range: Range<u64>) {
        self.lost.remove(range.clone());
        let mut end = range.end;
        while let Some((&start, chunk)) = self.chunks.range_mut(..end).next_back()
            && range.start < start + chunk.data.len() as u64
        {
            let chunk_end = start + chunk.data.len() as u64;
            chunk.acknowledged.insert(start.max(range.start)..chunk_end.min(end), |_| ());
            if chunk.acknowledged.bytes() == chunk.data.len() as u64 {
                self.buffered -= chunk.data.len() as u64;
                self.chunks.remove(&start);
            }
            end = start;
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

/// Copies up to `most` bytes of `data`'s beginning into `out`; how many.
fn copy(data: &[u8], most: u64, out: &mut [u8]) -> u64 {
    let length = data.len().min(out.len()).min(usize::try_from(most).unwrap_or(usize::MAX));
    out[..length].copy_from_slice(&data[..length]);
    length as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_range_may_reach_over_chunks() {
        let mut placed = Placed::default();
        for start in [0, 100, 200, 400] {
            assert!(placed.write(start, Bytes::from(vec![start as u8; 100])));
        }
        let mut out = [0; 64];
        while placed.send(u64::MAX, &mut out).is_some() {}
        assert_eq!((placed.sent(), placed.unsent(), placed.buffered()), (400, 0, 400));
        // Half of the first, all of the second, half of the third.
        placed.acknowledge(50..250);
        assert_eq!(placed.buffered(), 300);
        placed.lose(0..100);
        placed.lose(400..500);
        assert_eq!(placed.resend(&mut out), Some(0..50));
        placed.acknowledge(0..50);
        assert_eq!(placed.buffered(), 200);
        // What was acknowledged is not sent again; a range may begin and end in none.
        placed.acknowledge(0..450);
        assert_eq!(placed.resend(&mut out), Some(450..500));
        assert_eq!((out[0], placed.buffered()), (144, 100));
        placed.acknowledge(300..1000);
        assert!(placed.all_acknowledged() && placed.buffered() == 0 && !placed.has_lost());
    }
}
