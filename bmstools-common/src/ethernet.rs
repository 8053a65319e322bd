//! Ethernet II with at most two VLAN tags (IEEE 802.1Q, 802.1ad).

use core::fmt;

use crate::packet::Packet;

/// The ethertype of every bmstools frame.
pub const ETHERTYPE: u16 = 0x7fff;
/// Tag protocol identifier of a customer tag (IEEE 802.1Q).
pub const TPID_8021Q: u16 = 0x8100;
/// Tag protocol identifier of a service tag (IEEE 802.1ad).
pub const TPID_8021AD: u16 = 0x88a8;
/// Bytes of an untagged Ethernet header.
pub const HEADER_LEN: usize = 14;
/// Bytes that one VLAN tag adds.
pub const TAG_LEN: usize = 4;
/// Bytes of the longest header that is parsed or emitted: two tags.
pub const MAX_HEADER_LEN: usize = HEADER_LEN + 2 * TAG_LEN;
/// Shortest frame on a physical link, without its checksum (IEEE 802.3).
pub const MIN_FRAME_LEN: usize = 60;

/// Bytes behind the Ethernet header that a link must carry to be of use: the
/// longest messages take few enough fragments then.
pub const MIN_MTU: usize = 256;

/// A 48-bit hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that every host receives.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether this is a group address (multicast or broadcast).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a [`Mac`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, as in 52:54:00:aa:bb:01")
    }
}

impl core::error::Error for ParseMacError {}

impl core::str::FromStr for Mac {
    type Err = ParseMacError;

    /// Reads `52:54:00:aa:bb:01` or `52-54-00-aa-bb-01`.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacError)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() {
            return Err(ParseMacError);
        }
        Ok(Self(octets))
    }
}

/// The VLAN tags of a frame: none, one, or a service tag around a customer tag.
///
/// Only identifiers are kept. Priority bits are dropped on receipt and sent as
/// zero: they do not tell peers apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Vlan {
    outer: Option<Tag>,
    inner: Option<Tag>,
}

/// One VLAN tag: its protocol and its identifier, 0..=4095.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Tag {
    /// Whether this is a service tag (802.1ad) and not a customer tag (802.1Q).
    pub service: bool,
    /// The VLAN identifier, 0..=4095.
    pub id: u16,
}

impl Tag {
    const ID_MASK: u16 = 0x0fff;

    /// The tag with protocol `tpid` and control information `tci`, if `tpid` is
    /// one of a VLAN tag.
    #[inline(always)]
    pub const fn new(tpid: u16, tci: u16) -> Option<Self> {
        match tpid {
            TPID_8021Q => Some(Self { service: false, id: tci & Self::ID_MASK }),
            TPID_8021AD => Some(Self { service: true, id: tci & Self::ID_MASK }),
            _ => None,
        }
    }

    /// The tag protocol identifier.
    pub const fn tpid(self) -> u16 {
        if self.service { TPID_8021AD } else { TPID_8021Q }
    }

    /// Two bytes that tell this tag from every other and from no tag (0).
    const fn code(tag: Option<Self>) -> [u8; 2] {
        match tag {
            None => [0; 2],
            Some(tag) => (0x8000 | (tag.service as u16) << 14 | tag.id).to_be_bytes(),
        }
    }
}

impl Vlan {
    /// No tag.
    pub const NONE: Self = Self { outer: None, inner: None };

    /// One 802.1Q tag with identifier `id`; `None` over 4095.
    pub const fn tagged(id: u16) -> Option<Self> {
        if id > Tag::ID_MASK {
            return None;
        }
        Some(Self { outer: Some(Tag { service: false, id }), inner: None })
    }

    /// These tags with `tag` around them, as a NIC that took it away reports it.
    /// `None` where there would be three.
    pub const fn wrapped_in(self, tag: Tag) -> Option<Self> {
        match (self.outer, self.inner) {
            (_, Some(_)) => None,
            (inner, None) => Some(Self { outer: Some(tag), inner }),
        }
    }

    /// The identifier of the innermost tag.
    pub const fn id(self) -> Option<u16> {
        match (self.outer, self.inner) {
            (_, Some(tag)) | (Some(tag), None) => Some(tag.id),
            (None, None) => None,
        }
    }

    /// Bytes that the tags take in a frame: 0, 4 or 8.
    pub const fn header_len(self) -> usize {
        self.outer.is_some() as usize * TAG_LEN + self.inner.is_some() as usize * TAG_LEN
    }

    /// Bytes behind the tags that a frame carries at most on a link of `mtu`.
    ///
    /// A link has room for one 802.1Q tag beyond its MTU; a second one, and a
    /// service tag, are at the payload's expense.
    pub const fn payload_room(self, mtu: usize) -> usize {
        let tags = self.header_len();
        let fits = match self.outer {
            None => true,
            Some(tag) => tags == TAG_LEN && !tag.service,
        };
        if fits { mtu } else { mtu.saturating_sub(tags) }
    }

