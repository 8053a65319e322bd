//! Placed data that arrives.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::super::Violation;
use super::super::flow::BlockBudget;
use super::super::ranges::Ranges;

/// Puts a file's blocks together.
#[derive(Debug)]
pub(super) struct Placed {
    /// What arrived, of the whole file.
    received: Ranges,
    /// By their number in the file.
    open: BTreeMap<u64, Block>,
    /// Bytes in them.
    held: u64,
    ready: VecDeque<Ready>,
    /// The next block's place in the order of arrival.
    serial: u64,
    max_open: usize,
    max_held: u64,
}

#[derive(Debug)]
struct Block {
    serial: u64,
    buffer: BytesMut,
    /// What arrived, counted from the block's beginning.
    filled: Ranges,
    /// Bytes of the block that were handed up before.
    handed: u64,
}

/// Bytes to hand up, of one block.
#[derive(Debug)]
struct Ready {
    base: u64,
    data: Bytes,
    /// Place in the block and in `data`.
    pieces: std::vec::IntoIter<(u64, Range<usize>)>,
}

impl Placed {
    pub(super) fn new(window: u64) -> Self {
        Self {
            received: Ranges::default(),
            open: BTreeMap::new(),
            held: 0,
            ready: VecDeque::new(),
            serial: 0,
            max_open: usize::try_from(window / BLOCK).unwrap_or(usize::MAX).saturating_add(2),
            max_held: window / 2,
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes data; how many bytes of it are new.
    pub(super) fn insert(
        &mut self,
        offset: u64,
        data: &[u8],
        budget: &mut BlockBudget,
    ) -> Result<u64, Violation> {
        let before = self.received.bytes();
        // Blocks are made while what arrived is noted, so both are needed at once.
        let mut received = std::mem::take(&mut self.received);
        received.insert(offset..offset + data.len() as u64, |fresh| {
            let data = &data[(fresh.start - offset) as usize..(fresh.end - offset) as usize];
            self.write(fresh.start, data, before, budget);
        });
        self.received = received;
        if self.received.count() > MAX_RANGES {
            return Err(Violation("too many gaps in a placed stream"));
        }
        while self.open.len() > self.max_open || self.held > self.max_held || budget.is_exceeded() {
            let Some(oldest) = self.oldest() else { break };
            self.hand_up(oldest, budget);
        }
        Ok(self.received.bytes() - before)
    }

    /// Puts new bytes into their blocks. `seen`: bytes that the direction has had.
    fn write(&mut self, mut offset: u64, mut data: &[u8], seen: u64, budget: &mut BlockBudget) {
        while !data.is_empty() {
            let number = offset / BLOCK;
            let at = offset % BLOCK;
            let (piece, rest) = data.split_at((data.len() as u64).min(BLOCK - at) as usize);
            let block = self.open.entry(number).or_insert_with(|| {
                self.serial += 1;
                Block {
                    serial: self.serial,
                    buffer: BytesMut::new(),
                    filled: Ranges::default(),
                    handed: 0,
                }
            });
            block.write(at, piece, seen, budget);
            self.held += piece.len() as u64;
            budget.held += piece.len() as u64;
            if block.filled.bytes() + block.handed == BLOCK {
                self.hand_up(number, budget);
            }
            offset += piece.len() as u64;
            data = rest;
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.open.iter().min_by_key(|(_, block)| block.serial).map(|(&number, _)| number)
    }

    /// Everything has arrived: hands up what is left.
    pub(super) fn complete(&mut self, budget: &mut BlockBudget) {
        while let Some((&number, _)) = self.open.first_key_value() {
            self.hand_up(number, budget);
        }
    }

    /// Nobody wants the data.
    pub(super) fn discard(&mut self, budget: &mut BlockBudget) {
        self.complete(budget);
        self.ready.clear();
    }

    fn hand_up(&mut self, number: u64, budget: &mut BlockBudget) {
        let Some(block) = self.open.remove(&number) else { return };
        self.held -= block.filled.bytes();
        budget.held -= block.filled.bytes();
        budget.allocated -= block.buffer.capacity() as u64;
        self.ready.push_back(block.into_ready(number * BLOCK));
    }

    /// The next bytes and where they belong.
    pub(super) fn read(&mut self) -> Option<(u64, Bytes)> {
        let ready = self.ready.front_mut()?;
        let (at, range) = ready.pieces.next()?;
        let piece = (ready.base + at, ready.data.slice(range));
        if ready.pieces.len() == 0 {
            self.ready.pop_front();
        }
        Some(piece)
    }
}

impl Block {
    fn write(&mut self, at: u64, data: &[u8], seen: u64, budget: &mut BlockBudget) {
        let (start, end) = (at as usize, at as usize + data.len());
        let capacity = self.buffer.capacity();
        if end > capacity {
            // Whoever has sent much gets whole blocks at once; otherwise memory grows
            // with what arrives.
            let wanted = if seen >= BLOCK { BLOCK as usize } else { end.next_power_of_two() };
            let wanted = wanted.clamp(MIN_BLOCK, BLOCK as usize);
            self.buffer.reserve(wanted - self.buffer.len());
            budget.allocated += (self.buffer.capacity() - capacity) as u64;
        }
        if start > self.buffer.len() {
            self.buffer.resize(start, 0);
        }
        let over = (self.buffer.len() - start).min(data.len());
        self.buffer[start..start + over].copy_from_slice(&data[..over]);
        self.buffer.extend_from_slice(&data[over..]);
        self.filled.insert(at..at + data.len() as u64, |_| ());
    }

    fn into_ready(self, base: u64) -> Ready {
        let filled =
            self.filled.iter().map(|range| (range.start, range.start as usize..range.end as usize));
        if self.filled.bytes() >= self.buffer.capacity() as u64 / 2 {
            let pieces: Vec<_> = filled.collect();
            return Ready { base, data: self.buffer.freeze(), pieces: pieces.into_iter() };
        }
        // Mostly empty: its memory must not wait for the reader.
        let mut data = BytesMut::with_capacity(self.filled.bytes() as usize);
        let mut pieces = Vec::with_capacity(self.filled.count());
        for (at, range) in filled {
            let start = data.len();
            data.extend_from_slice(&self.buffer[range]);
            pieces.push((at, start..data.len()));
        }
        Ready { base, data: data.freeze(), pieces: pieces.into_iter() }
    }
}

/// Bytes of a block.
const BLOCK: u64 = 256 << 10;
/// Bytes of memory for a block at least.
const MIN_BLOCK: usize = 4096;
/// Separate ranges that a direction's received bytes may make.
const MAX_RANGES: usize = 65_536;
