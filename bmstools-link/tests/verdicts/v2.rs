//! Frames of version 2.

use std::os::fd::AsFd as _;

use bmstools_common::counters::Counter;
use bmstools_common::ethernet::{Header, Vlan};
use bmstools_common::header::{Dialect, Framing, V2_LEN, V2_OPEN_BODY, V2Header, v2_ptype};
use bmstools_common::maps::Rate;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::bench::{Bench, ENTRIES, LOCAL, PEER, UNLIMITED};
use crate::frame::{Frame, vlans};

/// All packet types that belong to a session.
const OF_SESSIONS: [u8; 5] = [
    v2_ptype::RETRY,
    v2_ptype::INITIAL,
    v2_ptype::HANDSHAKE,
    v2_ptype::DATA_EVEN,
    v2_ptype::DATA_ODD,
];
const ETHERNET: usize = 14;

/// A frame of this type for the session that has `dstkey`.
pub(crate) fn frame(vlan: Vlan, ptype: u8, dstkey: u16, body: &[u8]) -> Vec<u8> {
    let ethernet = Header { destination: LOCAL, source: PEER, vlan };
    let mut bytes = vec![0; ethernet.len()];
    ethernet.emit(&mut bytes);
    bytes.extend(V2Header { ptype, srckey: 7, dstkey, packet_number: u64::MAX / 3 }.emit());
    bytes.extend(body);
    bytes
}

fn open(vlan: Vlan) -> Vec<u8> {
    frame(vlan, v2_ptype::OPEN, 0, &[0; V2_OPEN_BODY])
}

#[test]
fn every_packet_type_reaches_its_live_session_byte_for_byte() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            bench.insert(vlan, 0x1234, Framing::V2);
            for ptype in OF_SESSIONS {
                let bytes = frame(vlan, ptype, 0x1234, &[0x5a; 32]);
                assert_eq!(bench.verdict(&bytes), Counter::SessionViaRing, "{ptype} in {vlan}");
                assert_eq!(bench.drain(), [bytes], "{ptype} in {vlan}");
            }
        }
    }
}

#[test]
fn a_session_is_its_version_its_key_and_its_vlan() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let [untagged, tagged, ..] = vlans();
        bench.insert(untagged, 1, Framing::V2);
        bench.insert(untagged, 2, Dialect::V1);
        let mut version_2 =
            |vlan, key| bench.verdict(&frame(vlan, v2_ptype::DATA_EVEN, key, &[0; 32]));
        assert_eq!(version_2(untagged, 1), Counter::SessionViaRing);
        assert_eq!(version_2(untagged, 2), Counter::NoSession);
        assert_eq!(version_2(untagged, 0x0100), Counter::NoSession);
        assert_eq!(version_2(untagged, 0), Counter::NoSession);
        assert_eq!(version_2(tagged, 1), Counter::NoSession);
        let mut version_1 =
            |key| bench.verdict(&Frame::data(Dialect::V1, untagged, key, &[0; 32]).bytes());
        assert_eq!(version_1(1), Counter::NoSession);
        assert_eq!(version_1(2), Counter::SessionViaRing);
    }
}

#[test]
fn frames_go_to_the_queues_socket_and_opens_never_do() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
            .expect("AF_XDP sockets need root");
        sockopt::set_xdp_rx_ring_size(&socket, 64).expect("a socket takes a ring");
        bench.program.insert_socket(0, socket.as_fd()).expect("queue 0 takes a socket");
        for vlan in vlans() {
            bench.insert(vlan, 1, Framing::V2);
            for ptype in OF_SESSIONS {
                assert_eq!(bench.verdict(&frame(vlan, ptype, 1, &[1; 700])), Counter::Session);
            }
            // Not even one that names a live session: opens have their limits.
            for dstkey in [0, 1] {
                let open = frame(vlan, v2_ptype::OPEN, dstkey, &[1; 200]);
                assert_eq!(bench.verdict(&open), Counter::Open);
                assert_eq!(bench.drain(), [open]);
            }
        }
    }
}

#[test]
fn opens_of_both_versions_share_their_limits() {
    let rate = Rate { interval_ns: 3_600_000_000_000, burst: 3 };
    for entry in ENTRIES {
        let limits = [
            ((rate, UNLIMITED), Counter::OpenRateSource),
            ((UNLIMITED, rate), Counter::OpenRateGlobal),
        ];
        for ((per_source, global), refused) in limits {
            let mut bench = Bench::with_rates(entry, per_source, global);
            let first = Frame::open(Dialect::V1, Vlan::NONE).bytes();
            assert_eq!(bench.verdict(&open(Vlan::NONE)), Counter::Open);
            assert_eq!(bench.verdict(&first), Counter::Open);
            assert_eq!(bench.verdict(&open(vlans()[1])), Counter::Open);
            assert_eq!(bench.verdict(&open(Vlan::NONE)), refused);
            assert_eq!(bench.verdict(&first), refused);
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused_for_what_it_lacks() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            bench.insert(vlan, 1, Framing::V2);
            let ours = ETHERNET + vlan.header_len();
            for (bytes, least, whole) in [
                (open(vlan), V2_LEN + V2_OPEN_BODY, Counter::Open),
                (frame(vlan, v2_ptype::DATA_ODD, 1, &[0; 40]), V2_LEN, Counter::SessionViaRing),
            ] {
                for len in ETHERNET..=bytes.len() {
                    let expected = match len {
                        _ if len < ours => Counter::Passed,
                        _ if len < ours + least => Counter::Truncated,
                        _ => whole,
                    };
                    assert_eq!(bench.verdict(&bytes[..len]), expected, "{len} bytes in {vlan}");
                }
            }
        }
    }
}

#[test]
fn unknown_packet_types_are_refused() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        bench.insert(Vlan::NONE, 1, Framing::V2);
        for ptype in [6, 7, 77, 254, 255] {
            let bytes = frame(Vlan::NONE, ptype, 1, &[0; 64]);
            assert_eq!(bench.verdict(&bytes), Counter::PacketType, "{ptype}");
        }
    }
}

#[test]
fn an_open_of_any_length_before_the_handshake_takes_a_short_record() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            let bytes = frame(vlan, v2_ptype::OPEN, 0, &[7; 256 - V2_LEN]);
            assert_eq!(bench.verdict(&bytes), Counter::Open);
            assert_eq!(bench.drain(), [bytes]);
        }
        // A long record is so long that no more than these fit.
        let longest = frame(vlans()[3], v2_ptype::OPEN, 0, &[7; 256 - V2_LEN]);
        for _ in 0..1000 {
            bench.run(&longest);
        }
        assert_eq!(bench.count(Counter::RingFull), 0);
        assert_eq!(bench.drain().len(), 1000);
    }
}
