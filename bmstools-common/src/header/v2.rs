//! The header of version 2.

use super::{HeaderError, VERSION_2};
use crate::packet::Packet;

/// Bytes of the v2 header.
pub const V2_LEN: usize = 14;
/// Bytes behind the header of an open at least: an answer is never longer than the
/// question.
pub const V2_OPEN_BODY: usize = 64;

/// Packet types of v2.
pub mod v2_ptype {
    /// Opens a session: unsealed up to and with the cookie, the rest sealed with
    /// the initial keys.
    pub const OPEN: u8 = 0;
    /// Asks the sender of an open to repeat it with this cookie. Unsealed.
    pub const RETRY: u8 = 1;
    /// Sealed with the initial keys.
    pub const INITIAL: u8 = 2;
    /// Sealed with the handshake keys.
    pub const HANDSHAKE: u8 = 3;
    /// Sealed with the session's keys of an even generation.
    pub const DATA_EVEN: u8 = 4;
    /// Sealed with the session's keys of an odd generation.
    pub const DATA_ODD: u8 = 5;
}

/// The header of version 2: the six bytes that all versions share, then the packet
/// number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V2Header {
    /// Packet type, one of [`v2_ptype`].
    pub ptype: u8,
    /// The sender's session key.
    pub srckey: u16,
    /// The receiver's session key, 0 while unknown.
    pub dstkey: u16,
    /// Number of the packet within its direction, never used twice.
    pub packet_number: u64,
}

impl V2Header {
    /// The header at byte `at` of `packet`.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Truncated`], [`HeaderError::Version`] and
    /// [`HeaderError::PacketType`].
    #[inline(always)]
    pub fn parse<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Self, HeaderError> {
        let bytes: [u8; V2_LEN] = packet.read(at).ok_or(HeaderError::Truncated)?;
        let [version, ptype, s0, s1, d0, d1, n0, n1, n2, n3, n4, n5, n6, n7] = bytes;
        if version != VERSION_2 {
            return Err(HeaderError::Version);
        }
        if ptype > v2_ptype::DATA_ODD {
            return Err(HeaderError::PacketType);
        }
        Ok(Self {
            ptype,
            srckey: u16::from_be_bytes([s0, s1]),
            dstkey: u16::from_be_bytes([d0, d1]),
            packet_number: u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
        })
    }

    /// The 14 bytes on the wire.
    #[inline]
    pub fn emit(&self) -> [u8; V2_LEN] {
        let [s0, s1] = self.srckey.to_be_bytes();
        let [d0, d1] = self.dstkey.to_be_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = self.packet_number.to_be_bytes();
        [VERSION_2, self.ptype, s0, s1, d0, d1, n0, n1, n2, n3, n4, n5, n6, n7]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; V2_LEN] = [2, 5, 0x12, 0x34, 0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn a_header_comes_back_as_it_was() {
        let header = V2Header {
            ptype: v2_ptype::DATA_ODD,
            srckey: 0x1234,
            dstkey: 0xabcd,
            packet_number: 0x0102_0304_0506_0708,
        };
        assert_eq!(header.emit(), BYTES);
        assert_eq!(V2Header::parse(&BYTES[..], 0), Ok(header));
        let behind_two_bytes = [&[9, 9], &BYTES[..]].concat();
        assert_eq!(V2Header::parse(&behind_two_bytes[..], 2), Ok(header));
    }

    #[test]
    fn a_header_is_refused_for_its_length_its_version_and_its_type() {
        for cut in 0..V2_LEN {
            assert_eq!(V2Header::parse(&BYTES[..cut], 0), Err(HeaderError::Truncated));
        }
        assert_eq!(V2Header::parse(&BYTES[..], usize::MAX), Err(HeaderError::Truncated));
        let with = |at: usize, byte: u8| {
            let mut bytes = BYTES;
            bytes[at] = byte;
            V2Header::parse(&bytes[..], 0).map(|header| header.ptype)
        };
        for version in [0, 1, 3, 255] {
            assert_eq!(with(0, version), Err(HeaderError::Version), "version {version}");
        }
        for ptype in 0..=255 {
            let expected = if ptype < 6 { Ok(ptype) } else { Err(HeaderError::PacketType) };
            assert_eq!(with(1, ptype), expected, "packet type {ptype}");
        }
    }
}
