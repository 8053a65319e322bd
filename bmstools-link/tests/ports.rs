//! Ports on a veth link between two network namespaces. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they try"
)]

mod common;

use std::time::Duration;

use bmstools_common::counters::Counter;
use bmstools_common::header::{Dialect, Framing, V2_OPEN_BODY, V2Header, ptype, v2_ptype};
use bmstools_common::maps::{Rate, SessionKey};
use bmstools_common::{Mac, Peer, Vlan};
use bmstools_link::{Mode, Options, Outgoing, Port, RawOptions, RawSocket};

use common::{
    FAR, FAR_MAC, Link, NEAR, NEAR_MAC, frame, message, open_message, options, receive,
    receive_stray, to_near, vlans,
};

const KEY: u16 = 77;

fn far_socket(link: &Link) -> RawSocket {
    let options =
        RawOptions { ethertype: Some(bmstools_common::ETHERTYPE), ..RawOptions::default() };
    link.far.run(|| RawSocket::open_with(FAR, &options)).unwrap()
}

fn far(vlan: Vlan) -> Peer {
    Peer { mac: FAR_MAC, vlan }
}

fn send_all(port: &mut dyn Port, peer: Peer, messages: &[Vec<u8>]) {
    let mut left = messages.iter();
    let mut more = true;
    while more {
        more = port
            .transmit(&mut |buffer| {
                let message = left.next()?;
                buffer[..message.len()].copy_from_slice(message);
                Some(Outgoing { peer, len: message.len() })
            })
            .unwrap();
    }
    assert_eq!(left.len(), 0);
}

fn receive_far(socket: &RawSocket) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 9000];
    let frame = socket.recv_timeout(&mut buffer, Duration::from_secs(5)).unwrap();
    frame.map(|frame| frame.to_vec())
}

/// Runs `test` once for every mode of opening a port.
fn every_mode(test: impl Fn(Mode)) {
    for mode in [Mode::Xdp, Mode::XdpGeneric, Mode::Packet] {
        println!("{mode:?}");
        test(mode);
    }
}

#[test]
fn every_mode_carries_frames_both_ways_with_no_one_and_two_tags() {
    every_mode(|mode| {
        let link = Link::new();
        let mut port = link.open(mode);
        let far_end = far_socket(&link);
        for vlan in vlans() {
            port.insert_session(SessionKey::v1(far(vlan), KEY), Dialect::V1.into()).unwrap();
            let short = message(ptype::ACK, KEY, &[]);
            let long =
                message(ptype::DATA, KEY, &vec![0xa5; vlan.payload_room(port.info().mtu) - 14]);
            far_end.send(&to_near(vlan, &short)).unwrap();
            far_end.send(&to_near(vlan, &long)).unwrap();
            far_end.send(&to_near(vlan, &open_message())).unwrap();
            let mut received = receive(port.as_mut(), 3);
            received.sort_by_key(|(_, message)| message[1]);
            let expected = [open_message(), long.clone(), short.clone()];
            assert!(received == expected.map(|message| (far(vlan), message)), "{vlan}");

            send_all(port.as_mut(), far(vlan), &[short.clone(), long.clone()]);
            for message in [short, long] {
                let expected = frame(NEAR_MAC, FAR_MAC, vlan, &message);
                assert!(receive_far(&far_end) == Some(expected), "{vlan}");
            }
        }
        assert_eq!(port.counters().sent, 6);
        assert_eq!(port.counters().send_errors, 0);
    });
}

#[test]
fn frames_come_up_from_the_insertion_of_their_session_to_its_removal() {
    every_mode(|mode| {
        let link = Link::new();
        let mut port = link.open(mode);
        let far_end = far_socket(&link);
        let data = to_near(Vlan::NONE, &message(ptype::DATA, KEY, b"data"));
        let key = SessionKey::v1(far(Vlan::NONE), KEY);
        far_end.send(&data).unwrap();
        assert_eq!(receive_stray(port.as_mut()), []);
        port.insert_session(key, Dialect::V1.into()).unwrap();
        far_end.send(&data).unwrap();
        assert_eq!(receive(port.as_mut(), 1).len(), 1);
        port.remove_session(key);
        port.remove_session(key);
        far_end.send(&data).unwrap();
        assert_eq!(receive_stray(port.as_mut()), []);
        let verdicts = port.counters().verdicts;
        assert_eq!(verdicts[Counter::Session as usize], 1);
        assert_eq!(verdicts[Counter::NoSession as usize], 2);
    });
}

