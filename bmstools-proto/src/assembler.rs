//! Messages out of fragments: order, duplicates and memory.

use crate::control;
use crate::wire::{Frame, Kind};

/// A whole message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
}

/// What a fragment did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It came before: acknowledge it again, and nothing else.
    Duplicate,
    /// It is kept until the others come.
    Stored,
    /// It was the last one missing.
    Complete(Message),
}

/// A fragment that is neither kept nor acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// What the messages of a session may grow to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a message.
    pub(crate) message: usize,
    /// Fragments of a message.
    pub(crate) fragments: u16,
    /// Whether a message of several fragments may be begun.
    pub(crate) may_begin: bool,
}

/// Puts one direction's messages together, one after the other.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// The message that is awaited; `None` when all 2³² are used up.
    next: Option<u32>,
    partial: Option<Partial>,
}

/// A message of which fragments are missing.
///
/// Fragments may differ in size, so a fragment's place is known only when all
/// before it are there: they are kept in order of arrival, and moved at the end
/// if that was not their order.
#[derive(Debug)]
struct Partial {
    kind: Kind,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    missing: u16,
    in_order: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    len: u32,
}

impl Slot {
    const EMPTY: Self = Self { start: u32::MAX, len: 0 };
}

impl Assembler {
    /// Awaits the message `next`.
    pub(crate) const fn new(next: u32) -> Self {
        Self { next: Some(next), partial: None }
    }

    /// Whether fragments of a message are kept.
    pub(crate) const fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether `frame` belongs to a message that is complete already.
    pub(crate) fn is_duplicate(&self, frame: &Frame<'_>) -> bool {
        self.next.is_none_or(|next| frame.sequence < next)
    }

    /// Whether `frame`, of a message of its own, would give up the awaited one.
    pub(crate) fn would_skip(&self, frame: &Frame<'_>) -> bool {
        self.next.is_some_and(|next| frame.sequence > next) || self.is_partial()
    }

    /// Takes a fragment.
    ///
    /// An end may skip what its sender gave up; anything else must be the awaited
    /// message.
    ///
    /// # Errors
    ///
    /// [`Refused`] where it fits no message that may be received.
    pub(crate) fn accept(
        &mut self,
        frame: &Frame<'_>,
        limits: Limits,
    ) -> Result<Accepted, Refused> {
        if self.is_duplicate(frame) {
            return Ok(Accepted::Duplicate);
        }
        if frame.kind == Kind::End {
            self.partial = None;
            return Ok(self.complete(frame.sequence, Kind::End, Vec::new()));
        }
        if self.next != Some(frame.sequence) || frame.data.len() > limits.message {
            return Err(Refused);
        }
        if frame.kind == Kind::Control
            && frame.offset == 0
            && let Some((_, len)) = control::parse_header(frame.data)
            && len > limits.message
        {
            return Err(Refused);
        }
        if frame.count == 1 {
            if self.partial.is_some() || !is_sound(frame.kind, frame.data) {
                return Err(Refused);
            }
            return Ok(self.complete(frame.sequence, frame.kind, frame.data.to_vec()));
        }
        self.accept_fragment(frame, limits)
    }

    fn accept_fragment(&mut self, frame: &Frame<'_>, limits: Limits) -> Result<Accepted, Refused> {
        let partial = match &mut self.partial {
            Some(partial) => partial,
            None if !limits.may_begin || frame.count > limits.fragments => return Err(Refused),
            None => self.partial.insert(Partial::new(frame)),
        };
        if partial.kind != frame.kind || partial.slots.len() != usize::from(frame.count) {
            return Err(Refused);
        }
        let slot = &mut partial.slots[usize::from(frame.offset)];
        if slot.start != u32::MAX {
            return Ok(Accepted::Duplicate);
        }
        let start = partial.bytes.len();
        if start + frame.data.len() > limits.message {
            return Err(Refused);
        }
        partial.in_order &= frame.offset == frame.count - partial.missing;
        *slot = Slot { start: start as u32, len: frame.data.len() as u32 };
        partial.bytes.extend_from_slice(frame.data);
        partial.missing -= 1;
        if partial.missing > 0 {
            return Ok(Accepted::Stored);
        }
        let data = match self.partial.take() {
            Some(partial) => partial.into_message(),
            None => Vec::new(),
        };
        if !is_sound(frame.kind, &data) {
            return Err(Refused);
        }
        Ok(self.complete(frame.sequence, frame.kind, data))
    }

    fn complete(&mut self, sequence: u32, kind: Kind, data: Vec<u8>) -> Accepted {
        self.next = sequence.checked_add(1);
        Accepted::Complete(Message { kind, data })
    }
}

