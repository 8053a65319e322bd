//! What packets carried.

use super::super::streams::StreamId;

/// Something that must reach the peer, kept with the packet that carried it. Small and
/// `Copy`: most packets carry one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// CRYPTO bytes of a level.
    Crypto {
        level: u8,
        offset: u32,
        len: u16,
    },
    Stream {
        stream: StreamId,
        offset: u64,
        len: u16,
        end: bool,
    },
    Placed {
        stream: StreamId,
        offset: u64,
        len: u16,
    },
    PlacedEnd {
        stream: StreamId,
    },
    MaxData,
    MaxStreamData {
        stream: StreamId,
    },
    MaxStreams,
    ResetStream {
        stream: StreamId,
    },
    StopSending {
        stream: StreamId,
    },
    HandshakeDone,
    /// An ACK whose largest was this: acknowledged, older ranges need no repetition.
    Ack {
        largest: u64,
    },
    /// A probe for frames of this size: its loss is no sign of congestion and nothing
    /// is sent again.
    SizeProbe {
        size: u16,
    },
}

/// What a packet carried. No allocation for up to 2 contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    first: [Option<Content>; INLINE],
    more: Vec<Content>,
}

impl Contents {
    pub(crate) fn push(&mut self, content: Content) {
        match self.first.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(content),
            None => self.more.push(content),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Content> + '_ {
        self.first.iter().flatten().chain(&self.more).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first[0].is_none()
    }

    /// Whether this carries probes for the frame size and nothing else.
    pub(super) fn is_size_probe(&self) -> bool {
        !self.is_empty() && self.iter().all(|content| matches!(content, Content::SizeProbe { .. }))
    }

    /// Appends everything to `out` and leaves nothing.
    pub(super) fn move_to(&mut self, out: &mut Vec<Content>) {
        out.extend(self.first.iter_mut().filter_map(Option::take));
        if !self.more.is_empty() {
            out.append(&mut self.more);
        }
    }
}

const INLINE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_kept_in_order_however_many() {
        let mut contents = Contents::default();
        assert!(contents.is_empty());
        let all: Vec<_> = (0..5).map(|largest| Content::Ack { largest }).collect();
        for &content in &all {
            contents.push(content);
        }
        assert!(!contents.is_empty());
        assert_eq!(contents.iter().collect::<Vec<_>>(), all);
        let mut out = Vec::new();
        contents.move_to(&mut out);
        assert_eq!(out, all);
        assert!(contents.is_empty() && contents.iter().next().is_none());
    }

    #[test]
    fn a_content_is_small() {
        assert_eq!(size_of::<Content>(), 16);
        assert_eq!(size_of::<Contents>(), 56);
    }

    #[test]
    fn a_size_probe_is_one_only_alone() {
        let mut contents = Contents::default();
        assert!(!contents.is_size_probe());
        contents.push(Content::SizeProbe { size: 1500 });
        assert!(contents.is_size_probe());
        contents.push(Content::MaxData);
        assert!(!contents.is_size_probe());
    }
}