#[test]
fn frames_of_version_2_come_up_for_their_session_and_opens_for_everybody() {
    every_mode(|mode| {
        let link = Link::new();
        let mut port = link.open(mode);
        let far_end = far_socket(&link);
        let packet = |ptype, dstkey| {
            let header = V2Header { ptype, srckey: 9, dstkey, packet_number: 1 << 63 | 5 };
            [&header.emit()[..], &[0x5a; V2_OPEN_BODY]].concat()
        };
        for vlan in vlans() {
            port.insert_session(SessionKey::v2(far(vlan), KEY), Framing::V2).unwrap();
            for ptype in v2_ptype::OPEN..=v2_ptype::DATA_ODD {
                let dstkey = if ptype == v2_ptype::OPEN { 0 } else { KEY };
                let sent = packet(ptype, dstkey);
                far_end.send(&to_near(vlan, &sent)).unwrap();
                assert_eq!(receive(port.as_mut(), 1), [(far(vlan), sent)], "{mode:?} {ptype}");
            }
            far_end.send(&to_near(vlan, &packet(v2_ptype::INITIAL, KEY + 1))).unwrap();
            far_end.send(&to_near(vlan, &message(ptype::DATA, KEY, &[1; 32]))).unwrap();
            far_end.send(&to_near(vlan, &packet(v2_ptype::OPEN, 0)[..77])).unwrap();
            assert_eq!(receive_stray(port.as_mut()), [], "{mode:?} {vlan}");
        }
        let verdicts = port.counters().verdicts;
        assert_eq!(verdicts[Counter::Session as usize], 15);
        assert_eq!(verdicts[Counter::Open as usize], 3);
        assert_eq!(verdicts[Counter::NoSession as usize], 6);
        assert_eq!(verdicts[Counter::Truncated as usize], 3);
    });
}

#[test]
fn an_operators_packet_port_leaves_other_sessions_frames_in_the_kernel() {
    let link = Link::new();
    let mut port = link.open_with(Options { accepts_opens: false, ..options(Mode::Packet) });
    let far_end = far_socket(&link);
    let peer = far(Vlan::NONE);
    let arrives = |port: &mut dyn Port, key| {
        far_end.send(&to_near(Vlan::NONE, &message(ptype::DATA, key, b"data"))).unwrap();
        !receive_stray(port).is_empty()
    };
    assert!(!arrives(port.as_mut(), KEY));
    port.insert_session(SessionKey::v1(peer, KEY), Dialect::V1.into()).unwrap();
    assert!(arrives(port.as_mut(), KEY));
    assert!(!arrives(port.as_mut(), KEY + 1));
    // One key may be that of sessions with several peers.
    let tagged = far(vlans()[1]);
    port.insert_session(SessionKey::v1(tagged, KEY), Dialect::V1.into()).unwrap();
    port.remove_session(SessionKey::v1(tagged, KEY));
    assert!(arrives(port.as_mut(), KEY));
    port.remove_session(SessionKey::v1(peer, KEY));
    assert!(!arrives(port.as_mut(), KEY));
    assert_eq!(port.counters().verdicts[Counter::NoSession as usize], 0, "they came up");
    assert_eq!(port.counters().verdicts[Counter::Session as usize], 2);
    for key in 1..=100 {
        port.insert_session(SessionKey::v1(peer, key), Dialect::V1.into()).unwrap();
    }
    assert!(arrives(port.as_mut(), 1) && arrives(port.as_mut(), 100));
    for key in 2..=100 {
        port.remove_session(SessionKey::v1(peer, key));
    }
    assert!(arrives(port.as_mut(), 1) && !arrives(port.as_mut(), 100));
    assert_eq!(port.counters().verdicts[Counter::NoSession as usize], 0, "they came up");
}

