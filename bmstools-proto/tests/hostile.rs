//! Peers that send whatever they like.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod sim;

use bmstools_common::ethernet::{Mac, Peer, Vlan};
use bmstools_common::header::{V1Header, ptype};
use bmstools_proto::agent::{Endpoint, Event};
use bmstools_proto::operator::Client;
use bmstools_proto::{Config, Dialect};
use proptest::prelude::*;
use sim::*;

/// Headers that are mostly well formed, so that they reach what is behind the
/// parser, with any data.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(255), any::<u8>()];
    let key = prop_oneof![Just(0u16), Just(1), 1u16..8, any::<u16>()];
    let small = prop_oneof![Just(0u32), 0u32..6, any::<u32>()];
    let data = proptest::collection::vec(any::<u8>(), 0..80);
    (kind, key.clone(), key, small, 0u16..5, 0u16..5, data, any::<bool>()).prop_map(
        |(ptype, srckey, dstkey, sequence, count, offset, data, deployed)| {
            let header = V1Header { ptype, srckey, dstkey, sequence, count, offset };
            let mut frame = header.emit().to_vec();
            if deployed {
                frame.extend_from_slice(&[0, 0, 6, 0xac]);
                frame.extend_from_slice(&(data.len() as u16).to_be_bytes());
            }
            frame.extend_from_slice(&data);
            frame
        },
    )
}

fn any_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..64);
    proptest::collection::vec(prop_oneof![4 => frame(), 1 => noise], 0..200)
}

proptest! {
    #[test]
    fn no_frames_panic_an_agent_and_every_one_is_accounted_for(
        frames in any_frames(),
        keys in proptest::collection::vec(any::<bool>(), 200),
    ) {
        let mut now = start();
        let mut endpoint = Endpoint::new(Config { max_sessions: 8, ..Config::default() }, [9; 32]);
        let peer = Peer { mac: OPERATOR, vlan: Vlan::NONE };
        let mut real_keys: Vec<[u8; 2]> = Vec::new();
        let count = frames.len() as u64;
        for (mut frame, real) in frames.into_iter().zip(keys.into_iter().chain(std::iter::repeat(true))) {
            if real && let (Some(key), Some(field)) = (real_keys.last(), frame.get_mut(4..6)) {
                field.copy_from_slice(&key[..]);
            }
            now += ms(7);
            endpoint.handle_frame(now, 0, peer, &mut frame);
            endpoint.handle_timeout(now);
            while let Some(event) = endpoint.poll_event() {
                match event {
                    Event::Opened { session, .. } => endpoint.accept(now, session),
                    Event::ChallengeWanted { session, .. } => endpoint.no_challenge(now, session),
                    Event::Request { .. } => panic!("nobody has authenticated"),
                    Event::Ended { session, .. } => endpoint.finish(now, session, None),
                    Event::Authenticated { .. } | Event::Drained { .. } => {}
                }
            }
            let mut buffer = [0; 1500];
            while endpoint.poll_transmit(now, 0, &mut buffer).is_some() {
                if buffer[2..4] != [0, 0] {
                    real_keys.push([buffer[2], buffer[3]]);
                }
            }
            prop_assert!(endpoint.session_count() <= 8);
        }
        prop_assert_eq!(endpoint.stats().received, count);
    }

    #[test]
    fn no_frames_panic_an_operator(frames in any_frames(), opened: bool) {
        let mut now = start();
        let peer = Peer { mac: AGENT, vlan: Vlan::NONE };
        let mut client =
            Client::new(Config::default(), Dialect::V1, peer, KEY.clone(), [1; 32], now);
        let mut buffer = [0; 1500];
        let _ = client.poll_transmit(now, &mut buffer);
        let key = [buffer[2], buffer[3]];
        if opened {
            let mut reply = V1Header { ptype: 0, srckey: 1, dstkey: u16::from_be_bytes(key), sequence: 0, count: 1, offset: 0 }.emit();
            client.handle_frame(now, peer, &mut reply);
        }
        for mut frame in frames {
            if let Some(field) = frame.get_mut(4..6) {
                field.copy_from_slice(&key);
            }
            now += ms(7);
            client.handle_frame(now, peer, &mut frame);
            client.handle_timeout(now);
            while client.poll_event().is_some() {}
            while client.poll_transmit(now, &mut buffer).is_some() {}
        }
    }
}

