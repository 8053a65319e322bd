//! What is not ours, not for us, or breaks the protocol.

use bmstools_common::Mac;
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Vlan;
use bmstools_common::header::Dialect;

use crate::bench::{Bench, ENTRIES};
use crate::frame::{DIALECTS, Frame, vlans};

const ETHERNET: usize = 14;

#[test]
fn frames_of_other_protocols_pass_untouched() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            let frame = Frame::open(Dialect::V1, vlan).bytes();
            let at = ETHERNET + vlan.header_len() - 2;
            for ethertype in [0x0800_u16, 0x86dd, 0x0806, 0x7ffe, 0xff7f, 0] {
                let mut other = frame.clone();
                other[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
                assert_eq!(bench.verdict(&other), Counter::Passed, "{ethertype:#x} in {vlan}");
            }
        }
    }
}

#[test]
fn a_third_vlan_tag_makes_a_frame_another_protocols() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let mut frame = Frame::open(Dialect::V1, vlans()[3]).bytes();
        frame.splice(12..12, [0x88, 0xa8, 0, 9]);
        assert_eq!(bench.verdict(&frame), Counter::Passed);
    }
}

#[test]
fn frames_for_another_address_are_dropped() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            let mut frame = Frame::open(Dialect::V1, vlan);
            for octet in 0..6 {
                let mut destination = frame.destination;
                destination.0[octet] ^= 4;
                let frame = Frame { destination, ..frame.clone() };
                assert_eq!(bench.verdict(&frame.bytes()), Counter::NotAddressed);
            }
            frame.destination = Mac::BROADCAST;
            assert_eq!(bench.verdict(&frame.bytes()), Counter::NotAddressed);
        }
    }
}

#[test]
fn frames_from_a_group_address_are_dropped() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let mut frame = Frame::open(Dialect::V1, Vlan::NONE);
        frame.source = Mac::BROADCAST;
        assert_eq!(bench.verdict(&frame.bytes()), Counter::NotAddressed);
        frame.source = Mac([0x01, 0, 0x5e, 0, 0, 1]);
        assert_eq!(bench.verdict(&frame.bytes()), Counter::NotAddressed);
    }
}

#[test]
fn each_header_field_that_breaks_the_protocol_has_its_counter() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            let good = Frame::data(Dialect::V1, vlan, 1, b"data").bytes();
            let at = ETHERNET + vlan.header_len();
            let mut with = |field: usize, value: u8| {
                let mut frame = good.clone();
                frame[at + field] = value;
                bench.verdict(&frame)
            };
            for version in [0, 3, 9, 255] {
                assert_eq!(with(0, version), Counter::Version, "version {version}");
            }
            for ptype in [4, 77, 254] {
                assert_eq!(with(1, ptype), Counter::PacketType, "packet type {ptype}");
            }
            for ptype in [0, 1, 2, 3, 255] {
                assert_eq!(with(1, ptype), Counter::NoSession, "packet type {ptype}");
            }
            assert_eq!(with(11, 0), Counter::CountZero);
            assert_eq!(with(13, 1), Counter::OffsetPastCount);
            assert_eq!(with(12, 1), Counter::OffsetPastCount);
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused_for_what_it_lacks() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for dialect in DIALECTS {
            for vlan in vlans() {
                bench.insert(vlan, 1, dialect);
                let frame = Frame::data(dialect, vlan, 1, &[0x5a; 40]);
                let (bytes, header) = (frame.bytes(), frame.header_len());
                let ours = ETHERNET + vlan.header_len();
                for len in ETHERNET..=bytes.len() {
                    let expected = match len {
                        _ if len < ours => Counter::Passed,
                        _ if len < header => Counter::Truncated,
                        _ if len < bytes.len() && dialect == Dialect::V1Deployed => {
                            Counter::DataLength
                        }
                        _ => Counter::SessionViaRing,
                    };
                    let counter = bench.verdict(&bytes[..len]);
                    assert_eq!(counter, expected, "{len} bytes of {dialect:?} in {vlan}");
                }
            }
        }
    }
}

#[test]
fn an_open_of_the_deployed_dialect_is_held_to_its_longer_header() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for vlan in vlans() {
            let mut open = Frame::open(Dialect::V1Deployed, vlan);
            let bytes = open.bytes();
            assert_eq!(bench.verdict(&bytes), Counter::Open);
            assert_eq!(bench.verdict(&bytes[..bytes.len() - 1]), Counter::Truncated);
            open.deployed.as_mut().unwrap().data_len = 1;
            assert_eq!(bench.verdict(&open.bytes()), Counter::DataLength);
            open.data = vec![0];
            assert_eq!(bench.verdict(&open.bytes()), Counter::Open);
        }
    }
}
