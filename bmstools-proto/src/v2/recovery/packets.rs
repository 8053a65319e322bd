//! The packets that were sent, found by number without hashing.

use std::collections::VecDeque;
use std::time::Instant;

use super::contents::Contents;
use super::delivery::Stamp;

/// Consecutive numbers: `base` and on.
#[derive(Debug, Default)]
pub(super) struct Packets {
    base: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: Instant,
    pub(super) size: u16,
    pub(super) level: u8,
    pub(super) eliciting: bool,
    pub(super) size_probe: bool,
    pub(super) fate: Fate,
    /// As many entries from this one on are settled, this one among them: whoever
    /// walks them in order jumps. 0 before it is.
    run: u32,
    pub(super) stamp: Stamp,
    pub(super) contents: Contents,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Open,
    Acknowledged,
    Lost,
}

impl Entry {
    pub(super) fn new(packet: super::Sent, stamp: Stamp) -> Self {
        Self {
            at: packet.at,
            size: packet.size,
            level: packet.level,
            eliciting: packet.eliciting,
            size_probe: packet.contents.is_size_probe(),
            fate: Fate::Open,
            run: 0,
            stamp,
            contents: packet.contents,
        }
    }

    /// Stands for a number that no packet had.
    fn skipped(like: &Self) -> Self {
        Self {
            eliciting: false,
            size_probe: false,
            fate: Fate::Lost,
            run: 1,
            contents: Contents::default(),
            ..*like
        }
    }
}

/// Eliciting packets under way.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct InFlight {
    pub(super) frames: u32,
    pub(super) bytes: u64,
    pub(super) size_probes: u32,
}

impl InFlight {
    pub(super) fn add(&mut self, entry: &Entry) {
        if entry.eliciting {
            self.frames += 1;
            self.bytes += u64::from(entry.size);
            self.size_probes += u32::from(entry.size_probe);
        }
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        if entry.eliciting {
            self.frames -= 1;
            self.bytes -= u64::from(entry.size);
            self.size_probes -= u32::from(entry.size_probe);
        }
    }
}

impl Packets {
    /// The number behind the highest that was sent.
    pub(super) fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The lowest number that is still known.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends the packet `number`. Numbers that were skipped count as settled.
    pub(super) fn push(&mut self, number: u64, entry: Entry) {
        if self.entries.is_empty() {
            self.base = self.base.max(number);
        }
        while self.next() < number {
            self.entries.push_back(Entry::skipped(&entry));
        }
        self.entries.push_back(entry);
    }

    pub(super) fn is_open(&self, number: u64) -> bool {
        self.index(number)
            .and_then(|index| self.entries.get(index))
            .is_some_and(|entry| entry.fate == Fate::Open)
    }

    fn index(&self, number: u64) -> Option<usize> {
        number.checked_sub(self.base).and_then(|index| usize::try_from(index).ok())
    }

    /// Settles all open packets of `low..=high` as acknowledged, from the lowest up.
    pub(super) fn acknowledge(
        &mut self,
        low: u64,
        high: u64,
        mut each: impl FnMut(u64, &mut Entry),
    ) {
        let high = high.min(self.next().saturating_sub(1));
        let low = low.max(self.base);
        let (Some(first), Some(last)) = (self.index(low), self.index(high)) else { return };
        if low > high || self.entries.is_empty() {
            return;
        }
        let (mut index, mut before) = (first, None);
        while index <= last {
            let entry = &mut self.entries[index];
            if entry.fate == Fate::Open {
                entry.fate = Fate::Acknowledged;
                entry.run = 1;
                each(self.base + index as u64, entry);
            }
            let next = index + self.entries[index].run.max(1) as usize;
            // Whoever comes this way again jumps over two runs, however odd the ranges.
            if let Some(before) = before {
                self.join(before, next);
            }
            before = Some(index);
            index = next;
        }
        self.join(first, index);
    }

    /// Notes that everything from `index` to before `end` is settled.
    fn join(&mut self, index: usize, end: usize) {
        self.entries[index].run = u32::try_from(end - index).unwrap_or(1);
    }

    /// The packets not yet settled, from the lowest up, until `each` returns false. The
    /// flag tells whether anything was acknowledged between the one before and this.
    pub(super) fn for_each_open(&mut self, mut each: impl FnMut(u64, &mut Entry, bool) -> bool) {
        let (mut index, mut behind_acknowledged) = (0, false);
        while let Some(entry) = self.entries.get_mut(index) {
            if entry.fate == Fate::Open {
                if !each(self.base + index as u64, entry, behind_acknowledged) {
                    return;
                }
                if entry.fate != Fate::Open {
                    entry.run = 1;
                }
                behind_acknowledged = false;
            } else {
                behind_acknowledged |= entry.fate == Fate::Acknowledged || entry.run > 1;
            }
            index += entry.run.max(1) as usize;
        }
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.base += 1;
        Some(entry)
    }

    /// Forgets settled packets at the front.
    pub(super) fn trim(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.fate != Fate::Open) {
            self.pop_front();
        }
    }
}
