//! Frames of sessions, live and not.

use std::os::fd::AsFd;

use bmstools_common::Mac;
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::{Peer, Vlan};
use bmstools_common::header::{Dialect, ptype};
use bmstools_common::maps::{SESSIONS_CAPACITY, SessionKey};
use bmstools_link::LinkError;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::bench::{Bench, ENTRIES, PEER};
use crate::frame::{DIALECTS, Frame, vlans};

#[test]
fn only_the_session_of_this_key_peer_and_vlan_lets_a_frame_through() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            bench.insert(vlan, 0x1234, Dialect::V1);
            for other in vlans() {
                let frame = Frame::data(Dialect::V1, other, 0x1234, b"x");
                let expected =
                    if other == vlan { Counter::SessionViaRing } else { Counter::NoSession };
                assert_eq!(bench.verdict(&frame.bytes()), expected, "{other} of {vlan}");
            }
            let frame = Frame::data(Dialect::V1, vlan, 0x3412, b"x");
            assert_eq!(bench.verdict(&frame.bytes()), Counter::NoSession);
            let mut frame = Frame::data(Dialect::V1, vlan, 0x1234, b"x");
            frame.source = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 3]);
            assert_eq!(bench.verdict(&frame.bytes()), Counter::NoSession);
            bench.program.remove_session(SessionKey::v1(Peer { mac: PEER, vlan }, 0x1234));
            let frame = Frame::data(Dialect::V1, vlan, 0x1234, b"x");
            assert_eq!(bench.verdict(&frame.bytes()), Counter::NoSession);
        }
    }
}

#[test]
fn the_priority_in_a_tag_does_not_make_another_session() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let vlan = vlans()[1];
        bench.insert(vlan, 1, Dialect::V1);
        let mut frame = Frame::data(Dialect::V1, vlan, 1, b"x").bytes();
        frame[14] |= 0xf0;
        assert_eq!(bench.verdict(&frame), Counter::SessionViaRing);
    }
}

#[test]
fn every_packet_type_of_a_session_is_let_through_and_an_open_with_a_key_is_one() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        bench.insert(Vlan::NONE, 1, Dialect::V1);
        for ptype in [ptype::OPEN, ptype::DATA, ptype::ACK, ptype::CONTROL, ptype::END] {
            let mut frame = Frame::data(Dialect::V1, Vlan::NONE, 1, b"");
            frame.header.ptype = ptype;
            assert_eq!(bench.verdict(&frame.bytes()), Counter::SessionViaRing);
            frame.header.dstkey = 0;
            let expected = if ptype == ptype::OPEN { Counter::Open } else { Counter::NoSession };
            assert_eq!(bench.verdict(&frame.bytes()), expected, "packet type {ptype}");
        }
    }
}

#[test]
fn the_sessions_dialect_decides_which_header_a_frame_is_held_to() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        // Read as the deployed dialect's, this data is a length past the end.
        let frame = Frame::data(Dialect::V1, Vlan::NONE, 1, &[0xff; 8]).bytes();
        bench.insert(Vlan::NONE, 1, Dialect::V1);
        assert_eq!(bench.verdict(&frame), Counter::SessionViaRing);
        bench.insert(Vlan::NONE, 1, Dialect::V1Deployed);
        assert_eq!(bench.verdict(&frame), Counter::DataLength);
        assert_eq!(bench.verdict(&frame[..30]), Counter::Truncated);
    }
}

#[test]
fn frames_of_a_session_go_to_the_queues_socket_while_it_has_one() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
            .expect("AF_XDP sockets need root");
        sockopt::set_xdp_rx_ring_size(&socket, 64).expect("a socket takes a ring");
        let frames: Vec<_> = DIALECTS
            .into_iter()
            .zip(1..)
            .flat_map(|(dialect, key)| vlans().map(|vlan| (dialect, vlan, key)))
            .collect();
        for &(dialect, vlan, key) in &frames {
            bench.insert(vlan, key, dialect);
        }
        let verdicts = |bench: &mut Bench, expected: Counter| {
            for &(dialect, vlan, key) in &frames {
                let frame = Frame::data(dialect, vlan, key, &[1; 700]).bytes();
                assert_eq!(bench.verdict(&frame), expected, "{dialect:?} in {vlan}");
            }
        };
        bench.program.insert_socket(1, socket.as_fd()).expect("queue 1 takes a socket");
        verdicts(&mut bench, Counter::SessionViaRing);
        bench.drain();
        bench.program.insert_socket(0, socket.as_fd()).expect("queue 0 takes a socket");
        verdicts(&mut bench, Counter::Session);
        assert!(bench.drain().is_empty(), "a frame went both ways");
        let open = Frame::open(Dialect::V1, Vlan::NONE).bytes();
        assert_eq!(bench.verdict(&open), Counter::Open, "opens never go to a socket");
        bench.program.remove_socket(0);
        verdicts(&mut bench, Counter::SessionViaRing);
    }
}

#[test]
fn a_full_table_of_sessions_is_an_error_and_room_comes_back() {
    let mut bench = Bench::new(ENTRIES[0]);
    let key = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let peer = Peer { mac: Mac([2, 0, 0, a, b, c]), vlan: Vlan::NONE };
        SessionKey::v1(peer, 1)
    };
    for number in 0..SESSIONS_CAPACITY {
        bench.program.insert_session(key(number), Dialect::V1.into()).expect("there is room");
    }
    let more = key(SESSIONS_CAPACITY);
    let refused = bench.program.insert_session(more, Dialect::V1.into());
    assert!(matches!(refused, Err(LinkError::SessionsFull(SESSIONS_CAPACITY))), "{refused:?}");
    bench.program.insert_session(key(0), Dialect::V1Deployed.into()).expect("it is there already");
    bench.program.remove_session(key(5));
    bench.program.insert_session(more, Dialect::V1.into()).expect("there is room again");
}
