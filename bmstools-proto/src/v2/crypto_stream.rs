//! The handshake's bytes of one encryption level, each way (docs/protocol-v2.md, "TLS").

use std::collections::VecDeque;

use super::connection::Fault;

/// Bytes of one level at most: a handshake needs about 1 kB, with the largest keys 3 kB.
const MAX_CRYPTO: usize = 8 << 10;

/// One level.
#[derive(Debug, Default)]
pub(super) struct CryptoStream {
    /// Everything that was to be sent so far.
    outgoing: Vec<u8>,
    /// How much of it has been sent once.
    sent: usize,
    /// Lost pieces.
    again: Vec<(usize, usize)>,
    /// Bytes behind those that were read, as far as they are there. In one piece, so that
    /// overlapping ones cost nothing: whoever sends them has proven no more than an address.
    incoming: VecDeque<Option<u8>>,
    /// Bytes that were handed to TLS.
    read: usize,
}

impl CryptoStream {
    /// Appends bytes to send.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    pub(super) fn wants_transmit(&self) -> bool {
        !self.again.is_empty() || self.sent < self.outgoing.len()
    }

    /// The next piece of at most `room` bytes: its offset and bytes.
    pub(super) fn next(&mut self, room: usize) -> Option<(u32, &[u8])> {
        if room == 0 {
            return None;
        }
        let (begin, end) = match self.again.pop() {
            Some((begin, end)) => {
                let cut = end.min(begin + room);
                if cut < end {
                    self.again.push((cut, end));
                }
                (begin, cut)
            }
            None if self.sent < self.outgoing.len() => {
                let begin = self.sent;
                self.sent = self.outgoing.len().min(begin + room);
                (begin, self.sent)
            }
            None => return None,
        };
        let bytes = self.outgoing.get(begin..end)?;
        Some((u32::try_from(begin).ok()?, bytes))
    }

    /// A piece was lost: it is sent again.
    pub(super) fn lost(&mut self, offset: u32, len: u16) {
        let begin = offset as usize;
        let piece = (begin, begin + usize::from(len));
        if piece.1 <= self.sent && !self.again.contains(&piece) {
            self.again.push(piece);
        }
    }

    /// Takes bytes of the peer; what can be handed on in order.
    ///
    /// # Errors
    ///
    /// Where a handshake could not be that long.
    pub(super) fn receive(&mut self, offset: u32, data: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let end = offset as usize + data.len();
        if end > MAX_CRYPTO {
            return Err(Fault::Violation("a handshake of more than 8 KiB"));
        }
        let begin = (offset as usize).max(self.read);
        let Some(new) = data.get(begin - offset as usize..).filter(|new| !new.is_empty()) else {
            return Ok(None);
        };
        let at = begin - self.read;
        if self.incoming.len() < at + new.len() {
            self.incoming.resize(at + new.len(), None);
        }
        for (slot, byte) in self.incoming.range_mut(at..).zip(new) {
            slot.get_or_insert(*byte);
        }
        let there = self.incoming.iter().take_while(|byte| byte.is_some()).count();
        self.read += there;
        let ready: Vec<u8> = self.incoming.drain(..there).flatten().collect();
        Ok((!ready.is_empty()).then_some(ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_whatever_order_they_come_in() {
        let mut stream = CryptoStream::default();
        assert_eq!(stream.receive(3, b"def").unwrap(), None);
        assert_eq!(stream.receive(3, b"d").unwrap(), None);
        assert_eq!(stream.receive(0, b"abcd").unwrap(), Some(b"abcdef".to_vec()));
        assert_eq!(stream.receive(0, b"abcd").unwrap(), None);
        assert_eq!(stream.receive(6, b"g").unwrap(), Some(b"g".to_vec()));
    }

    #[test]
    fn more_than_a_handshake_is_refused() {
        let mut stream = CryptoStream::default();
        assert!(stream.receive(u32::MAX, b"x").is_err());
        assert!(stream.receive(8 << 10, b"x").is_err());
        assert_eq!(stream.receive((8 << 10) - 1, b"x").unwrap(), None);
    }

    #[test]
    fn pieces_that_overlap_cost_no_more_than_the_handshake() {
        let mut stream = CryptoStream::default();
        for offset in 1..7 << 10 {
            assert_eq!(stream.receive(offset, &[7; 1024]).unwrap(), None);
        }
        assert!(stream.incoming.len() <= MAX_CRYPTO);
        assert_eq!(stream.receive(0, &[7]).unwrap().map(|all| all.len()), Some(8191));
        assert!(stream.incoming.is_empty());
    }

    #[test]
    fn lost_pieces_are_sent_again_in_the_room_there_is() {
        let mut stream = CryptoStream::default();
        stream.write(b"0123456789");
        assert_eq!(stream.next(6), Some((0, &b"012345"[..])));
        assert_eq!(stream.next(6), Some((6, &b"6789"[..])));
        assert_eq!(stream.next(6), None);
        stream.lost(0, 6);
        stream.lost(0, 6);
        assert!(stream.wants_transmit());
        assert_eq!(stream.next(4), Some((0, &b"0123"[..])));
        assert_eq!(stream.next(4), Some((4, &b"45"[..])));
        assert!(!stream.wants_transmit());
    }
}
