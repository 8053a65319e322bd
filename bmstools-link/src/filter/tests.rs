use bmstools_common::ethernet::Header;
use bmstools_common::header::{DeployedFields, Dialect, V1Header, ptype};
use bmstools_common::maps::Rate;
use bmstools_common::{Mac, Vlan};

use super::*;

const LOCAL: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 9, n])
}

fn filter(per_source: Rate, global: Rate) -> Filter {
    Filter::new(Config { local: LOCAL, per_source, global })
}

fn burst(burst: u64) -> Rate {
    Rate { interval_ns: 1_000, burst }
}

fn frame(source: Mac, ptype: u8, dstkey: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14];
    Header { destination: LOCAL, source, vlan: Vlan::NONE }.emit(&mut bytes);
    bytes.extend(V1Header { ptype, srckey: 3, dstkey, sequence: 0, count: 1, offset: 0 }.emit());
    bytes.extend(rest);
    bytes
}

#[track_caller]
fn assert_counted(filter: &Filter, expected: &[(Counter, u64)]) {
    for counter in Counter::ALL {
        let want = expected.iter().find(|(c, _)| c == counter).map_or(0, |(_, n)| *n);
        assert_eq!(filter.counters()[*counter as usize], want, "{}", counter.name());
    }
}

#[test]
fn opens_over_the_sources_rate_are_dropped_until_time_has_passed() {
    let mut filter = filter(burst(2), burst(100));
    let open = frame(mac(1), ptype::OPEN, 0, &[]);
    let admitted = (0..5).filter(|_| filter.admit(&open, 0).is_some()).count();
    assert_eq!(admitted, 2);
    assert!(filter.admit(&frame(mac(2), ptype::OPEN, 0, &[]), 0).is_some(), "another source");
    assert!(filter.admit(&open, 1_000).is_some());
    assert_counted(&filter, &[(Counter::Open, 4), (Counter::OpenRateSource, 3)]);
}

#[test]
fn opens_of_many_sources_share_one_rate() {
    let mut filter = filter(burst(2), burst(10));
    let admitted = (0..100)
        .filter(|n| filter.admit(&frame(mac(*n), ptype::OPEN, 0, &[]), 0).is_some())
        .count();
    assert_eq!(admitted, 10);
    assert_counted(&filter, &[(Counter::Open, 10), (Counter::OpenRateGlobal, 90)]);
}

#[test]
fn a_deployed_sessions_frame_with_a_length_past_its_end_is_dropped() {
    let mut filter = filter(burst(1), burst(1));
    let peer = Peer { mac: mac(1), vlan: Vlan::NONE };
    filter.insert_session(SessionKey::v1(peer, 5), Dialect::V1Deployed.into()).unwrap();
    let good = DeployedFields { vlan: 1, data_len: 2 }.emit();
    let lies = DeployedFields { vlan: 1, data_len: 3 }.emit();
    let send = |fields: [u8; 6]| frame(mac(1), ptype::DATA, 5, &[&fields[..], &[1, 2]].concat());
    assert_eq!(filter.admit(&send(good), 0), Some((peer, 14)));
    assert_eq!(filter.admit(&send(lies), 0), None);
    assert_eq!(filter.admit(&frame(mac(1), ptype::DATA, 5, &[1]), 0), None);
    assert_counted(
        &filter,
        &[(Counter::Session, 1), (Counter::DataLength, 1), (Counter::Truncated, 1)],
    );
}

#[test]
fn the_table_of_sessions_is_bounded_and_takes_more_after_a_removal() {
    let mut filter = filter(burst(1), burst(1));
    let key = |n: u32| {
        let [_, _, a, b] = n.to_be_bytes();
        SessionKey::v1(Peer { mac: Mac([2, 0, 0, 0, a, b]), vlan: Vlan::NONE }, 1)
    };
    for n in 0..SESSIONS_CAPACITY {
        filter.insert_session(key(n), Dialect::V1.into()).unwrap();
    }
    filter.insert_session(key(0), Dialect::V1Deployed.into()).unwrap();
    let more = filter.insert_session(key(SESSIONS_CAPACITY), Dialect::V1.into());
    assert!(matches!(more, Err(LinkError::SessionsFull(SESSIONS_CAPACITY))));
    filter.remove_session(key(3));
    filter.insert_session(key(SESSIONS_CAPACITY), Dialect::V1.into()).unwrap();
}
