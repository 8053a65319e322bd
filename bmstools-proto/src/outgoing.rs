//! One message on its way out: fragments, what is in flight, what is lost.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::wire::Kind;
use bmstools_common::header::Dialect;

/// Later frames that were acknowledged before a frame counts as lost. More than
/// the 3 of RFC 9002: a bond or a switch may reorder, and repeating too early
/// costs more here than repeating a little later.
const REORDERING: u64 = 8;

/// A message that is being sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: Kind,
    pub(crate) sequence: u32,
    data: Vec<u8>,
    split: Split,
    fragments: Vec<State>,
    /// The first fragment that was never sent.
    unsent: u16,
    lost: VecDeque<u16>,
    /// Transmissions in the order they were made; entries whose fragment has been
    /// acknowledged or lost since are stale.
    flight: VecDeque<Transmission>,
    in_flight: usize,
    acknowledged: u16,
    acknowledged_bytes: usize,
    /// One past the latest transmission that was acknowledged.
    acknowledged_to: u64,
    transmissions: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Unsent,
    InFlight { transmission: u64 },
    Lost,
    Acknowledged,
}

#[derive(Clone, Copy, Debug)]
struct Transmission {
    number: u64,
    offset: u16,
    sent_at: Instant,
    first: bool,
}

/// What an acknowledgement told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// A fragment is done, and how long that took if it was sent only once.
    New { round_trip: Option<Duration> },
    /// It was done before.
    Again,
    /// It never was sent like this.
    Bogus,
}

/// How a message is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Split {
    len: usize,
    count: u16,
    rule: Rule,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// All fragments of this size, the last one of what is left: as deployed
    /// peers cut.
    Fixed(usize),
    /// Sizes that differ by one at most, so that none of a long message is short
    /// enough to be padded.
    Balanced,
}

impl Split {
    /// Cuts `len` bytes into fragments of `max` at most; `None` where that takes
    /// more than 65,535.
    fn new(len: usize, max: usize, dialect: Dialect) -> Option<Self> {
        let count = u16::try_from(len.div_ceil(max.max(1)).max(1)).ok()?;
        let rule = match dialect {
            Dialect::V1 => Rule::Balanced,
            Dialect::V1Deployed => Rule::Fixed(max),
        };
        Some(Self { len, count, rule })
    }

    fn range(&self, offset: u16) -> Range<usize> {
        let (count, at) = (usize::from(self.count), usize::from(offset));
        match self.rule {
            Rule::Fixed(size) => at * size..((at + 1) * size).min(self.len),
            Rule::Balanced => {
                let (base, longer) = (self.len / count, self.len % count);
                let start = at * base + at.min(longer);
                start..start + base + usize::from(at < longer)
            }
        }
    }
}

impl Outgoing {
    /// A message to be sent in fragments of `max` bytes; `None` where it would
    /// take too many.
    pub(crate) fn new(
        kind: Kind,
        sequence: u32,
        data: Vec<u8>,
        max: usize,
        dialect: Dialect,
    ) -> Option<Self> {
        let split = Split::new(data.len(), max, dialect)?;
        Some(Self {
            kind,
            sequence,
            data,
            split,
            fragments: vec![State::Unsent; usize::from(split.count)],
            unsent: 0,
            lost: VecDeque::new(),
            flight: VecDeque::new(),
            in_flight: 0,
            acknowledged: 0,
            acknowledged_bytes: 0,
            acknowledged_to: 0,
            transmissions: 0,
        })
    }

    pub(crate) const fn count(&self) -> u16 {
        self.split.count
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) const fn acknowledged_bytes(&self) -> usize {
        self.acknowledged_bytes
    }

    /// Transmissions made so far: the number of the next one.
    pub(crate) const fn transmissions(&self) -> u64 {
        self.transmissions
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged == self.split.count
    }

    /// Whether there is a fragment to send, window permitting.
    pub(crate) fn has_more(&self) -> bool {
        self.unsent < self.split.count || !self.lost.is_empty()
    }

    /// The next fragment to send, lost ones first: its offset, its bytes and
    /// whether it was sent before.
    pub(crate) fn transmit(&mut self, now: Instant) -> Option<(u16, &[u8], bool)> {
        let again = loop {
            match self.lost.pop_front() {
                Some(offset) if self.fragments[usize::from(offset)] != State::Lost => {}
                other => break other,
            }
        };
        let offset = match again {
            Some(offset) => offset,
            None if self.unsent < self.split.count => {
                self.unsent += 1;
                self.unsent - 1
            }
            None => return None,
        };
        let number = self.transmissions;
        self.transmissions += 1;
        self.fragments[usize::from(offset)] = State::InFlight { transmission: number };
        let first = again.is_none();
        self.flight.push_back(Transmission { number, offset, sent_at: now, first });
        self.in_flight += 1;
        Some((offset, &self.data[self.split.range(offset)], again.is_some()))
    }

    /// Takes the acknowledgement of a fragment.
    pub(crate) fn acknowledge(&mut self, now: Instant, count: u16, offset: u16) -> Acknowledged {
        if count != self.split.count {
            return Acknowledged::Bogus;
        }
        let Some(state) = self.fragments.get_mut(usize::from(offset)) else {
            return Acknowledged::Bogus;
        };
        let round_trip = match *state {
            State::Unsent => return Acknowledged::Bogus,
            State::Acknowledged => return Acknowledged::Again,
            State::Lost => None,
            State::InFlight { transmission } => {
                self.in_flight -= 1;
                self.acknowledged_to = self.acknowledged_to.max(transmission + 1);
                self.flight
                    .binary_search_by_key(&transmission, |sent| sent.number)
                    .ok()
                    .and_then(|at| self.flight.get(at))
                    .filter(|sent| sent.first)
                    .map(|sent| now.saturating_duration_since(sent.sent_at))
            }
        };
        *state = State::Acknowledged;
        self.acknowledged += 1;
        self.acknowledged_bytes += self.split.range(offset).len();
        self.forget_stale();
        Acknowledged::New { round_trip }
    }

