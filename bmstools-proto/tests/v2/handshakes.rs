//! Opening and closing.

use std::time::Duration;

use bmstools_proto::v2::{CloseReason, Config};

use crate::world::*;

#[test]
fn both_sides_learn_who_the_other_is() {
    let mut world = World::new(Weather::FINE, 1);
    let (operator, agent) = world.established();
    assert_eq!(world.nodes[OPERATOR].established[&operator], AGENT_KEY.public_key());
    assert_eq!(world.nodes[AGENT].established[&agent], OPERATOR_KEY.public_key());
}

#[test]
fn no_frame_is_long_before_the_session_is_established() {
    let mut world = World::new(Weather::FINE, 2);
    world.log = Some(Vec::new());
    world.established();
    // The last ones may be probes for longer frames.
    let log = world.log.take().unwrap();
    let handshake = log.iter().filter(|frame| frame.bytes[1] < 4);
    assert!(handshake.map(|frame| frame.bytes.len()).max().unwrap() <= 256);
}

#[test]
fn the_answer_to_an_open_is_never_longer_than_the_open() {
    let mut world = World::new(Weather::FINE, 3);
    world.log = Some(Vec::new());
    world.established();
    let log = world.log.take().unwrap();
    let open = log.iter().find(|frame| frame.bytes[1] == 0).unwrap();
    let retry = log.iter().find(|frame| frame.bytes[1] == 1).unwrap();
    assert!(retry.bytes.len() <= open.bytes.len());
}

#[test]
fn a_handshake_succeeds_at_thirty_percent_loss() {
    for seed in 0..50 {
        let weather = Weather { loss: 0.3, delay: ms(5), ..Weather::FINE };
        World::new(weather, seed).established();
    }
}

#[test]
fn a_wrong_agent_key_is_refused_with_both_fingerprints() {
    let mut world = World::new(Weather::FINE, 4);
    let other = key().public_key();
    let id = world.connect_as(OPERATOR_KEY.clone(), other.clone());
    world.run_for(Duration::from_secs(2));
    let (actual, expected) = (AGENT_KEY.public_key().fingerprint(), other.fingerprint());
    let wanted = (id, CloseReason::WrongKey { actual, expected });
    assert_eq!(world.nodes[OPERATOR].closed, [wanted]);
    assert!(world.nodes[AGENT].established.is_empty());
}

#[test]
fn an_unauthorised_operator_is_refused_and_told() {
    let mut world = World::new(Weather::FINE, 5);
    let stranger = key();
    let id = world.connect_as(stranger, AGENT_KEY.public_key());
    world.run_for(Duration::from_secs(2));
    let closed = &world.nodes[OPERATOR].closed;
    assert!(
        matches!(&closed[..], [(of, CloseReason::NotAuthorized(_))] if *of == id),
        "{closed:?}"
    );
    assert!(world.nodes[AGENT].established.is_empty());
    assert!(world.nodes[OPERATOR].established.is_empty());
}

#[test]
fn nobody_there_is_said_in_time() {
    let mut world = World::new(Weather::FINE, 6);
    world.nodes[AGENT].dead = true;
    world.connect();
    world.run_for(Duration::from_secs(11));
    let closed = &world.nodes[OPERATOR].closed;
    assert!(matches!(closed[..], [(_, CloseReason::NoAnswer(_))]), "{closed:?}");
    assert_eq!(world.nodes[OPERATOR].drained, 1);
}

#[test]
fn closing_is_confirmed_and_leaves_nothing() {
    for seed in 0..20 {
        let weather = Weather { loss: 0.2, ..Weather::FINE };
        let mut world = World::new(weather, seed);
        let (id, of_agent) = world.established();
        let now = world.now;
        world.nodes[OPERATOR].endpoint.close(now, id, 7, "enough");
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.nodes[OPERATOR].closed, [(id, CloseReason::Local)]);
        let told = CloseReason::Peer { code: 7, reason: "enough".into() };
        assert_eq!(world.nodes[AGENT].closed, [(of_agent, told)]);
        for node in &world.nodes {
            assert_eq!((node.drained, node.endpoint.session_count()), (1, 0));
        }
    }
}

#[test]
fn an_idle_session_ends_and_a_kept_one_does_not() {
    let config = Config { idle_timeout: Duration::from_secs(5), ..Config::default() };
    let mut world = World::with(config.clone(), config.clone(), Weather::FINE, 7);
    world.established();
    world.run_for(Duration::from_secs(20));
    assert!(matches!(world.nodes[AGENT].closed[..], [(_, CloseReason::Idle)]));
    assert!(matches!(world.nodes[OPERATOR].closed[..], [(_, CloseReason::Idle)]));

    let kept = Config { keep_alive: true, ..config.clone() };
    let mut world = World::with(config, kept, Weather::FINE, 8);
    world.established();
    world.run_for(Duration::from_secs(60));
    assert!(world.nodes[AGENT].closed.is_empty() && world.nodes[OPERATOR].closed.is_empty());
}

#[test]
fn a_vanished_peer_is_noticed() {
    let mut world = World::new(Weather::FINE, 9);
    let (id, _) = world.established();
    world.nodes[AGENT].dead = true;
    world.send_stream(OPERATOR, id, b"anybody there?");
    world.run_for(Duration::from_secs(30));
    let closed = &world.nodes[OPERATOR].closed;
    assert!(matches!(closed[..], [(_, CloseReason::Lost(_))]), "{closed:?}");
}

#[test]
fn a_handshake_cut_at_any_frame_leaves_nothing() {
    for cut in 1..24 {
        for node in [AGENT, OPERATOR] {
            let mut world = World::new(Weather::FINE, cut);
            world.connect();
            world.run_until(Duration::from_secs(1), |world| world.sent >= cut);
            world.nodes[node].dead = true;
            world.run_for(Duration::from_secs(120));
            let left = &world.nodes[1 - node];
            assert_eq!(left.endpoint.session_count(), 0, "after {cut} frames");
            assert_eq!(left.drained, left.begun);
        }
    }
}

#[test]
fn more_handshakes_than_allowed_displace_the_oldest() {
    let agent = Config { max_handshakes: 4, ..Config::default() };
    let mut world = World::with(agent, Config::default(), Weather::FINE, 10);
    let strangers: Vec<_> = (0..10).map(|_| world.connect()).collect();
    world.run_for(ms(500));
    // All go on: those displaced begin again with their next open.
    let established = world.nodes[OPERATOR].established.len();
    assert!(established >= 4, "{established} of {}", strangers.len());
    world.established();
}
