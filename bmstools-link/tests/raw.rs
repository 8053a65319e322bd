//! Raw sockets on a veth link between two network namespaces. Needs root.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking, and tell what they try")]

mod common;

use std::time::Duration;

use bmstools_common::header::ptype;
use bmstools_common::{ETHERTYPE, Mac, Vlan};
use bmstools_link::{RawOptions, RawSocket};

use common::{FAR, Link, NEAR, frame, message, to_near, vlans};

fn recv(socket: &RawSocket) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 2048];
    let frame = socket.recv_timeout(&mut buffer, Duration::from_millis(200)).unwrap();
    frame.map(|frame| frame.to_vec())
}

#[test]
fn a_frame_arrives_as_it_was_sent_tags_included() {
    let link = Link::new();
    let near = link.near.run(|| RawSocket::open(NEAR)).unwrap();
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    for vlan in vlans() {
        let sent = to_near(vlan, &message(ptype::DATA, 1, b"data"));
        far.send(&sent).unwrap();
        assert_eq!(recv(&near), Some(sent), "{vlan}");
    }
    assert_eq!(recv(&near), None);
    assert_eq!(recv(&far), None, "its own frames are not received");
}

#[test]
fn only_frames_of_the_ethertype_asked_for_are_received() {
    let link = Link::new();
    let options = RawOptions { ethertype: Some(ETHERTYPE), ..RawOptions::default() };
    let near = link.near.run(|| RawSocket::open_with(NEAR, &options)).unwrap();
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    for vlan in vlans() {
        let mut other = to_near(vlan, &[0; 50]);
        let ethertype_at = other.len() - 52;
        other[ethertype_at..ethertype_at + 2].copy_from_slice(&[0x88, 0xb5]);
        far.send(&other).unwrap();
        let ours = to_near(vlan, b"ours");
        far.send(&ours).unwrap();
        assert_eq!(recv(&near), Some(ours), "{vlan}");
        assert_eq!(recv(&near), None, "{vlan}");
    }
}

#[test]
fn a_batch_longer_than_one_call_takes_goes_out_whole() {
    let link = Link::new();
    let options = RawOptions { receive_buffer: Some(4 << 20), ..RawOptions::default() };
    let near = link.near.run(|| RawSocket::open_with(NEAR, &options)).unwrap();
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    let frames: Vec<_> = (0..150u8).map(|n| to_near(Vlan::NONE, &[n; 40])).collect();
    let mut sent = 0;
    while sent < frames.len() {
        sent += far.send_batch(&frames[sent..]).unwrap_or(0);
    }
    for expected in frames {
        assert_eq!(recv(&near), Some(expected));
    }
    assert_eq!(near.take_drops().unwrap(), 0);
}

#[test]
fn frames_that_a_full_buffer_lost_are_counted_once() {
    let link = Link::new();
    let options = RawOptions { receive_buffer: Some(4096), ..RawOptions::default() };
    let near = link.near.run(|| RawSocket::open_with(NEAR, &options)).unwrap();
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    for _ in 0..50 {
        far.send(&to_near(Vlan::NONE, &[0; 1000])).unwrap();
    }
    let mut received = 0;
    while recv(&near).is_some() {
        received += 1;
    }
    assert_eq!(near.take_drops().unwrap(), 50 - received);
    assert!(received < 50);
    assert_eq!(near.take_drops().unwrap(), 0);
}

#[test]
fn outgoing_frames_and_frames_for_others_are_received_on_request() {
    let link = Link::new();
    let options = RawOptions { promiscuous: true, ignore_outgoing: false, ..RawOptions::default() };
    let near = link.near.run(|| RawSocket::open_with(NEAR, &options)).unwrap();
    let far = link.far.run(|| RawSocket::open(FAR)).unwrap();
    let stray = frame(common::FAR_MAC, Mac([2, 9, 9, 9, 9, 9]), Vlan::NONE, b"stray");
    far.send(&stray).unwrap();
    assert_eq!(recv(&near), Some(stray));
    assert!(link.near.ip(&format!("-d link show {NEAR}")).contains("promiscuity 1"));
    let own = frame(common::NEAR_MAC, common::FAR_MAC, Vlan::NONE, b"own");
    // A socket never sees what it sent itself.
    link.near.run(|| RawSocket::open(NEAR)).unwrap().send(&own).unwrap();
    assert_eq!(recv(&near), Some(own));
}