    /// Declares lost what later frames have overtaken. The latest transmission
    /// that was lost, if any was.
    pub(crate) fn detect_overtaken(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(sent) = self.flight.front().copied()
            && sent.number + REORDERING < self.acknowledged_to
        {
            if self.lose(sent) {
                last = Some(sent.number);
            }
            self.flight.pop_front();
        }
        last
    }

    /// Declares lost what was sent `wait` ago or earlier, the oldest only where
    /// `one`. Whether anything was.
    pub(crate) fn lose_older(&mut self, now: Instant, wait: Duration, one: bool) -> bool {
        let mut any = false;
        while let Some(sent) = self.flight.front().copied()
            && sent.sent_at + wait <= now
        {
            any |= self.lose(sent);
            self.flight.pop_front();
            if any && one {
                break;
            }
        }
        self.forget_stale();
        any
    }

    /// When the oldest fragment in flight was sent.
    pub(crate) fn oldest_in_flight(&self) -> Option<Instant> {
        self.flight.front().map(|sent| sent.sent_at)
    }

    fn lose(&mut self, sent: Transmission) -> bool {
        let state = &mut self.fragments[usize::from(sent.offset)];
        if *state != (State::InFlight { transmission: sent.number }) {
            return false;
        }
        *state = State::Lost;
        self.lost.push_back(sent.offset);
        self.in_flight -= 1;
        true
    }

    fn forget_stale(&mut self) {
        while let Some(sent) = self.flight.front()
            && self.fragments[usize::from(sent.offset)]
                != (State::InFlight { transmission: sent.number })
        {
            self.flight.pop_front();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_balanced_split_covers_the_message_and_has_no_short_fragment(
            len in 0usize..200_000,
            max in 64usize..4000,
        ) {
            let split = Split::new(len, max, Dialect::V1).unwrap();
            let mut at = 0;
            for offset in 0..split.count {
                let range = split.range(offset);
                prop_assert_eq!(range.start, at);
                prop_assert!(range.len() <= max);
                prop_assert!(range.len() >= 32.min(len));
                at = range.end;
            }
            prop_assert_eq!(at, len);
        }

        #[test]
        fn a_fixed_split_covers_the_message(len in 0usize..100_000, max in 64usize..4000) {
            let split = Split::new(len, max, Dialect::V1Deployed).unwrap();
            let mut at = 0;
            for offset in 0..split.count {
                let range = split.range(offset);
                prop_assert_eq!(range.start, at);
                prop_assert!(offset + 1 == split.count || range.len() == max);
                at = range.end;
            }
            prop_assert_eq!(at, len);
        }
    }

    fn message(fragments: usize) -> Outgoing {
        let data = vec![7; fragments * 100];
        Outgoing::new(Kind::Data, 0, data, 100, Dialect::V1).unwrap()
    }

    #[test]
    fn a_message_of_too_many_fragments_is_refused() {
        assert!(Split::new(65_535 * 100, 100, Dialect::V1).is_some());
        assert!(Split::new(65_535 * 100 + 1, 100, Dialect::V1).is_none());
    }

    #[test]
    fn an_overtaken_fragment_is_sent_again_and_gives_no_round_trip_sample() {
        let start = Instant::now();
        let mut message = message(20);
        while message.transmit(start).is_some() {}
        let later = start + Duration::from_millis(3);
        for offset in 1..=7 {
            let round_trip = Some(Duration::from_millis(3));
            assert_eq!(message.acknowledge(later, 20, offset), Acknowledged::New { round_trip });
        }
        assert_eq!(message.detect_overtaken(), None);
        message.acknowledge(later, 20, 8);
        assert_eq!(message.detect_overtaken(), Some(0));
        assert_eq!(
            message.transmit(later).map(|(offset, _, again)| (offset, again)),
            Some((0, true))
        );
        assert_eq!(message.acknowledge(later, 20, 0), Acknowledged::New { round_trip: None });
    }

    #[test]
    fn a_late_acknowledgement_of_a_lost_fragment_saves_the_repetition() {
        let start = Instant::now();
        let mut message = message(1);
        assert!(message.transmit(start).is_some());
        assert!(message.lose_older(start, Duration::ZERO, false));
        message.acknowledge(start, 1, 0);
        assert!(message.is_acknowledged());
        assert!(message.transmit(start).is_none());
    }

    #[test]
    fn acknowledgements_of_what_was_not_sent_are_bogus() {
        let start = Instant::now();
        let mut message = message(3);
        assert!(message.transmit(start).is_some());
        assert_eq!(message.acknowledge(start, 3, 1), Acknowledged::Bogus);
        assert_eq!(message.acknowledge(start, 2, 0), Acknowledged::Bogus);
        assert_eq!(message.acknowledge(start, 3, 3), Acknowledged::Bogus);
        assert!(matches!(message.acknowledge(start, 3, 0), Acknowledged::New { .. }));
        assert_eq!(message.acknowledge(start, 3, 0), Acknowledged::Again);
    }
}