#[test]
fn the_counters_account_for_every_frame_of_ours() {
    every_mode(|mode| {
        let link = Link::new();
        let limits =
            (Rate { interval_ns: 1 << 40, burst: 2 }, Rate { interval_ns: 1 << 40, burst: 3 });
        let mut options = options(mode);
        (options.opens_per_source, options.opens_global) = limits;
        let mut port = link.open_with(options);
        let far_end = far_socket(&link);
        let peer = far(Vlan::NONE);
        port.insert_session(SessionKey::v1(peer, KEY), Dialect::V1.into()).unwrap();
        port.insert_session(SessionKey::v1(peer, KEY + 1), Dialect::V1Deployed.into()).unwrap();

        let data = message(ptype::DATA, KEY, b"data");
        let patched = |at: usize, byte: u8| {
            let mut bytes = data.clone();
            bytes[at] = byte;
            to_near(Vlan::NONE, &bytes)
        };
        let open_from = |n| frame(Mac([2, 0, 0, 0, 7, n]), NEAR_MAC, Vlan::NONE, &open_message());
        let deployed = message(ptype::DATA, KEY + 1, &[0, 0, 0, 0, 0, 200]);
        let sent = [
            (Counter::Session, 1, to_near(Vlan::NONE, &data)),
            (Counter::NoSession, 2, to_near(vlans()[1], &data)),
            (Counter::NotAddressed, 1, frame(FAR_MAC, Mac::BROADCAST, Vlan::NONE, &data)),
            (Counter::NotAddressed, 2, frame(FAR_MAC, Mac([2; 6]), Vlan::NONE, &data)),
            (Counter::Truncated, 1, to_near(Vlan::NONE, &data[..13])),
            (Counter::Truncated, 2, to_near(vlans()[2], &data[..3])),
            (Counter::Version, 3, patched(0, 9)),
            (Counter::PacketType, 4, patched(1, 4)),
            (Counter::CountZero, 1, patched(11, 0)),
            (Counter::OffsetPastCount, 1, patched(13, 1)),
            (Counter::DataLength, 1, to_near(Vlan::NONE, &deployed)),
            (Counter::Open, 2, open_from(1)),
            (Counter::OpenRateSource, 5, open_from(1)),
            (Counter::Open, 1, open_from(2)),
            (Counter::OpenRateGlobal, 2, open_from(3)),
        ];
        let mut expected = [0; Counter::COUNT];
        for (counter, times, frame) in &sent {
            expected[*counter as usize] += times;
            for _ in 0..*times {
                far_end.send(frame).unwrap();
            }
        }
        let up = receive_stray(port.as_mut());
        assert_eq!(up.len(), 4, "one frame of a session and three opens");
        let counters = port.counters();
        for counter in Counter::ALL {
            let index = *counter as usize;
            assert_eq!(counters.verdicts[index], expected[index], "{}", counter.name());
        }
        assert_eq!(counters.socket_drops, 0);
    });
}

#[test]
fn a_thousand_frames_arrive_in_order_each_way() {
    every_mode(|mode| {
        let link = Link::new();
        let mut port = link.open(mode);
        let options = RawOptions {
            ethertype: Some(bmstools_common::ETHERTYPE),
            receive_buffer: Some(8 << 20),
            ..RawOptions::default()
        };
        let far_end = link.far.run(|| RawSocket::open_with(FAR, &options)).unwrap();
        port.insert_session(SessionKey::v1(far(Vlan::NONE), KEY), Dialect::V1.into()).unwrap();
        let messages: Vec<Vec<u8>> =
            (0..1000u32).map(|n| message(ptype::DATA, KEY, &n.to_be_bytes())).collect();

        send_all(port.as_mut(), far(Vlan::NONE), &messages);
        for message in &messages {
            let expected = frame(NEAR_MAC, FAR_MAC, Vlan::NONE, message);
            assert_eq!(receive_far(&far_end), Some(expected));
        }
        let frames: Vec<Vec<u8>> = messages.iter().map(|m| to_near(Vlan::NONE, m)).collect();
        let mut received = Vec::new();
        for batch in frames.chunks(50) {
            assert_eq!(far_end.send_batch(batch).unwrap(), batch.len());
            received.extend(receive(port.as_mut(), batch.len()).into_iter().map(|(_, m)| m));
        }
        assert!(received == messages, "{} frames, or their order is wrong", received.len());
    });
}

#[test]
fn both_queues_of_an_interface_are_received_from() {
    for mode in [Mode::Xdp, Mode::XdpGeneric] {
        let link = Link::with("numrxqueues 2 numtxqueues 2");
        let mut port = link.open(mode);
        assert!(port.info().mode.contains("2 queues"), "{}", port.info().mode);
        port.insert_session(SessionKey::v1(far(Vlan::NONE), KEY), Dialect::V1.into()).unwrap();
        // Past the queueing discipline, the sender's CPU is its queue's number, and
        // that the receiver's.
        let bypass = RawOptions { bypass_queue: true, ..RawOptions::default() };
        let frame = to_near(Vlan::NONE, &message(ptype::DATA, KEY, b"data"));
        for cpu in [0, 1] {
            link.far.run(|| {
                let mut cpus = rustix::thread::CpuSet::new();
                cpus.set(cpu);
                rustix::thread::sched_setaffinity(None, &cpus).expect("this test needs two CPUs");
                let far_end = RawSocket::open_with(FAR, &bypass).unwrap();
                for _ in 0..20 {
                    far_end.send(&frame).unwrap();
                }
            });
            assert_eq!(receive(port.as_mut(), 20).len(), 20, "{mode:?} queue {cpu}");
        }
        let verdicts = port.counters().verdicts;
        assert_eq!(verdicts[Counter::Session as usize], 40, "{mode:?}");
        assert_eq!(verdicts[Counter::SessionViaRing as usize], 0, "a queue without a socket");
    }
}

