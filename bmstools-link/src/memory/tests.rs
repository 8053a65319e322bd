use bmstools_common::Vlan;
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Tag;
use bmstools_common::header::{Dialect, V1Header, ptype};

use super::*;

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn frame(ptype: u8, dstkey: u16) -> [u8; 14] {
    V1Header { ptype, srckey: 1, dstkey, sequence: 0, count: 1, offset: 0 }.emit()
}

fn send(port: &mut MemoryPort, peer: Peer, bytes: &[u8], mut count: usize) {
    while port
        .transmit(&mut |buffer| {
            count = count.checked_sub(1)?;
            buffer[..bytes.len()].copy_from_slice(bytes);
            Some(Outgoing { peer, len: bytes.len() })
        })
        .unwrap()
    {}
}

fn receive(port: &mut MemoryPort) -> Vec<(Peer, Vec<u8>)> {
    let mut frames = Vec::new();
    while port.receive(&mut |peer, frame| frames.push((peer, frame.to_vec()))).unwrap() > 0 {}
    frames
}

#[test]
fn frames_of_inserted_sessions_and_opens_come_up_and_no_others() {
    let (mut a, mut b) = pair(A, B, 1500).unwrap();
    let vlan = Vlan::tagged(1708).unwrap().wrapped_in(Tag { service: true, id: 5 }).unwrap();
    let key = SessionKey::v1(Peer { mac: A, vlan }, 9);
    b.insert_session(key, Dialect::V1.into()).unwrap();
    let (data, open) = (frame(ptype::DATA, 9), frame(ptype::OPEN, 0));
    send(&mut a, Peer { mac: B, vlan }, &data, 1);
    send(&mut a, Peer { mac: B, vlan: Vlan::NONE }, &data, 1);
    send(&mut a, Peer { mac: B, vlan: Vlan::NONE }, &open, 1);
    send(&mut a, Peer { mac: Mac::BROADCAST, vlan }, &data, 1);
    assert_eq!(
        receive(&mut b),
        [
            (Peer { mac: A, vlan }, data.to_vec()),
            (Peer { mac: A, vlan: Vlan::NONE }, open.to_vec())
        ]
    );
    b.remove_session(key);
    send(&mut a, Peer { mac: B, vlan }, &data, 1);
    assert_eq!(receive(&mut b), []);
    let counters = b.counters();
    let count = |counter| counters.verdicts[counter as usize];
    assert_eq!(count(Counter::Session), 1);
    assert_eq!(count(Counter::Open), 1);
    assert_eq!(count(Counter::NoSession), 2);
    assert_eq!(count(Counter::NotAddressed), 1);
    assert_eq!(counters.verdicts.iter().sum::<u64>(), a.counters().sent);
}

#[test]
fn a_full_queue_loses_frames_and_counts_them() {
    let (mut a, mut b) = pair(A, B, 1500).unwrap();
    let peer = Peer { mac: B, vlan: Vlan::NONE };
    send(&mut a, peer, &frame(ptype::OPEN, 0), QUEUE_LEN + 5);
    assert_eq!(receive(&mut b).len(), QUEUE_LEN);
    assert_eq!(b.counters().socket_drops, 5);
    send(&mut a, peer, &frame(ptype::OPEN, 0), 1);
    assert_eq!(receive(&mut b).len(), 1);
}
