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
    /// To be accepted, once the peer has used them: using a stream opens all below it,
    /// which the peer may still name in a message.
    waiting: BTreeMap<u32, Waiting>,
    /// Waited for by number.
    reserved: BTreeMap<u32, Option<Halves>>,
}

/// A stream that nobody has.
struct Waiting {
    halves: Halves,
    is_used: bool,
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
                self.waiting.insert(id, Waiting { halves, is_used: false });
            }
        }
    }

    /// The peer has used the stream itself.
    pub(crate) fn used(&mut self, id: u32) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.is_used = true;
        }
    }

    /// The first to be accepted.
    pub(crate) fn accept(&mut self) -> Option<Halves> {
        let (&id, _) = self.waiting.iter().find(|(_, waiting)| waiting.is_used)?;
        self.waiting.remove(&id).map(|waiting| waiting.halves)
    }

    /// Keeps a stream from being accepted.
    pub(crate) fn reserve(&mut self, id: u32) -> Result<(), SessionError> {
        if id & 1 != self.bit {
            return Err(SessionError::Malformed(format!("stream {id} is not the sender's")));
        }
        let came = self.waiting.remove(&id).map(|waiting| waiting.halves);
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
        self.waiting.insert(id, Waiting { halves, is_used: true });
        true
    }

    /// Takes all.
    pub(crate) fn clear(&mut self) -> Vec<Halves> {
        let reserved = self.reserved.values_mut().filter_map(Option::take).collect::<Vec<_>>();
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.map(|waiting| waiting.halves).chain(reserved).collect()
    }
}
