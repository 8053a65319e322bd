//! Whose turn it is to send.

use std::collections::{BTreeMap, VecDeque};

use super::StreamId;

/// Streams with something to send, by priority.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    buckets: BTreeMap<u8, VecDeque<StreamId>>,
    /// Frames that the stream in front has sent in this turn.
    sent: u32,
}

impl Schedule {
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Adds a stream, which is not in yet, behind its equals.
    pub(super) fn push(&mut self, stream: StreamId, priority: u8) {
        // A higher one interrupts the turn of what was in front.
        if self.buckets.last_key_value().is_none_or(|(&highest, _)| priority > highest) {
            self.sent = 0;
        }
        self.buckets.entry(priority).or_default().push_back(stream);
    }

    /// Whose turn it is, and its priority.
    pub(super) fn front(&self) -> Option<(StreamId, u8)> {
        let (&priority, bucket) = self.buckets.last_key_value()?;
        Some((*bucket.front()?, priority))
    }

    /// The stream in front has sent a frame: it is the next one's turn after 16.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
        if self.sent >= TURN
            && let Some(mut highest) = self.buckets.last_entry()
        {
            self.sent = 0;
            highest.get_mut().rotate_left(1);
        }
    }

    /// Takes the stream in front out.
    pub(super) fn pop(&mut self) {
        self.sent = 0;
        if let Some(mut highest) = self.buckets.last_entry() {
            highest.get_mut().pop_front();
            if highest.get().is_empty() {
                highest.remove();
            }
        }
    }

    /// Takes a stream out, wherever it is.
    pub(super) fn remove(&mut self, stream: StreamId, priority: u8) {
        if self.front() == Some((stream, priority)) {
            self.pop();
        } else if let Some(bucket) = self.buckets.get_mut(&priority) {
            bucket.retain(|other| *other != stream);
            if bucket.is_empty() {
                self.buckets.remove(&priority);
            }
        }
    }

    /// Keeps those that `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(StreamId) -> bool) {
        self.buckets.retain(|_, bucket| {
            bucket.retain(|stream| keep(*stream));
            !bucket.is_empty()
        });
        self.sent = 0;
    }
}

/// Frames of one stream until its equals have their turn.
const TURN: u32 = 16;
