//! What was received: duplicates, the acknowledgement that is due.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The packet numbers that were received: at most 64 ranges and a window of at least
/// 4,096 numbers below the largest; lower ones count as seen.
#[derive(Debug)]
pub(crate) struct Received {
    seen: Window,
    ranges: Ranges,
    largest_at: Option<Instant>,
    ack_every: u32,
    max_ack_delay: Duration,
    /// Eliciting packets that no acknowledgement has covered.
    pending: u32,
    /// As many pending packets as make the next acknowledgement due.
    due_with: u32,
    due_at: Option<Instant>,
    /// Acknowledgements still to be hurried since packets were last out of order.
    hurried: u8,
    /// Eliciting packets since disorder last made an acknowledgement due at once.
    since_disorder: u32,
}

impl Received {
    pub(crate) fn new(ack_every: u32, max_ack_delay: Duration) -> Self {
        let ack_every = ack_every.max(1);
        Self {
            seen: Window::new(),
            ranges: Ranges::default(),
            largest_at: None,
            ack_every,
            max_ack_delay,
            pending: 0,
            due_with: ack_every,
            due_at: None,
            hurried: 0,
            since_disorder: DISORDER_EVERY,
        }
    }

    /// So many packets call for an acknowledgement from the next one on.
    pub(crate) fn acknowledge_every(&mut self, packets: u32) {
        self.ack_every = packets.max(1);
    }

    /// Whether `number` was received or is too old to know. Asked before the seal is
    /// opened: cheap.
    pub(crate) fn is_duplicate(&self, number: u64) -> bool {
        self.seen.contains(number)
    }

    /// Notes a packet that opened. `eliciting`: it holds more than ACK, PADDING and
    /// CLOSE. `at_once`: its acknowledgement must not be delayed (it also is not where
    /// the packet is out of order).
    pub(crate) fn note(&mut self, now: Instant, number: u64, eliciting: bool, at_once: bool) {
        let expected = self.largest().map_or(0, |largest| largest.saturating_add(1));
        self.seen.insert(number);
        self.ranges.insert(number);
        if number >= expected {
            self.largest_at = Some(now);
        }
        if !eliciting {
            return;
        }
        self.pending = self.pending.saturating_add(1);
        self.since_disorder = self.since_disorder.saturating_add(1);
        if number != expected {
            self.hurry();
        }
        if at_once || self.pending >= self.due_with {
            self.due_at = Some(self.due_at.map_or(now, |at| at.min(now)));
        } else if self.due_at.is_none() {
            self.due_at = now.checked_add(self.max_ack_delay);
        }
    }

    /// Disorder is told at once, and again when the sender has had the chance to count
    /// three packets behind a gap; but a long reordering costs no acknowledgement a
    /// packet.
    fn hurry(&mut self) {
        self.due_with = self.due_with.min(DISORDER_EVERY);
        if self.since_disorder >= DISORDER_EVERY {
            self.since_disorder = 0;
            self.due_with = 1;
            self.hurried = 1;
        }
    }

    /// Whether an acknowledgement is due now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due_at.is_some_and(|at| at <= now)
    }

    /// Whether anything eliciting waits to be acknowledged (send it along for free).
    pub(crate) fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// When one will be due.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// The ranges received, from the highest down.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.ascending.iter().rev().map(|&(start, end)| start..=end)
    }

    /// Microseconds since the largest arrived.
    pub(crate) fn delay_us(&self, now: Instant) -> u32 {
        let delay = self.largest_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        delay.as_micros().try_into().unwrap_or(u32::MAX)
    }

    /// The acknowledgement was sent: nothing is due.
    pub(crate) fn sent(&mut self) {
        self.pending = 0;
        self.due_at = None;
        self.due_with = self.ack_every;
        if self.hurried > 0 {
            self.hurried -= 1;
            self.due_with = self.ack_every.min(BEHIND_GAP);
        }
    }

    /// The peer has seen an acknowledgement up to `number` (it acknowledged the packet
    /// that held it): ranges below need not be repeated. They still count as seen.
    pub(crate) fn forget_below(&mut self, number: u64) {
        self.ranges.forget_below(number);
    }

    pub(crate) fn largest(&self) -> Option<u64> {
        self.ranges.ascending.back().map(|&(_, end)| end)
    }
}