#[test]
fn a_flood_of_opens_holds_no_more_than_its_limit_and_lets_operators_in() {
    let mut world = World::new(Weather::FINE, 1);
    let config = Config::default();
    let open = V1Header { ptype: 0, srckey: 3, dstkey: 0, sequence: 0, count: 1, offset: 0 };
    world.add(Dialect::V1, &KEY, vec![bmstools_proto::operator::Request::Exec(b"true".to_vec())]);
    for i in 0..20_000u32 {
        let [a, b, c, d] = i.to_be_bytes();
        let peer = Peer { mac: Mac([2, 0, a, b, c, d]), vlan: Vlan::NONE };
        let now = world.now;
        world.host.endpoint.handle_frame(now, 0, peer, &mut open.emit());
        if i % 10 == 0 {
            world.pass(std::time::Duration::from_micros(200));
        }
    }
    world.run(ms(500));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
    assert!(world.host.peak_sessions <= config.max_unauthenticated + 1);
    world.pass(config.auth_timeout * 2);
    assert_eq!(world.host.endpoint.session_count(), 0);
}

/// A peer that asks and never takes an answer must not make answers pile up.
#[test]
fn answers_that_nobody_acknowledges_do_not_pile_up() {
    let now = start();
    let mut endpoint = Endpoint::new(Config::default(), [9; 32]);
    let peer = Peer { mac: OPERATOR, vlan: Vlan::NONE };
    let mut buffer = [0; 1500];
    let mut key = 0;
    for sequence in 0..10_000 {
        let ptype = if sequence == 0 { ptype::OPEN } else { ptype::DATA };
        let header = V1Header { ptype, srckey: 3, dstkey: key, sequence, count: 1, offset: 0 };
        endpoint.handle_frame(now, 0, peer, &mut header.emit());
        if let Some(Event::Opened { session, .. }) = endpoint.poll_event() {
            endpoint.accept(now, session);
        }
        while endpoint.poll_transmit(now, 0, &mut buffer).is_some() {
            key = key.max(u16::from_be_bytes([buffer[2], buffer[3]]));
        }
    }
    let taken = 10_000 - endpoint.stats().refused;
    assert!((2..10).contains(&taken), "{taken} requests were taken, and none of their answers");
}

/// An open from an agent without a key of its own cannot be answered.
#[test]
fn an_answer_without_a_key_opens_nothing_and_the_real_one_does() {
    let now = start();
    let peer = Peer { mac: AGENT, vlan: Vlan::NONE };
    let mut client = Client::new(Config::default(), Dialect::V1, peer, KEY.clone(), [1; 32], now);
    let mut buffer = [0; 1500];
    let _ = client.poll_transmit(now, &mut buffer);
    let dstkey = u16::from_be_bytes([buffer[2], buffer[3]]);
    let open = V1Header { ptype: ptype::OPEN, srckey: 9, dstkey, sequence: 0, count: 1, offset: 0 };
    for bad in [
        V1Header { srckey: 0, ..open },
        V1Header { sequence: 1, ..open },
        V1Header { count: 2, ..open },
        V1Header { ptype: ptype::END, srckey: 0, ..open },
        V1Header { ptype: ptype::DATA, srckey: 0, ..open },
    ] {
        client.handle_frame(now, peer, &mut bad.emit());
        assert!(client.poll_event().is_none(), "{bad:?}");
    }
    let elsewhere = Peer { mac: OPERATOR, ..peer };
    client.handle_frame(now, elsewhere, &mut open.emit());
    assert!(client.poll_event().is_none(), "another host answered");
    assert_eq!(client.stats().refused, 6);
    client.handle_frame(now, peer, &mut open.emit());
    assert!(matches!(client.poll_event(), Some(bmstools_proto::operator::Event::Opened)));
}

/// Sessions of a peer that never authenticate make room for one that may.
#[test]
fn a_peer_at_its_limit_loses_its_oldest_unauthenticated_session() {
    let mut world = World::new(Weather::FINE, 1);
    let config = Config { max_sessions_per_peer: 4, ..Config::default() };
    world.host = Host::new(config, vec![KEY.public_key()], 1);
    let peer = Peer { mac: OPERATOR, vlan: Vlan::NONE };
    for srckey in 1..=4 {
        let open =
            V1Header { ptype: ptype::OPEN, srckey, dstkey: 0, sequence: 0, count: 1, offset: 0 };
        world.host.endpoint.handle_frame(world.now, 0, peer, &mut open.emit());
    }
    world.add(Dialect::V1, &KEY, vec![bmstools_proto::operator::Request::Exec(b"true".to_vec())]);
    world.run(ms(500));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
    assert!(world.host.peak_sessions <= 4);
}
