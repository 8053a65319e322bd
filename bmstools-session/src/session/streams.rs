//! Streams that the peer opened, until somebody has them.

use std::collections::BTreeMap;

use crate::error::SessionError;
use crate::stream::Halves;

/// The peer's streams that nobody has. The peer's limit on streams bounds it.
pub(crate) struct Opened {
    /// The lowest bit of the peer's streams.
    bit: u32,
    /// Where the next number that the peer has not used is.
    next: u64,
    /// To be accepted.
    waiting: BTreeMap<u32, Halves>,
    /// Waited for by number.
    reserved: BTreeMap<u32, Option<Halves>>,
}

impl Opened {
    pub(crate) fn new(bit: u32) -> Self {
        Self { bit, next: 0, waiting: BTreeMap::new(), reserved: BTreeMap::new() }
    }

    /// A stream of the peer's.
    pub(crate) fn insert(&mut self, id: u32, halves: Halves) {
        self.next = self.next.max(u64::from(id) + 1);
        match self.reserved.get_mut(&id) {
            Some(slot) => *slot = Some(halves),
            None => {
                self.waiting.insert(id, halves);
            }
        }
    }

    /// The first to be accepted.
    pub(crate) fn accept(&mut self) -> Option<Halves> {
        self.waiting.pop_first().map(|(_, halves)| halves)
    }

    /// Keeps a stream from being accepted.
    pub(crate) fn reserve(&mut self, id: u32) -> Result<(), SessionError> {
        if id & 1 != self.bit {
            return Err(SessionError::Malformed(format!("stream {id} is not the sender's")));
        }
        let came = self.waiting.remove(&id);
        if self.reserved.contains_key(&id) || (came.is_none() && u64::from(id) < self.next) {
            return Err(SessionError::Malformed(format!("stream {id} is in use already")));
        }
        self.reserved.insert(id, came);
        Ok(())
    }

    /// A reserved stream, where it has come.
    pub(crate) fn take(&mut self, id: u32) -> Option<Halves> {
        self.reserved.get_mut(&id)?.take()
    }

    /// Ends a reservation; true where the stream is to be accepted after all.
    pub(crate) fn release(&mut self, id: u32) -> bool {
        let Some(Some(halves)) = self.reserved.remove(&id) else { return false };
        self.waiting.insert(id, halves);
        true
    }

    /// Takes all.
    pub(crate) fn clear(&mut self) -> Vec<Halves> {
        let reserved = self.reserved.values_mut().filter_map(Option::take).collect::<Vec<_>>();
        std::mem::take(&mut self.waiting).into_values().chain(reserved).collect()
    }
}
