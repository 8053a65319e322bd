//! What a peer could send that keeps no rules.

use bmstools_common::header::{V2_LEN, v2_ptype};

use super::super::packet::{self, MIN_PLAINTEXT, TAG_LEN};
use super::super::recovery::Contents;
use super::{Connection, DATA, HANDSHAKE};

impl Connection {
    /// The next packet's number, after `skipped` that are never used.
    pub(in super::super) fn spend_numbers(&mut self, skipped: u64) -> u64 {
        let number = self.next_number + skipped;
        self.next_number = number + 1;
        // It may be acknowledged.
        self.remember(self.last_received, number, DATA, 64, Contents::default(), false);
        number
    }

    /// As many numbers as were used.
    pub(in super::super) fn spent_numbers(&self) -> u64 {
        self.next_number
    }

    /// A packet from this side with any plaintext, sealed with its true keys.
    pub(in super::super) fn forge(&mut self, level: usize, number: u64, text: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; V2_LEN + text.len().max(MIN_PLAINTEXT) + TAG_LEN];
        let ptype = match level {
            DATA => v2_ptype::DATA_EVEN | self.keys.as_ref().unwrap().phase(),
            HANDSHAKE => v2_ptype::HANDSHAKE,
            _ => v2_ptype::INITIAL,
        };
        buffer[..V2_LEN].copy_from_slice(&self.header(ptype, number));
        buffer[V2_LEN..V2_LEN + text.len()].copy_from_slice(text);
        let len = if level == DATA {
            self.keys.as_mut().unwrap().seal(number, V2_LEN, text.len(), &mut buffer)
        } else {
            let keys = self.levels[level].as_ref().unwrap();
            packet::seal(&*keys.local, number, V2_LEN, text.len(), &mut buffer)
        };
        assert_eq!(len, buffer.len());
        buffer
    }
}
