//! Names, keys, values and sizes of the maps that the XDP program and userspace
//! share. Keys and values cross as byte arrays, so that neither side needs
//! unsafe casts.

use crate::ethernet::{Mac, Peer};
use crate::header::{Dialect, Framing, VERSION_1, VERSION_2};

/// Per-CPU array of `u64`, indexed by [`Counter`](crate::counters::Counter).
pub const COUNTERS: &str = "COUNTERS";
/// Hash of live sessions: [`SessionKey`] to [`framing_code`].
pub const SESSIONS: &str = "SESSIONS";
/// AF_XDP sockets by receiving queue.
pub const SOCKETS: &str = "SOCKETS";
/// Ring buffer of [`ring`] records: opens, and frames of queues with no socket.
pub const RING: &str = "RING";
/// Array of one [`Config`].
pub const CONFIG: &str = "CONFIG";
/// LRU hash of token buckets by source address.
pub const OPEN_BUCKETS: &str = "OPEN_BUCKETS";
/// Array of one token bucket for all sources together.
pub const OPEN_BUCKET: &str = "OPEN_BUCKET";

/// Live sessions of one interface at most.
pub const SESSIONS_CAPACITY: u32 = 8192;
/// Queues of one interface at most.
pub const SOCKETS_CAPACITY: u32 = 256;
/// Sources whose opens are remembered; the least recently seen is forgotten.
pub const OPEN_BUCKETS_CAPACITY: u32 = 4096;
/// Bytes of the ring buffer.
pub const RING_CAPACITY: u32 = 1 << 20;

/// A live session as the XDP program finds it: peer, VLAN, version and our key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionKey([u8; 13]);

impl SessionKey {
    /// The session that `peer` reaches by `key` in frames of version 1.
    pub const fn v1(peer: Peer, key: u16) -> Self {
        Self::new(peer, VERSION_1, key)
    }

    /// The session that `peer` reaches by `key` in frames of version 2.
    pub const fn v2(peer: Peer, key: u16) -> Self {
        Self::new(peer, VERSION_2, key)
    }

    /// The session that `peer` reaches by `key` in frames of this version.
    #[inline(always)]
    pub const fn new(peer: Peer, version: u8, key: u16) -> Self {
        let Mac([a, b, c, d, e, f]) = peer.mac;
        let [g, h, i, j] = peer.vlan.code();
        let [k, l] = key.to_be_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, version])
    }

    /// The key that the session's frames name: this side's.
    pub const fn local_key(self) -> u16 {
        let [.., high, low, _] = self.0;
        u16::from_be_bytes([high, low])
    }

    /// The map's key.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 13] {
        self.0
    }
}

/// The value of a session in its map.
pub const fn framing_code(framing: Framing) -> u32 {
    match framing {
        Framing::V1(Dialect::V1) => 0,
        Framing::V1(Dialect::V1Deployed) => 1,
        Framing::V2 => 2,
    }
}

/// The framing of a session's value in its map.
#[inline(always)]
pub const fn framing_from_code(code: u32) -> Framing {
    match code {
        0 => Framing::V1(Dialect::V1),
        1 => Framing::V1(Dialect::V1Deployed),
        _ => Framing::V2,
    }
}

/// What userspace tells the XDP program before it is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The interface's address: frames to others are not ours.
    pub local: Mac,
    /// Limit on opens from one source.
    pub per_source: Rate,
    /// Limit on opens from all sources together.
    pub global: Rate,
}

/// A limit on opens, for [`rate::take`](crate::rate::take).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Nanoseconds that one open costs.
    pub interval_ns: u64,
    /// Opens that may come at once.
    pub burst: u64,
}

impl Config {
    /// Bytes of the map's value.
    pub const LEN: usize = 40;

    /// The map's value: the address in the first 6 bytes, then four
    /// native-endian `u64` from byte 8 on.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..6].copy_from_slice(&self.local.0);
        let numbers = [
            self.per_source.interval_ns,
            self.per_source.burst,
            self.global.interval_ns,
            self.global.burst,
        ];
        for (slot, number) in bytes[8..].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    #[inline(always)]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            local: Self::local_of(bytes),
            per_source: Rate { interval_ns: number(bytes, 8), burst: number(bytes, 16) },
            global: Rate { interval_ns: number(bytes, 24), burst: number(bytes, 32) },
        }
    }
}

impl Config {
    /// Reads the address alone out of what [`to_bytes`](Self::to_bytes) wrote:
    /// all that a frame which is no open needs.
    #[inline(always)]
    pub const fn local_of(bytes: &[u8; Self::LEN]) -> Mac {
        let [a, b, c, d, e, f, ..] = *bytes;
        Mac([a, b, c, d, e, f])
    }
}

#[inline(always)]
fn number(bytes: &[u8; Config::LEN], at: usize) -> u64 {
    let mut number = [0; 8];
    let mut i = 0;
    while i < 8 {
        number[i] = bytes[at + i];
        i += 1;
    }
    u64::from_ne_bytes(number)
}

/// Records of the ring buffer: a header, then the frame from its Ethernet
/// header on.
///
/// Two sizes of record keep a flood of opens from filling the ring with empty
/// bytes.
pub mod ring {
    /// Bytes of a record's header: the frame's length and the receiving queue,
    /// as native-endian `u32`.
    pub const HEADER_LEN: usize = 8;
    /// Frame bytes in a short record: any open fits, which has at most 256 bytes
    /// behind two VLAN tags.
    pub const SHORT_FRAME: usize = 280;
    /// Frame bytes in a long record: any frame that one AF_XDP buffer holds.
    pub const LONG_FRAME: usize = 3584;

    /// The header of a record of a frame of `len` bytes from `queue`.
    #[inline(always)]
    pub const fn header(len: u32, queue: u32) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = len.to_ne_bytes();
        let [e, f, g, h] = queue.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The frame in a record; `None` where the record's length does not hold
    /// what its header says.
    pub fn frame(record: &[u8]) -> Option<&[u8]> {
        let (header, rest) = record.split_first_chunk::<HEADER_LEN>()?;
        let [a, b, c, d, ..] = *header;
        rest.get(..u32::from_ne_bytes([a, b, c, d]) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_comes_back_as_it_was() {
        let config = Config {
            local: Mac([1, 2, 3, 4, 5, 6]),
            per_source: Rate { interval_ns: 7, burst: 8 },
            global: Rate { interval_ns: 9, burst: u64::MAX },
        };
        assert_eq!(Config::from_bytes(&config.to_bytes()), config);
    }

    #[test]
    fn a_ring_record_whose_header_lies_has_no_frame() {
        let mut record = [0; 16];
        record[..8].copy_from_slice(&ring::header(8, 3));
        assert_eq!(ring::frame(&record), Some(&[0; 8][..]));
        record[..8].copy_from_slice(&ring::header(9, 3));
        assert_eq!(ring::frame(&record), None);
        assert_eq!(ring::frame(&record[..7]), None);
    }
}
