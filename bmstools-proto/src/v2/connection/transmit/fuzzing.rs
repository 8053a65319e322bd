//! Packets that no honest side would send.

use std::time::Instant;

use bmstools_common::header::{V2_LEN, v2_ptype};

use super::super::super::packet::{self, MIN_PLAINTEXT, TAG_LEN};
use super::super::super::recovery::Contents;
use super::super::{Connection, DATA};

impl Connection {
    /// Seals any plaintext as this side's next packet of a level, where it has that
    /// level's keys.
    pub(in super::super::super) fn seal_any(
        &mut self,
        now: Instant,
        level: usize,
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let ptype = match (level, &self.keys) {
            (DATA, Some(keys)) => v2_ptype::DATA_EVEN + keys.phase(),
            (0, _) => v2_ptype::INITIAL,
            _ => v2_ptype::HANDSHAKE,
        };
        let number = self.take_number();
        let mut frame = self.header(ptype, number).to_vec();
        frame.extend_from_slice(plaintext);
        frame.resize(V2_LEN + plaintext.len().max(MIN_PLAINTEXT) + TAG_LEN, 0);
        let len = if level == DATA {
            self.keys.as_mut()?.seal(number, V2_LEN, plaintext.len(), &mut frame)
        } else {
            let keys = self.levels.get(level)?.as_ref()?;
            packet::seal(&*keys.local, number, V2_LEN, plaintext.len(), &mut frame)
        };
        // It may be acknowledged.
        self.remember(now, number, level, len, Contents::default(), false);
        (len == frame.len()).then_some(frame)
    }
}
