//! In the kernel, on a veth interface. Needs root.

use std::time::Duration;

use bmstools_common::ethernet::{MAX_HEADER_LEN, Tag};
use bmstools_common::header::V2Header;

use super::*;
use crate::interface::Interface;
use crate::raw::{RawOptions, RawSocket};

use crate::testing::{FAR, Link, NEAR, message, open_message, to_near, vlans};

fn filtered(link: &Link, program: &[sock_filter]) -> RawSocket {
    link.near.run(|| {
        let index = Interface::find(NEAR).unwrap().index;
        RawSocket::open_filtered(index, &RawOptions::default(), Some(program)).unwrap()
    })
}

/// Whether the next frame that `socket` receives is `frame`.
fn takes(socket: &RawSocket, frame: &[u8]) -> bool {
    let mut buffer = vec![0; 2048];
    let timeout = Duration::from_millis(50);
    let received = socket.recv_timeout(&mut buffer, timeout).unwrap();
    received.is_some_and(|received| received == frame)
}

fn version_2(ptype: u8, dstkey: u16) -> Vec<u8> {
    let header = V2Header { ptype, srckey: 9, dstkey, packet_number: 1 << 40 | 77 };
    [&header.emit()[..], &[0x5a; 64]].concat()
}

#[test]
fn every_frame_of_ours_goes_to_one_of_the_two_sockets_and_no_other_frame_does() {
    let link = Link::new();
    let (sessions, rest) = (filtered(&link, &sessions(None)), filtered(&link, &rest()));
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    let data = message(ptype::DATA, 1, b"some data");
    let patched = |at: usize, byte: u8| {
        let mut bytes = data.clone();
        bytes[at] = byte;
        bytes
    };
    for vlan in vlans() {
        let for_sessions = [
            data.clone(),
            message(ptype::OPEN, 1, &[]),
            message(ptype::ACK, 0xffff, &[]),
            message(ptype::CONTROL, 0x100, &[]),
            message(ptype::END, 1, &[]),
            data[..6].to_vec(),
            version_2(v2_ptype::RETRY, 1),
            version_2(v2_ptype::INITIAL, 0xffff),
            version_2(v2_ptype::HANDSHAKE, 0x100),
            version_2(v2_ptype::DATA_EVEN, 1),
            version_2(v2_ptype::DATA_ODD, 1),
            version_2(v2_ptype::DATA_ODD, 1)[..6].to_vec(),
        ];
        let for_the_rest = [
            open_message(),
            message(ptype::DATA, 0, b"no key"),
            version_2(v2_ptype::OPEN, 0),
            version_2(v2_ptype::OPEN, 1),
            version_2(v2_ptype::DATA_EVEN, 0),
            version_2(6, 1),
            version_2(ptype::END, 1),
            patched(0, 3),
            patched(0, 0),
            patched(1, 4),
            patched(1, 254),
            data[..5].to_vec(),
            data[..2].to_vec(),
        ];
        for bytes in for_sessions {
            let frame = to_near(vlan, &bytes);
            far.send(&frame).unwrap();
            assert!(takes(&sessions, &frame), "{vlan} {bytes:?}");
        }
        for bytes in for_the_rest {
            let frame = to_near(vlan, &bytes);
            far.send(&frame).unwrap();
            assert!(takes(&rest, &frame), "{vlan} {bytes:?}");
        }
        let mut other = to_near(vlan, &data);
        let ethertype_at = other.len() - data.len() - 2;
        other[ethertype_at] = 0x08;
        far.send(&other).unwrap();
        assert!(!takes(&sessions, &other) && !takes(&rest, &other), "{vlan}");
    }
    assert!(sessions.take_drops().unwrap() == 0 && rest.take_drops().unwrap() == 0);
}

#[test]
fn a_frame_with_three_tags_is_sorted_by_the_two_that_the_kernel_leaves() {
    let link = Link::new();
    let sessions = filtered(&link, &sessions(None));
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    let inner = vlans()[1].wrapped_in(Tag { service: false, id: 7 }).unwrap();
    let mut frame = to_near(inner, &message(ptype::DATA, 1, b"data"));
    assert_eq!(frame.len(), MAX_HEADER_LEN + 18);
    frame.splice(12..12, [0x88, 0xa8, 0, 9]);
    far.send(&frame).unwrap();
    // It comes up whole; that it has a tag too many is for the verdict to say.
    assert!(takes(&sessions, &frame));
    assert_eq!(inner.wrapped_in(Tag { service: true, id: 9 }), None);
}

#[test]
fn a_socket_for_some_keys_receives_no_other_sessions_frames() {
    let link = Link::new();
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    let every_key = (0..MAX_KEYS).map(|n| 0x1000 + n as u16).collect();
    for keys in [BTreeSet::new(), BTreeSet::from([7]), BTreeSet::from([1, 7, 0x700]), every_key] {
        let own = filtered(&link, &sessions(Some(&keys)));
        for vlan in vlans() {
            let last = keys.last().copied().unwrap_or(9);
            for key in [1, 6, 7, 8, 0x700, 0x1000, 0x1000 + MAX_KEYS as u16, 0xffff, last] {
                for bytes in [message(ptype::DATA, key, b"x"), version_2(v2_ptype::INITIAL, key)] {
                    let frame = to_near(vlan, &bytes);
                    far.send(&frame).unwrap();
                    assert_eq!(takes(&own, &frame), keys.contains(&key), "{key:#x} of {keys:x?}");
                }
            }
            far.send(&to_near(vlan, &open_message())).unwrap();
            assert!(!takes(&own, &[]));
        }
    }
}
