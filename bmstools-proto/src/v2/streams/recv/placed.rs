//! Placed data that arrives.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

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
    /// Pieces in `ready`.
    unread: usize,
    /// The next block's place in the order of arrival.
    serial: u64,
    /// A block was handed up in parts.
    divided: bool,
    max_open: usize,
    max_held: u64,
}

#[derive(Debug)]
struct Block {
    serial: u64,
    buffer: BytesMut,
    /// What arrived, counted from the block's beginning.
    filled: Ranges,
}

/// Bytes to hand up, of one block: one piece behind the other.
#[derive(Debug)]
struct Ready {
    data: Bytes,
    base: u64,
    /// Where in the block each begins, and its length.
    pieces: std::vec::IntoIter<(u32, u32)>,
}

impl Placed {
    pub(super) fn new(window: u64) -> Self {
        Self {
            received: Ranges::default(),
            open: BTreeMap::new(),
            held: 0,
            ready: VecDeque::new(),
            unread: 0,
            serial: 0,
            divided: false,
            max_open: usize::try_from(window / BLOCK).unwrap_or(usize::MAX).saturating_add(2),
            max_held: window / 2,
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Pieces that what arrived is in, and those that wait to be read.
    pub(super) fn pieces(&self) -> usize {
        self.received.count() + self.unread
    }

    /// Takes data; how many bytes of it are new.
    pub(super) fn insert(&mut self, offset: u64, data: &[u8], budget: &mut BlockBudget) -> u64 {
        let before = self.received.bytes();
        // Blocks are made while what arrived is noted, so both are needed at once.
        let mut received = std::mem::take(&mut self.received);
        received.insert(offset..offset + data.len() as u64, |fresh| {
            let data = &data[(fresh.start - offset) as usize..(fresh.end - offset) as usize];
            self.write(fresh.start, data, before, budget);
        });
        self.received = received;
        while self.open.len() > self.max_open || self.held > self.max_held || budget.is_exceeded() {
            let Some(oldest) = self.oldest() else { break };
            self.hand_up(oldest, budget);
            self.divided = true;
        }
        if self.divided && !data.is_empty() {
            self.complete_divided(offset, offset + (data.len() as u64 - 1), budget);
        }
        self.received.bytes() - before
    }

    /// Hands up the blocks of this data where parts of them were before and they have
    /// everything else.
    fn complete_divided(&mut self, first: u64, last: u64, budget: &mut BlockBudget) {
        for number in first / BLOCK..=last / BLOCK {
            let start = number * BLOCK;
            if self.open.contains_key(&number)
                && self.received.covered(start..start.saturating_add(BLOCK)) == BLOCK
            {
                self.hand_up(number, budget);
            }
        }
    }

    /// Notes data that nobody wants; how many bytes of it are new.
    pub(super) fn note(&mut self, range: Range<u64>) -> u64 {
        let before = self.received.bytes();
        self.received.insert(range, |_| ());
        self.received.bytes() - before
    }

    /// Puts new bytes into their blocks. `seen`: bytes that the direction has had.
    fn write(&mut self, mut offset: u64, mut data: &[u8], seen: u64, budget: &mut BlockBudget) {
        while !data.is_empty() {
            let number = offset / BLOCK;
            let at = offset % BLOCK;
            let (piece, rest) = data.split_at((data.len() as u64).min(BLOCK - at) as usize);
            let block = self.open.entry(number).or_insert_with(|| {
                self.serial += 1;
                Block { serial: self.serial, buffer: BytesMut::new(), filled: Ranges::default() }
            });
            block.write(at, piece, seen, budget);
            self.held += piece.len() as u64;
            budget.held += piece.len() as u64;
            if block.filled.bytes() == BLOCK {
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

    /// Forgets what has arrived: nothing must be inserted any more.
    pub(super) fn forget(&mut self) {
        self.received.clear();
    }

    /// Nobody wants what has not been read.
    pub(super) fn discard(&mut self, budget: &mut BlockBudget) {
        for block in std::mem::take(&mut self.open).into_values() {
            self.release(&block, budget);
        }
        self.ready.clear();
        self.unread = 0;
    }

    fn release(&mut self, block: &Block, budget: &mut BlockBudget) {
        self.held -= block.filled.bytes();
        budget.held -= block.filled.bytes();
        budget.allocated -= block.buffer.capacity() as u64;
    }

    fn hand_up(&mut self, number: u64, budget: &mut BlockBudget) {
        if let Some(block) = self.open.remove(&number) {
            self.release(&block, budget);
            let ready = block.into_ready(number * BLOCK);
            self.unread += ready.pieces.len();
            self.ready.push_back(ready);
        }
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let ranges = |ranges: &Ranges| ranges.count() * 32;
        let open = self
            .open
            .values()
            .map(|block| block.buffer.capacity() + ranges(&block.filled) + 2 * size_of::<Block>());
        let ready = self.ready.iter().map(|ready| {
            let pieces = ready.pieces.len() * size_of::<(u32, u32)>();
            ready.data.len() + pieces + 2 * size_of::<Ready>() + 64
        });
        ranges(&self.received) + open.sum::<usize>() + ready.sum::<usize>()
    }

    /// The next bytes and where they belong.
    pub(super) fn read(&mut self) -> Option<(u64, Bytes)> {
        let ready = self.ready.front_mut()?;
        let (at, length) = ready.pieces.next()?;
        let offset = ready.base + u64::from(at);
        self.unread -= 1;
        if ready.pieces.len() > 0 {
            return Some((offset, ready.data.split_to(length as usize)));
        }
        let ready = self.ready.pop_front()?;
        Some((offset, ready.data))
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
        let pieces: Vec<_> = self
            .filled
            .iter()
            .map(|range| (range.start as u32, (range.end - range.start) as u32))
            .collect();
        let data = match *pieces {
            [(at, length)] if length as usize >= self.buffer.capacity() / 2 => {
                self.buffer.freeze().slice(at as usize..)
            }
            // Memory that is mostly empty must not wait for the reader.
            _ => {
                let mut data = BytesMut::with_capacity(self.filled.bytes() as usize);
                for &(at, length) in &pieces {
                    data.extend_from_slice(&self.buffer[at as usize..(at + length) as usize]);
                }
                data.freeze()
            }
        };
        Ready { data, base, pieces: pieces.into_iter() }
    }
}

/// Bytes of a block.
const BLOCK: u64 = 256 << 10;
/// Bytes of memory for a block at least.
const MIN_BLOCK: usize = 4096;
