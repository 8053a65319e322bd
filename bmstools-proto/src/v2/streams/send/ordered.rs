//! Ordered data under way.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::super::ranges::Ranges;

/// A contiguous sequence of bytes, kept until acknowledged.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    /// Where each chunk begins, and the chunk. None is empty.
    chunks: VecDeque<(u64, Bytes)>,
    /// End of what was written.
    written: u64,
    /// End of what was sent once.
    sent: u64,
    /// The chunk that `sent` is in or behind.
    at: usize,
    /// Everything below was acknowledged.
    acknowledged_to: u64,
    /// What was acknowledged above.
    acknowledged: Ranges,
    lost: Ranges,
}

impl Ordered {
    pub(super) fn write(&mut self, data: Bytes) {
        if !data.is_empty() {
            let start = self.written;
            self.written += data.len() as u64;
            self.chunks.push_back((start, data));
        }
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
        self.written - self.acknowledged_to
    }

    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(super) const fn all_acknowledged(&self) -> bool {
        self.acknowledged_to == self.written
    }

    /// Copies the beginning of the first lost range into `out`; its range.
    pub(super) fn resend(&mut self, out: &mut [u8]) -> Option<Range<u64>> {
        let lost = self.lost.first()?;
        let at = self.chunks.partition_point(|(start, _)| *start <= lost.start).checked_sub(1)?;
        let length = (lost.end - lost.start).min(out.len() as u64);
        let range = lost.start..lost.start + length;
        self.copy(at, &range, out);
        self.lost.remove(range.clone());
        Some(range)
    }

    /// Copies up to `most` bytes that were not sent yet into `out`; their range.
    pub(super) fn send(&mut self, most: u64, out: &mut [u8]) -> Range<u64> {
        let length = self.unsent().min(most).min(out.len() as u64);
        let range = self.sent..self.sent + length;
        self.at = self.copy(self.at, &range, out);
        self.sent = range.end;
        range
    }

    /// Copies a range that begins in or behind chunk `at`; where it ends.
    fn copy(&self, mut at: usize, range: &Range<u64>, out: &mut [u8]) -> usize {
        let mut out = &mut out[..(range.end - range.start) as usize];
        let mut offset = range.start;
        while let Some((start, chunk)) = self.chunks.get(at) {
            let skip = ((offset - start) as usize).min(chunk.len());
            let length = (chunk.len() - skip).min(out.len());
            let (front, rest) = out.split_at_mut(length);
            front.copy_from_slice(&chunk[skip..skip + length]);
            offset += length as u64;
            out = rest;
            if out.is_empty() {
                break;
            }
            at += 1;
        }
        at
    }

    pub(super) fn acknowledge(&mut self, range: Range<u64>) {
        self.lost.remove(range.clone());
        if range.start > self.acknowledged_to {
            self.acknowledged.insert(range, |_| ());
            return;
        }
        self.acknowledged_to = self.acknowledged_to.max(range.end);
        while let Some(next) = self.acknowledged.first()
            && next.start <= self.acknowledged_to
        {
            self.acknowledged_to = self.acknowledged_to.max(next.end);
            self.acknowledged.remove(next);
        }
        while let Some((start, chunk)) = self.chunks.front()
            && start + chunk.len() as u64 <= self.acknowledged_to
        {
            self.chunks.pop_front();
            self.at = self.at.saturating_sub(1);
        }
    }

    pub(super) fn lose(&mut self, range: Range<u64>) {
        let range = range.start.max(self.acknowledged_to)..range.end;
        let lost = &mut self.lost;
        self.acknowledged.missing(range, |range| lost.insert(range, |_| ()));
    }
}
