//! Flow control of what arrives: limits announced, bytes freed, memory held.

use super::Violation;

/// One announced limit: of a stream, or of the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u64,
    announced: u64,
    freed: u64,
}

impl Window {
    pub(super) const fn new(size: u64) -> Self {
        Self { size, announced: size, freed: 0 }
    }

    /// The limit that the peer was told.
    pub(super) const fn announced(&self) -> u64 {
        self.announced
    }

    /// So many bytes are out of the way.
    pub(super) const fn free(&mut self, bytes: u64) {
        self.freed = self.freed.saturating_add(bytes);
    }

    /// Whether the peer should be told of a higher limit: a quarter of the window is
    /// free behind its back.
    pub(super) const fn is_due(&self) -> bool {
        let new = self.freed.saturating_add(self.size);
        new.saturating_sub(self.announced) > self.size / 4
    }

    /// The highest limit there is, which the caller announces.
    pub(super) const fn announce(&mut self) -> u64 {
        self.announced = self.freed.saturating_add(self.size);
        self.announced
    }
}

/// What all streams of a session share on the receiving side.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) window: Window,
    /// What counts for MAX_DATA so far.
    counted: u64,
    /// Bytes that the application has read and is not done with.
    handed: u64,
    pub(super) blocks: BlockBudget,
    /// Gaps in ordered directions.
    pub(super) gaps: Pieces,
    /// Of placed directions: ranges that were received, and pieces to read.
    pub(super) pieces: Pieces,
}

impl Incoming {
    pub(super) const fn new(max_data: u64) -> Self {
        Self {
            window: Window::new(max_data),
            counted: 0,
            handed: 0,
            blocks: BlockBudget {
                held: 0,
                held_max: max_data / 2,
                allocated: 0,
                allocated_max: max_data.saturating_mul(2),
            },
            gaps: Pieces { count: 0, max: MAX_GAPS },
            pieces: Pieces { count: 0, max: MAX_PIECES },
        }
    }

    /// Counts bytes that arrived or never will.
    pub(super) fn count(&mut self, bytes: u64) -> Result<(), Violation> {
        let counted = self.counted.saturating_add(bytes);
        if counted > self.window.announced() {
            return Err(Violation("data beyond MAX_DATA"));
        }
        self.counted = counted;
        Ok(())
    }

    /// The application has read so many.
    pub(super) const fn hand(&mut self, bytes: u64) {
        self.handed = self.handed.saturating_add(bytes);
    }

    /// The application is done with so many of those it read.
    pub(super) fn consume(&mut self, bytes: u64) {
        let bytes = bytes.min(self.handed);
        self.handed -= bytes;
        self.window.free(bytes);
    }

    /// Everything that the peer sent was counted and credited, and nothing is kept.
    #[cfg(test)]
    pub(super) fn assert_drained(&self, sent: u64) {
        assert_eq!(self.counted, sent);
        assert_eq!(self.window.freed, sent);
        assert_eq!((self.handed, self.blocks.held, self.blocks.allocated), (0, 0, 0));
        assert_eq!((self.gaps.count, self.pieces.count), (0, 0));
    }
}

/// Unfinished blocks of placed directions, all streams together.
#[derive(Debug)]
pub(super) struct BlockBudget {
    /// Bytes that arrived in them. More than half of the window could hold the sender
    /// up for good: it would wait for room, and the blocks for its data.
    pub(super) held: u64,
    held_max: u64,
    /// Bytes of memory that they take.
    pub(super) allocated: u64,
    allocated_max: u64,
}

impl BlockBudget {
    pub(super) const fn is_exceeded(&self) -> bool {
        self.held > self.held_max || self.allocated > self.allocated_max
    }
}

/// How many pieces the data of all streams is in: each costs memory, however short.
#[derive(Debug)]
pub(super) struct Pieces {
    count: usize,
    max: usize,
}

impl Pieces {
    /// Of one direction, there were `before` pieces and are `after`.
    pub(super) const fn change(&mut self, before: usize, after: usize) -> Result<(), Violation> {
        self.count = self.count.saturating_sub(before).saturating_add(after);
        if self.count > self.max && after > before {
            return Err(Violation("data in too many pieces"));
        }
        Ok(())
    }

    /// One direction, which had so many pieces, has none any more.
    pub(super) const fn release(&mut self, pieces: usize) {
        self.count = self.count.saturating_sub(pieces);
    }
}

/// Several times what an honest sender can leave open with a few thousand frames under
/// way. Each costs some 250 bytes.
const MAX_GAPS: usize = 8192;
/// For files with many holes. Each costs 30 to 170 bytes.
const MAX_PIECES: usize = 1 << 18;
