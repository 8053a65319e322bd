extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::ethernet::{TPID_8021AD, Tag, Vlan};

const LOCAL: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn vlans() -> [Vlan; 3] {
    let tagged = Vlan::tagged(1708).unwrap();
    [Vlan::NONE, tagged, tagged.wrapped_in(Tag::new(TPID_8021AD, 5).unwrap()).unwrap()]
}

fn frame(vlan: Vlan, header: &[u8], body: usize) -> Vec<u8> {
    let ethernet = Header { destination: LOCAL, source: PEER, vlan };
    let mut bytes = vec![0; ethernet.len()];
    ethernet.emit(&mut bytes);
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len() + body, 0xa5);
    bytes
}

fn v2(ptype: u8, dstkey: u16) -> [u8; V2_LEN] {
    V2Header { ptype, srckey: 7, dstkey, packet_number: 9 }.emit()
}

fn v1(ptype: u8, dstkey: u16) -> [u8; 14] {
    V1Header { ptype, srckey: 7, dstkey, sequence: 3, count: 1, offset: 0 }.emit()
}

fn session(bytes: &[u8]) -> Result<Option<SessionKey>, Verdict> {
    match classify(bytes, LOCAL) {
        Verdict::Ours(frame) => Ok(frame.session),
        other => Err(other),
    }
}

#[test]
fn every_packet_type_of_version_2_but_an_open_belongs_to_the_session_that_it_names() {
    for vlan in vlans() {
        let peer = Peer { mac: PEER, vlan };
        for ptype in [
            v2_ptype::RETRY,
            v2_ptype::INITIAL,
            v2_ptype::HANDSHAKE,
            v2_ptype::DATA_EVEN,
            v2_ptype::DATA_ODD,
        ] {
            for dstkey in [0, 1, 0x1234, u16::MAX] {
                let found = session(&frame(vlan, &v2(ptype, dstkey), 0));
                assert_eq!(found, Ok(Some(SessionKey::v2(peer, dstkey))), "{ptype} {vlan}");
            }
        }
    }
}

#[test]
fn an_open_of_version_2_belongs_to_no_session_whatever_it_names() {
    for vlan in vlans() {
        let ours = Frame {
            peer: Peer { mac: PEER, vlan },
            header_at: 14 + vlan.header_len(),
            session: None,
        };
        for dstkey in [0, 1] {
            let bytes = frame(vlan, &v2(v2_ptype::OPEN, dstkey), V2_OPEN_BODY);
            assert_eq!(classify(&bytes[..], LOCAL), Verdict::Ours(ours));
        }
    }
}

#[test]
fn an_open_of_version_2_shorter_than_any_answer_is_malformed() {
    for vlan in vlans() {
        let bytes = frame(vlan, &v2(v2_ptype::OPEN, 0), V2_OPEN_BODY);
        let ethernet = 14 + vlan.header_len();
        for cut in ethernet..bytes.len() {
            let verdict = classify(&bytes[..cut], LOCAL);
            assert_eq!(verdict, Verdict::Malformed(HeaderError::Truncated), "{cut} {vlan}");
        }
    }
}

#[test]
fn unknown_packet_types_and_versions_are_malformed() {
    let version_2 = |ptype| session(&frame(Vlan::NONE, &v2(ptype, 1), 64));
    for ptype in 6..=255 {
        let expected = Verdict::Malformed(HeaderError::PacketType);
        assert_eq!(version_2(ptype), Err(expected), "{ptype}");
    }
    for version in (0..=255).filter(|version| ![VERSION_1, VERSION_2].contains(version)) {
        let mut header = v2(v2_ptype::DATA_EVEN, 1);
        header[0] = version;
        let expected = Verdict::Malformed(HeaderError::Version);
        assert_eq!(session(&frame(Vlan::NONE, &header, 64)), Err(expected), "{version}");
    }
}

#[test]
fn the_sessions_of_both_versions_are_apart() {
    for vlan in vlans() {
        let peer = Peer { mac: PEER, vlan };
        for dstkey in [1, 2, 0x0100, 0x0201, u16::MAX] {
            assert_ne!(SessionKey::v1(peer, dstkey), SessionKey::v2(peer, dstkey));
            let first = session(&frame(vlan, &v1(ptype::DATA, dstkey), 32));
            let second = session(&frame(vlan, &v2(v2_ptype::INITIAL, dstkey), 32));
            assert_eq!(first, Ok(Some(SessionKey::v1(peer, dstkey))));
            assert_eq!(second, Ok(Some(SessionKey::v2(peer, dstkey))));
        }
    }
}

#[test]
fn what_version_2_sends_is_not_read_as_a_message_of_version_1() {
    // Bytes 10 to 13 are a count and an offset there: no packet number is bad here.
    for packet_number in [0, 1, 0xffff, u64::MAX] {
        let header =
            V2Header { ptype: v2_ptype::DATA_EVEN, srckey: 7, dstkey: 1, packet_number }.emit();
        assert!(session(&frame(Vlan::NONE, &header, 32)).is_ok(), "{packet_number}");
    }
}