    /// Four bytes that tell these tags from all others: part of a map's key.
    #[inline(always)]
    pub const fn code(self) -> [u8; 4] {
        let [a, b] = Tag::code(self.outer);
        let [c, d] = Tag::code(self.inner);
        [a, b, c, d]
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.outer, self.inner) {
            (Some(outer), Some(inner)) => write!(f, "{}.{}", outer.id, inner.id),
            (Some(tag), None) => write!(f, "{}", tag.id),
            _ => f.write_str("untagged"),
        }
    }
}

/// Who is at the other end of a frame: its address and the VLAN it is reached by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Peer {
    /// The other end's hardware address.
    pub mac: Mac,
    /// The tags of frames from and to it.
    pub vlan: Vlan,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vlan.id() {
            Some(_) => write!(f, "{}@{}", self.mac, self.vlan),
            None => write!(f, "{}", self.mac),
        }
    }
}

/// A parsed Ethernet header of a bmstools frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The receiver's address.
    pub destination: Mac,
    /// The sender's address.
    pub source: Mac,
    /// The VLAN tags.
    pub vlan: Vlan,
}

impl Header {
    /// The header of `packet` where its ethertype behind the tags is
    /// [`ETHERTYPE`]; `None` where it is another's frame, or ends in a tag.
    #[inline(always)]
    pub fn parse<P: Packet + ?Sized>(packet: &P) -> Option<Self> {
        let vlan = parse_vlan(packet)?;
        Some(Self { destination: Mac(packet.read(0)?), source: Mac(packet.read(6)?), vlan })
    }

    /// Bytes that the header takes: 14, 18 or 22.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        HEADER_LEN + self.vlan.header_len()
    }

    /// Always false: a header has bytes.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header to the first [`len`](Self::len) bytes of `frame`.
    ///
    /// # Panics
    ///
    /// Where `frame` is shorter than that.
    pub fn emit(&self, frame: &mut [u8]) {
        frame[..6].copy_from_slice(&self.destination.0);
        frame[6..12].copy_from_slice(&self.source.0);
        let mut at = 12;
        for tag in [self.vlan.outer, self.vlan.inner].into_iter().flatten() {
            frame[at..at + 2].copy_from_slice(&tag.tpid().to_be_bytes());
            frame[at + 2..at + 4].copy_from_slice(&tag.id.to_be_bytes());
            at += TAG_LEN;
        }
        frame[at..at + 2].copy_from_slice(&ETHERTYPE.to_be_bytes());
    }
}

#[inline(always)]
fn parse_vlan<P: Packet + ?Sized>(packet: &P) -> Option<Vlan> {
    let outer = match word(packet, 12)? {
        ETHERTYPE => return Some(Vlan::NONE),
        tpid => Tag::new(tpid, word(packet, 14)?)?,
    };
    let inner = match word(packet, 16)? {
        ETHERTYPE => return Some(Vlan { outer: Some(outer), inner: None }),
        tpid => Tag::new(tpid, word(packet, 18)?)?,
    };
    (word(packet, 20)? == ETHERTYPE).then_some(Vlan { outer: Some(outer), inner: Some(inner) })
}

#[inline(always)]
fn word<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<u16> {
    packet.read(at).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_reads_what_it_prints() {
        let mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);
        extern crate std;
        use std::string::ToString;
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("52-54-00-AA-BB-01".parse(), Ok(mac));
        for bad in
            ["", "52:54:00:aa:bb", "52:54:00:aa:bb:01:02", "5:254:00:aa:bb:01", "+2:54:00:aa:bb:01"]
        {
            assert_eq!(bad.parse::<Mac>(), Err(ParseMacError), "{bad}");
        }
    }

    #[test]
    fn headers_with_no_one_and_two_tags_come_back_as_they_were() {
        let customer = Vlan::tagged(1708).unwrap();
        let service = Tag::new(TPID_8021AD, 0xe005).unwrap();
        for vlan in [Vlan::NONE, customer, customer.wrapped_in(service).unwrap()] {
            let header = Header { destination: Mac([1; 6]), source: Mac([2; 6]), vlan };
            let mut frame = [0; MAX_HEADER_LEN];
            header.emit(&mut frame);
            assert_eq!(Header::parse(&frame[..]), Some(header));
            for cut in 0..header.len() {
                assert_eq!(Header::parse(&frame[..cut]), None);
            }
        }
        assert_eq!(customer.wrapped_in(service).unwrap().wrapped_in(service), None);
    }

    #[test]
    fn the_code_tells_a_service_tag_from_a_customer_tag_and_from_none() {
        let customer = Vlan::tagged(0).unwrap();
        let service = Vlan::NONE.wrapped_in(Tag { service: true, id: 0 }).unwrap();
        assert_ne!(customer.code(), service.code());
        assert_ne!(customer.code(), Vlan::NONE.code());
    }
}
