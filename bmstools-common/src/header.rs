//! The first 14 bytes behind the Ethernet header, big-endian and packed.
//!
//! Version 1:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version |
//! | 1 | 1 | packet type |
//! | 2 | 2 | the sender's session key |
//! | 4 | 2 | the receiver's session key, 0 while unknown |
//! | 6 | 4 | sequence: the message's number within its direction |
//! | 10 | 2 | count of the message's fragments |
//! | 12 | 2 | offset: which fragment this is |
//!
//! The deployed dialect goes on with the VLAN identifier (4 bytes) and the
//! number of data bytes in this frame (2 bytes).
//!
//! Version 2 shares the first six bytes; see [`V2Header`].

mod v2;

pub use self::v2::{V2_LEN, V2_OPEN_BODY, V2Header, v2_ptype};
use crate::packet::Packet;

/// The version of both v1 dialects.
pub const VERSION_1: u8 = 1;
/// The version of v2.
pub const VERSION_2: u8 = 2;
/// Bytes of the documented v1 header.
pub const V1_LEN: usize = 14;
/// Bytes of the deployed v1 header.
pub const V1_DEPLOYED_LEN: usize = 20;

/// Packet types of v1.
pub mod ptype {
    /// Opens a session; answered by the same type.
    pub const OPEN: u8 = 0;
    /// A fragment of a message without a control header.
    pub const DATA: u8 = 1;
    /// Acknowledges one fragment.
    pub const ACK: u8 = 2;
    /// A fragment of a control message.
    pub const CONTROL: u8 = 3;
    /// Ends a session; answered by the same type.
    pub const END: u8 = 255;
}

/// Which v1 header the frames of a session carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Dialect {
    /// The 14-byte header of the protocol's document.
    V1 = 0,
    /// The 20-byte header of bmstools 1.1.
    V1Deployed = 1,
}

impl Dialect {
    /// Bytes of this dialect's header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::V1 => V1_LEN,
            Self::V1Deployed => V1_DEPLOYED_LEN,
        }
    }

    /// The dialect that an open frame's header at `at` speaks: bytes 14..18 are
    /// the VLAN identifier in the deployed dialect, and link padding (zeros) or
    /// nothing in the documented one.
    #[inline(always)]
    pub fn of_open<P: Packet + ?Sized>(packet: &P, at: usize) -> Self {
        match packet.read::<4>(at + V1_LEN) {
            None | Some([0, 0, 0, 0]) => Self::V1,
            Some(_) => Self::V1Deployed,
        }
    }
}

/// The header fields that both v1 dialects share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V1Header {
    /// Packet type, one of [`ptype`].
    pub ptype: u8,
    /// The sender's session key.
    pub srckey: u16,
    /// The receiver's session key, 0 while unknown.
    pub dstkey: u16,
    /// Number of the message within its direction, from 0.
    pub sequence: u32,
    /// How many fragments the message has, at least 1.
    pub count: u16,
    /// Which fragment this is, below `count`.
    pub offset: u16,
}

/// How the frames of a session are framed behind the six bytes that all share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Framing {
    /// As this dialect of version 1.
    V1(Dialect),
    /// As version 2.
    V2,
}

impl From<Dialect> for Framing {
    fn from(dialect: Dialect) -> Self {
        Self::V1(dialect)
    }
}

impl Framing {
    /// The version byte of such frames.
    pub const fn version(self) -> u8 {
        match self {
            Self::V1(_) => VERSION_1,
            Self::V2 => VERSION_2,
        }
    }
}

/// What the deployed dialect adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeployedFields {
    /// The VLAN identifier once more.
    pub vlan: u32,
    /// Bytes of data in this frame.
    pub data_len: u16,
}

/// Why a header is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// The frame ends before the header does.
    Truncated,
    /// Not a version that is spoken here.
    Version,
    /// Not a packet type of that version.
    PacketType,
    /// A message of no fragments.
    CountZero,
    /// A fragment at or past the count.
    OffsetPastCount,
    /// The deployed dialect's data length is past the end of the frame.
    DataLength,
}

impl V1Header {
    /// The header at byte `at` of `packet`.
    ///
    /// # Errors
    ///
    /// All but [`HeaderError::DataLength`].
    #[inline(always)]
    pub fn parse<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Self, HeaderError> {
        let bytes: [u8; V1_LEN] = packet.read(at).ok_or(HeaderError::Truncated)?;
        let [version, ptype, s0, s1, d0, d1, q0, q1, q2, q3, c0, c1, o0, o1] = bytes;
        let header = Self {
            ptype,
            srckey: u16::from_be_bytes([s0, s1]),
            dstkey: u16::from_be_bytes([d0, d1]),
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            count: u16::from_be_bytes([c0, c1]),
            offset: u16::from_be_bytes([o0, o1]),
        };
        if version != VERSION_1 {
            return Err(HeaderError::Version);
        }
        if !matches!(ptype, ptype::OPEN..=ptype::CONTROL | ptype::END) {
            return Err(HeaderError::PacketType);
        }
        if header.count == 0 {
            return Err(HeaderError::CountZero);
        }
        if header.offset >= header.count {
            return Err(HeaderError::OffsetPastCount);
        }
        Ok(header)
    }

    /// The 14 bytes on the wire.
    pub fn emit(&self) -> [u8; V1_LEN] {
        let [s0, s1] = self.srckey.to_be_bytes();
        let [d0, d1] = self.dstkey.to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        let [c0, c1] = self.count.to_be_bytes();
        let [o0, o1] = self.offset.to_be_bytes();
        [VERSION_1, self.ptype, s0, s1, d0, d1, q0, q1, q2, q3, c0, c1, o0, o1]
    }
}

impl DeployedFields {
    /// The fields behind the shared header at byte `at` of `packet`.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Truncated`] and [`HeaderError::DataLength`].
    #[inline(always)]
    pub fn parse<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Self, HeaderError> {
        let [v0, v1, v2, v3, l0, l1] = packet.read(at + V1_LEN).ok_or(HeaderError::Truncated)?;
        let fields = Self {
            vlan: u32::from_be_bytes([v0, v1, v2, v3]),
            data_len: u16::from_be_bytes([l0, l1]),
        };
        if at + V1_DEPLOYED_LEN + fields.data_len as usize > packet.len() {
            return Err(HeaderError::DataLength);
        }
        Ok(fields)
    }

    /// The 6 bytes on the wire.
    pub fn emit(&self) -> [u8; V1_DEPLOYED_LEN - V1_LEN] {
        let [v0, v1, v2, v3] = self.vlan.to_be_bytes();
        let [l0, l1] = self.data_len.to_be_bytes();
        [v0, v1, v2, v3, l0, l1]
    }
}
