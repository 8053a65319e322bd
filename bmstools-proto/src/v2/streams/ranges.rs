//! A set of numbers as disjoint ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Ranges {
    /// How many numbers there are.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many ranges there are.
    pub(super) fn count(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The lowest range.
    pub(super) fn first(&self) -> Option<Range<u64>> {
        self.ranges.first_key_value().map(|(&start, &end)| start..end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Adds a range; `fresh` is told the parts that were not there.
    #[inline]
    pub(super) fn insert(&mut self, range: Range<u64>, mut fresh: impl FnMut(Range<u64>)) {
        if range.is_empty() {
            return;
        }
        // What arrives in order makes the last range longer.
        if let Some(mut last) = self.ranges.last_entry()
            && *last.get() == range.start
        {
            *last.get_mut() = range.end;
            self.bytes += range.end - range.start;
            fresh(range);
            return;
        }
        self.insert_anywhere(range, fresh);
    }

    fn insert_anywhere(&mut self, range: Range<u64>, mut fresh: impl FnMut(Range<u64>)) {
        let mut start = range.start;
        let mut covered = range.start;
        if let Some((&before, &end)) = self.ranges.range(..range.start).next_back()
            && end >= range.start
        {
            start = before;
            covered = end;
        }
        while let Some((&next, &end)) = self.ranges.range(range.start..=range.end).next() {
            if next > covered {
                self.bytes += next - covered;
                fresh(covered..next);
            }
            covered = covered.max(end);
            self.ranges.remove(&next);
        }
        if range.end > covered {
            self.bytes += range.end - covered;
            fresh(covered..range.end);
            covered = range.end;
        }
        self.ranges.insert(start, covered);
    }

    /// Takes a range out, as far as it is there.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() || self.ranges.is_empty() {
            return;
        }
        if let Some((_, end)) = self.ranges.range_mut(..range.start).next_back()
            && *end > range.start
        {
            let old = std::mem::replace(end, range.start);
            self.bytes -= old.min(range.end) - range.start;
            if old > range.end {
                self.ranges.insert(range.end, old);
                return;
            }
        }
        while let Some((&start, &end)) = self.ranges.range(range.start..range.end).next() {
            self.ranges.remove(&start);
            self.bytes -= end.min(range.end) - start;
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
        }
    }

    /// Tells `missing` the parts of `range` that are not there.
    pub(super) fn missing(&self, range: Range<u64>, mut missing: impl FnMut(Range<u64>)) {
        let mut covered = range.start;
        if let Some((_, &end)) = self.ranges.range(..range.start).next_back() {
            covered = covered.max(end);
        }
        if covered >= range.end {
            return;
        }
        for (&start, &end) in self.ranges.range(range.start..range.end) {
            if start > covered {
                missing(covered..start);
            }
            covered = covered.max(end);
        }
        if range.end > covered {
            missing(covered..range.end);
        }
    }

    /// How much of `range` is there.
    pub(super) fn covered(&self, range: Range<u64>) -> u64 {
        let mut covered = range.end.saturating_sub(range.start);
        self.missing(range, |missing| covered -= missing.end - missing.start);
        covered
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        (any::<bool>(), 0..200u64, 0..40u64).prop_map(|(insert, start, length)| {
            if insert {
                Step::Insert(start, start + length)
            } else {
                Step::Remove(start, start + length)
            }
        })
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_of_numbers(steps in prop::collection::vec(step(), 0..60)) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(start, end) => {
                        let mut missing = Vec::new();
                        ranges.missing(start..end, |range| missing.extend(range));
                        let covered = ranges.covered(start..end);
                        let mut fresh = Vec::new();
                        ranges.insert(start..end, |range| fresh.extend(range));
                        let expected: Vec<u64> = (start..end).filter(|n| model.insert(*n)).collect();
                        prop_assert_eq!(&fresh, &expected);
                        prop_assert_eq!(&missing, &expected);
                        prop_assert_eq!(covered, end - start - expected.len() as u64);
                    }
                    Step::Remove(start, end) => {
                        ranges.remove(start..end);
                        model.retain(|n| !(start..end).contains(n));
                    }
                }
                let all: Vec<u64> = ranges.iter().flatten().collect();
                prop_assert_eq!(all, model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.bytes(), model.len() as u64);
                let list: Vec<_> = ranges.iter().collect();
                prop_assert!(list.iter().all(|range| !range.is_empty()));
                prop_assert!(list.windows(2).all(|pair| pair[0].end < pair[1].start));
                prop_assert_eq!(ranges.count(), list.len());
                prop_assert_eq!(ranges.first(), list.first().cloned());
            }
        }
    }
}
