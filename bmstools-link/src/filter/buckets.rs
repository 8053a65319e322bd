//! Token buckets of the sources seen last.

use std::collections::HashMap;

use bmstools_common::Mac;
use bmstools_common::maps::OPEN_BUCKETS_CAPACITY;

/// Bucket states by source, at most [`OPEN_BUCKETS_CAPACITY`] of them.
///
/// Two generations stand in for a list in order of use: what is used is moved to
/// the young one, and when that is full the old one is forgotten whole.
#[derive(Default)]
pub(super) struct Buckets {
    young: HashMap<Mac, u64>,
    old: HashMap<Mac, u64>,
}

impl Buckets {
    /// The state of a source's bucket: a full one where the source is new or
    /// forgotten.
    pub(super) fn state(&mut self, source: Mac) -> &mut u64 {
        if self.young.len() >= GENERATION && !self.young.contains_key(&source) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(source).or_insert_with(|| old.remove(&source).unwrap_or_default())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

const GENERATION: usize = OPEN_BUCKETS_CAPACITY as usize / 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    #[test]
    fn a_flood_of_sources_does_not_grow_the_table() {
        let mut buckets = Buckets::default();
        for n in 0..100_000 {
            *buckets.state(mac(n)) = 1;
        }
        assert!(buckets.len() <= OPEN_BUCKETS_CAPACITY as usize);
    }

    #[test]
    fn a_source_that_keeps_coming_is_remembered_through_a_flood() {
        let mut buckets = Buckets::default();
        *buckets.state(mac(0)) = 7;
        for n in 1..20_000 {
            *buckets.state(mac(n)) = 1;
            if n % 1000 == 0 {
                assert_eq!(*buckets.state(mac(0)), 7);
            }
        }
    }
}