impl Partial {
    fn new(frame: &Frame<'_>) -> Self {
        Self {
            kind: frame.kind,
            bytes: Vec::new(),
            slots: vec![Slot::EMPTY; usize::from(frame.count)],
            missing: frame.count,
            in_order: true,
        }
    }

    fn into_message(self) -> Vec<u8> {
        if self.in_order {
            return self.bytes;
        }
        let mut message = Vec::with_capacity(self.bytes.len());
        for Slot { start, len } in self.slots {
            let start = start as usize;
            message.extend_from_slice(&self.bytes[start..start + len as usize]);
        }
        message
    }
}

/// Whether a control message holds as many bytes as it says.
fn is_sound(kind: Kind, data: &[u8]) -> bool {
    kind != Kind::Control || control::parse(data).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message: 100, fragments: 10, may_begin: true };

    fn frame(sequence: u32, count: u16, offset: u16, data: &[u8]) -> Frame<'_> {
        Frame { kind: Kind::Data, srckey: 1, dstkey: 2, sequence, count, offset, vlan: 0, data }
    }

    fn message(data: &[u8]) -> Result<Accepted, Refused> {
        Ok(Accepted::Complete(Message { kind: Kind::Data, data: data.to_vec() }))
    }

    #[test]
    fn fragments_of_any_size_in_any_order_make_the_message() {
        let mut assembler = Assembler::new(0);
        assert_eq!(assembler.accept(&frame(0, 3, 2, b"fgh"), LIMITS), Ok(Accepted::Stored));
        assert_eq!(assembler.accept(&frame(0, 3, 0, b"a"), LIMITS), Ok(Accepted::Stored));
        assert_eq!(assembler.accept(&frame(0, 3, 0, b"x"), LIMITS), Ok(Accepted::Duplicate));
        assert_eq!(assembler.accept(&frame(0, 3, 1, b"bcde"), LIMITS), message(b"abcdefgh"));
        assert_eq!(assembler.accept(&frame(0, 3, 1, b"bcde"), LIMITS), Ok(Accepted::Duplicate));
        assert_eq!(assembler.accept(&frame(1, 1, 0, b"next"), LIMITS), message(b"next"));
    }

    #[test]
    fn a_message_past_its_limits_is_refused() {
        let mut assembler = Assembler::new(0);
        assert_eq!(assembler.accept(&frame(0, 11, 0, b"a"), LIMITS), Err(Refused));
        assert_eq!(assembler.accept(&frame(0, 1, 0, &[0; 101]), LIMITS), Err(Refused));
        assert_eq!(assembler.accept(&frame(0, 2, 0, &[0; 60]), LIMITS), Ok(Accepted::Stored));
        assert_eq!(assembler.accept(&frame(0, 2, 1, &[0; 60]), LIMITS), Err(Refused));
        let full = Limits { may_begin: false, ..LIMITS };
        assert_eq!(Assembler::new(0).accept(&frame(0, 2, 0, b"a"), full), Err(Refused));
    }

    #[test]
    fn a_fragment_that_disagrees_with_the_first_is_refused() {
        let mut assembler = Assembler::new(0);
        assert_eq!(assembler.accept(&frame(0, 3, 0, b"a"), LIMITS), Ok(Accepted::Stored));
        assert_eq!(assembler.accept(&frame(0, 4, 1, b"b"), LIMITS), Err(Refused));
        assert_eq!(assembler.accept(&frame(0, 1, 0, b"b"), LIMITS), Err(Refused));
        assert_eq!(assembler.accept(&frame(1, 3, 1, b"b"), LIMITS), Err(Refused));
    }

    #[test]
    fn an_end_may_come_in_the_middle_of_a_message() {
        let mut assembler = Assembler::new(0);
        assert_eq!(assembler.accept(&frame(0, 3, 0, b"a"), LIMITS), Ok(Accepted::Stored));
        let end = Frame { kind: Kind::End, ..frame(1, 1, 0, b"") };
        let ended = Message { kind: Kind::End, data: Vec::new() };
        assert_eq!(assembler.accept(&end, LIMITS), Ok(Accepted::Complete(ended)));
        assert_eq!(assembler.accept(&end, LIMITS), Ok(Accepted::Duplicate));
    }

    #[test]
    fn the_last_sequence_number_is_not_followed_by_the_first() {
        let mut assembler = Assembler::new(u32::MAX);
        assert_eq!(assembler.accept(&frame(u32::MAX, 1, 0, b"a"), LIMITS), message(b"a"));
        assert_eq!(assembler.accept(&frame(0, 1, 0, b"a"), LIMITS), Ok(Accepted::Duplicate));
    }
}