/// Ranges `(start, end)`, ends included, neither touching nor overlapping.
#[derive(Debug, Default)]
struct Ranges {
    ascending: VecDeque<(u64, u64)>,
}

impl Ranges {
    fn insert(&mut self, number: u64) {
        match self.ascending.back_mut() {
            Some((start, end)) if end.checked_add(1) == Some(number) => {
                *end = number;
                *start = (*start).max(number.saturating_sub(MAX_SPAN));
                return;
            }
            Some(&mut (_, end)) if number <= end => return self.insert_below(number),
            // An acknowledgement cannot express it: what lies below is given up.
            Some(&mut (_, end)) if number - end > MAX_SPAN => self.ascending.clear(),
            _ => {}
        }
        self.ascending.push_back((number, number));
        self.bound();
    }

    /// `number` is not above the highest range.
    fn insert_below(&mut self, number: u64) {
        // The first range that does not end below `number`.
        let at = self.ascending.partition_point(|&(_, end)| end < number);
        let (start, _) = self.ascending[at];
        if start <= number {
            return;
        }
        let joins_above = start == number + 1;
        let joins_below =
            at.checked_sub(1).is_some_and(|below| self.ascending[below].1 + 1 == number);
        match (joins_below, joins_above) {
            (true, true) => {
                let (low, _) = self.ascending[at - 1];
                self.ascending[at].0 = low;
                self.ascending.remove(at - 1);
            }
            (true, false) => self.ascending[at - 1].1 = number,
            (false, true) => self.ascending[at].0 = number,
            (false, false) => {
                let lowest =
                    at == 0 && (self.ascending.len() >= MAX_RANGES || start - number > MAX_SPAN);
                if !lowest {
                    self.ascending.insert(at, (number, number));
                    self.bound();
                }
            }
        }
    }

    fn bound(&mut self) {
        while self.ascending.len() > MAX_RANGES {
            self.ascending.pop_front();
        }
    }

    /// The highest range is never forgotten: the next acknowledgement begins with it.
    fn forget_below(&mut self, number: u64) {
        while self.ascending.len() > 1 && self.ascending[0].1 < number {
            self.ascending.pop_front();
        }
        if let Some((start, end)) = self.ascending.front_mut() {
            *start = (*start).max(number).min(*end);
        }
    }
}

/// The numbers seen, as a ring of bits that ends with the largest's word.
#[derive(Debug)]
struct Window {
    words: Box<[u64; WORDS as usize]>,
    /// The word that holds the largest number seen, counted from number 0.
    top: u64,
}

impl Window {
    fn new() -> Self {
        Self { words: Box::new([0; WORDS as usize]), top: 0 }
    }

    fn contains(&self, number: u64) -> bool {
        let word = number / BITS;
        if word > self.top {
            return false;
        }
        self.top - word >= WORDS || self.words[slot(word)] & bit(number) != 0
    }

    fn insert(&mut self, number: u64) {
        let word = number / BITS;
        if word > self.top {
            let fresh = (word - self.top).min(WORDS);
            for newer in 0..fresh {
                self.words[slot(word - newer)] = 0;
            }
            self.top = word;
        }
        if self.top - word < WORDS {
            self.words[slot(word)] |= bit(number);
        }
    }
}

fn slot(word: u64) -> usize {
    (word % WORDS) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % BITS)
}

/// Ranges that one acknowledgement holds.
const MAX_RANGES: usize = 64;
/// No range or gap is longer: they are 32 bits on the wire.
const MAX_SPAN: u64 = 1 << 31;
const BITS: u64 = u64::BITS as u64;
/// 8,192 numbers in a KiB. As many as four full receive rings: whoever is overtaken by
/// more is not late but lost.
const WORDS: u64 = 128;
/// Eliciting packets between acknowledgements that disorder makes due at once.
const DISORDER_EVERY: u32 = 8;
/// Packets behind a gap from which a sender concludes that it is a loss (RFC 9002,
/// section 6.1.1), less the one that was acknowledged at once.
const BEHIND_GAP: u32 = 2;

#[cfg(test)]
mod tests;
