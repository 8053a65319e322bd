//! What a transfer did.

use bmstools_proto::v2::message::Failure;

/// What one attempt at a transfer did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Files, directories and links that are in place.
    pub entries: u64,
    /// Bytes of the files that are in place.
    pub bytes: u64,
    /// Bytes of files that went over the wire.
    pub sent: u64,
    /// Bytes of files that were at the receiver before.
    pub resumed: u64,
    /// Where the root is at the receiver.
    pub path: Vec<u8>,
    /// Paths below the source that are no files, directories or links, and their
    /// kinds. At most [`MAX_TOLD`].
    pub skipped: Vec<(Vec<u8>, String)>,
    /// How many are skipped.
    pub skipped_count: u64,
    /// Entries that are not in place, and why. At most [`MAX_TOLD`].
    pub failures: Vec<Failure>,
    /// How many are not in place.
    pub failed: u64,
}

impl Summary {
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if self.failures.len() < MAX_TOLD {
            self.failures.push(failure);
        }
    }

    pub(crate) fn skip(&mut self, path: Vec<u8>, kind: &str) {
        self.skipped_count += 1;
        if self.skipped.len() < MAX_TOLD {
            self.skipped.push((path, kind.to_owned()));
        }
    }
}

/// Paths told of one by one at most: nobody reads more, and a tree may have millions.
pub(crate) const MAX_TOLD: usize = 100;