#[test]
fn a_fork_does_not_copy_the_memory_of_frames() {
    let link = Link::new();
    let _port = link.open(Mode::Xdp);
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut is_private, mut kept) = (false, false);
    for line in maps.lines() {
        match line.split_once(' ') {
            Some(("VmFlags:", flags)) => {
                kept |= is_private && flags.split(' ').any(|flag| flag == "dc");
            }
            Some((range, rest)) if range.contains('-') => is_private = rest.starts_with("rw-p"),
            _ => {}
        }
    }
    assert!(kept, "{maps}");
}

#[test]
fn a_large_mtu_is_used_up_to_what_one_buffer_holds() {
    every_mode(|mode| {
        let link = Link::with("mtu 3498");
        let mut port = link.open(mode);
        assert_eq!(port.info().mtu, 3498);
        let far_end = far_socket(&link);
        for vlan in vlans() {
            port.insert_session(SessionKey::v1(far(vlan), KEY), Dialect::V1.into()).unwrap();
            let data =
                message(ptype::DATA, KEY, &vec![0x5a; vlan.payload_room(port.info().mtu) - 14]);
            send_all(port.as_mut(), far(vlan), std::slice::from_ref(&data));
            let expected = frame(NEAR_MAC, FAR_MAC, vlan, &data);
            assert!(receive_far(&far_end) == Some(expected), "{mode:?} {vlan}");
            far_end.send(&to_near(vlan, &data)).unwrap();
            assert!(receive(port.as_mut(), 1) == [(far(vlan), data)], "{mode:?} {vlan}");
        }
    });
}

#[test]
fn a_flood_that_nobody_reads_is_counted_as_dropped_and_leaves_sessions_room() {
    let link = Link::new();
    let mut port = link.open(Mode::Packet);
    let far_end = far_socket(&link);
    port.insert_session(SessionKey::v1(far(Vlan::NONE), KEY), Dialect::V1.into()).unwrap();
    let open = to_near(Vlan::NONE, &open_message());
    let flood = 20_000;
    let mut sent = 0;
    while sent < flood {
        sent += far_end.send_batch(&vec![&open; 64.min(flood - sent)]).unwrap_or(0);
    }
    far_end.send(&to_near(Vlan::NONE, &message(ptype::DATA, KEY, b"data"))).unwrap();
    // First come the frames of sessions.
    assert_eq!(receive(port.as_mut(), 1)[0].1, message(ptype::DATA, KEY, b"data"));
    receive_stray(port.as_mut());
    let counters = port.counters();
    assert!(counters.socket_drops > 0);
    let opens = counters.verdicts[Counter::Open as usize];
    assert_eq!(opens + counters.socket_drops, flood as u64);
}

#[test]
fn frames_that_an_af_xdp_socket_has_no_room_for_are_counted_as_dropped() {
    for mode in [Mode::Xdp, Mode::XdpGeneric] {
        let link = Link::new();
        let mut port = link.open(mode);
        let far_end = far_socket(&link);
        port.insert_session(SessionKey::v1(far(Vlan::NONE), KEY), Dialect::V1.into()).unwrap();
        let data = to_near(Vlan::NONE, &message(ptype::DATA, KEY, b"data"));
        let mut sent = 0;
        while sent < 5000 {
            sent += far_end.send_batch(&vec![&data; 40.min(5000 - sent)]).unwrap_or(0);
            // The link's own ring loses nothing at this rate.
            while port.counters().verdicts[Counter::Session as usize] < sent as u64 {
                std::thread::yield_now();
            }
        }
        let drops = port.counters().socket_drops;
        assert!(drops > 0);
        let expected = 5000 - drops as usize;
        assert_eq!(receive(port.as_mut(), expected).len(), expected, "{mode:?}");
        assert_eq!(receive_stray(port.as_mut()), [], "{mode:?}");
        // The memory of all of them is back in use.
        for _ in 0..200 {
            far_end.send_batch(&vec![&data; 40]).unwrap();
            assert_eq!(receive(port.as_mut(), 40).len(), 40);
        }
        assert_eq!(port.counters().socket_drops, drops);
    }
}

#[test]
fn the_automatic_mode_takes_native_xdp_where_it_works() {
    let link = Link::new();
    assert_eq!(link.open(Mode::Auto).info().mode, "native XDP, 1 queue, copy");
    let lo = bmstools_link::Options { interface: "lo".into(), ..options(Mode::Auto) };
    let error = link.near.run(|| bmstools_link::open(&lo)).map(drop).unwrap_err();
    assert!(error.to_string().contains("down") || error.to_string().contains("Ethernet"));
    assert_eq!(NEAR, link.open(Mode::Auto).info().interface);
}
