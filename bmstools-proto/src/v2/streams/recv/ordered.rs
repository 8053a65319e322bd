//! Ordered data that arrives.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

/// Puts a sequence of bytes together.
#[derive(Debug)]
pub(super) struct Ordered {
    /// Contiguous behind what was read.
    ready: Segment,
    /// End of `ready`.
    received: u64,
    /// Behind gaps, by where they begin. Neither overlapping nor touching.
    later: BTreeMap<u64, Segment>,
    /// Bytes that the next chunk of `ready` is made for: what the last reads took.
    chunk: usize,
}

/// Contiguous bytes in chunks.
#[derive(Debug, Default)]
struct Segment {
    chunks: VecDeque<BytesMut>,
    length: u64,
}

impl Ordered {
    pub(super) const fn new() -> Self {
        Self {
            ready: Segment { chunks: VecDeque::new(), length: 0 },
            received: 0,
            later: BTreeMap::new(),
            chunk: 0,
        }
    }

    /// End of what is there without a gap.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Gaps in front of what waits.
    pub(super) fn gaps(&self) -> usize {
        self.later.len()
    }

    pub(super) const fn is_readable(&self) -> bool {
        self.ready.length > 0
    }

    #[inline]
    pub(super) fn insert(&mut self, offset: u64, data: &[u8]) {
        if offset == self.received && self.later.is_empty() {
            // Long frames have others behind them.
            let expected = self.chunk.max((data.len() * 16).min(FIRST_CHUNK));
            self.ready.push(data, expected);
            self.received += data.len() as u64;
            return;
        }
        self.insert_anywhere(offset, data);
    }

    fn insert_anywhere(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            // The segment that this continues, or lies in.
            let before = if offset <= self.received {
                Some((None, self.received))
            } else {
                self.later.range(..=offset).next_back().and_then(|(&start, segment)| {
                    let end = start + segment.length;
                    (end >= offset).then_some((Some(start), end))
                })
            };
            if let Some((_, end)) = before {
                let known = (end - offset).min(data.len() as u64);
                data = &data[known as usize..];
                offset += known;
                if data.is_empty() {
                    break;
                }
            }
            let next = self.later.range(offset..).next().map(|(&start, _)| start);
            let gap = next.map_or(u64::MAX, |next| next - offset);
            let (piece, rest) = data.split_at((data.len() as u64).min(gap) as usize);
            let joins = gap == piece.len() as u64;
            let following = next.filter(|_| joins).and_then(|next| self.later.remove(&next));
            let into = match before {
                Some((None, _)) => &mut self.ready,
                Some((Some(start), _)) => self.later.entry(start).or_default(),
                None => self.later.entry(offset).or_default(),
            };
            let old = into.length;
            into.push(piece, 0);
            if let Some(following) = following {
                into.append(following);
            }
            if matches!(before, Some((None, _))) {
                self.received += into.length - old;
            }
            offset += piece.len() as u64;
            data = rest;
        }
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let segments = self.later.values().chain([&self.ready]);
        let bytes = |segment: &Segment| {
            let slots = segment.chunks.capacity() * size_of::<BytesMut>();
            // What an allocation costs beside its bytes.
            let chunks = segment.chunks.iter().map(|chunk| chunk.capacity() + 32);
            slots + chunks.sum::<usize>() + 2 * size_of::<(u64, Segment)>()
        };
        segments.map(bytes).sum()
    }

    /// The next bytes.
    pub(super) fn read(&mut self) -> Option<Bytes> {
        if !self.is_readable() {
            return None;
        }
        let mut data = Bytes::new();
        while data.is_empty() {
            let mut chunk = self.ready.chunks.pop_front()?;
            data = chunk.split().freeze();
            // What comes next goes into the rest of the memory.
            if self.ready.chunks.is_empty() && chunk.capacity() > 0 {
                self.ready.chunks.push_front(chunk);
            }
        }
        self.ready.length -= data.len() as u64;
        self.chunk = (data.len() * 2).next_power_of_two().clamp(MIN_CHUNK, MAX_CHUNK);
        Some(data)
    }
}

impl Segment {
    /// Appends data; a new chunk, where one is needed, has room for `expected` bytes.
    fn push(&mut self, mut data: &[u8], expected: usize) {
        self.length += data.len() as u64;
        let mut expected = expected;
        if let Some(last) = self.chunks.back_mut() {
            let room = last.capacity() - last.len();
            let (front, rest) = data.split_at(room.min(data.len()));
            last.extend_from_slice(front);
            data = rest;
            // Memory grows with what arrived, not with what was promised.
            expected = expected.max((last.len() * 2).min(MAX_CHUNK));
        }
        if !data.is_empty() {
            let mut chunk = BytesMut::with_capacity(expected.max(data.len()));
            chunk.extend_from_slice(data);
            self.chunks.push_back(chunk);
        }
    }

    /// Appends what follows. Small chunks are copied, so that tiny frames do not cost
    /// many times what they carry.
    fn append(&mut self, following: Self) {
        for chunk in following.chunks {
            if chunk.len() < SMALL_CHUNK {
                self.push(&chunk, 0);
            } else {
                self.length += chunk.len() as u64;
                self.chunks.push_back(chunk);
            }
        }
    }
}

/// Bytes of a chunk that is made for what is yet to come: at most of the first, and of
/// those behind what was read.
const FIRST_CHUNK: usize = 16 << 10;
const MIN_CHUNK: usize = 2048;
const MAX_CHUNK: usize = 256 << 10;
/// Chunks below are copied together.
const SMALL_CHUNK: usize = 1024;
