//! What somebody else on the wire can do: nothing, and it is counted.

use std::time::Duration;

use bmstools_proto::v2::Config;
use rand::Rng;

use crate::world::*;

#[test]
fn captured_frames_replayed_change_nothing() {
    let mut world = World::new(Weather::FINE, 31);
    world.log = Some(Vec::new());
    let (id, of_agent) = world.established();
    let data = random(200_000, 31);
    let stream = world.send_stream(OPERATOR, id, &data);
    world.run_for(ms(500));
    let log = world.log.take().unwrap();
    let before = world.nodes[AGENT].endpoint.stats();
    for frame in &log {
        world.send(frame.from, frame.to, &frame.bytes);
    }
    world.run_for(Duration::from_secs(1));
    let after = world.nodes[AGENT].endpoint.stats();
    assert!(after.replayed > before.replayed, "{after:?}");
    assert_eq!(after.established, before.established);
    assert!(world.nodes[AGENT].closed.is_empty() && world.nodes[OPERATOR].closed.is_empty());
    assert!(world.nodes[AGENT].arrived[&(of_agent, stream)].ordered == data);
    assert_eq!(world.nodes[AGENT].arrived.len(), 1);
}

#[test]
fn flipped_bits_change_nothing() {
    let mut world = World::new(Weather { corruption: 0.2, ..Weather::FINE }, 32);
    let (id, of_agent) = world.established();
    let data = random(500_000, 32);
    let stream = world.send_stream(OPERATOR, id, &data);
    let done = world.run_until(Duration::from_secs(20), |world| {
        world.nodes[AGENT].arrived.get(&(of_agent, stream)).is_some_and(|arrived| arrived.ended)
    });
    assert!(done, "{:?}", world.nodes[OPERATOR].closed);
    assert!(world.nodes[AGENT].arrived[&(of_agent, stream)].ordered == data);
    assert!(world.nodes[AGENT].endpoint.stats().unsealed > 0);
}

#[test]
fn frames_from_another_address_are_refused() {
    let mut world = World::new(Weather::FINE, 33);
    let (id, _) = world.established();
    world.run_for(ms(100));
    world.log = Some(Vec::new());
    world.weather.loss = 1.0;
    world.send_stream(OPERATOR, id, b"never arrives by itself");
    world.run_for(ms(5));
    world.weather.loss = 0.0;
    let log = world.log.take().unwrap();
    let before = world.nodes[AGENT].endpoint.stats();
    for frame in log.iter().filter(|frame| frame.to == AGENT) {
        let now = world.now;
        let mut bytes = frame.bytes.clone();
        world.nodes[AGENT].endpoint.handle_frame(now, 0, peer(7), &mut bytes);
    }
    let after = world.nodes[AGENT].endpoint.stats();
    assert!(after.refused > before.refused);
    assert!(world.nodes[AGENT].arrived.is_empty());
}

#[test]
fn a_million_opens_without_a_cookie_leave_nothing() {
    let mut world = World::new(Weather::FINE, 34);
    let mut open = [0u8; 78];
    open[0] = 2;
    let mut buffer = [0; 1500];
    for number in 0..1_000_000u32 {
        open[2..4].copy_from_slice(&(number as u16 | 1).to_be_bytes());
        open[14..18].copy_from_slice(&number.to_be_bytes());
        let now = world.now;
        let endpoint = &mut world.nodes[AGENT].endpoint;
        endpoint.handle_frame(now, 0, peer(1 + number as usize % 200), &mut open);
        let _ = endpoint.poll_transmit(now, 0, &mut buffer);
        assert!(endpoint.poll_event().is_none());
    }
    let stats = world.nodes[AGENT].endpoint.stats();
    assert_eq!((stats.cookies_asked, stats.handshakes), (1_000_000, 0));
    assert_eq!(world.nodes[AGENT].endpoint.session_count(), 0);
}

#[test]
fn a_cookie_is_good_for_its_own_address_and_time_only() {
    let mut world = World::new(Weather::FINE, 35);
    world.log = Some(Vec::new());
    world.connect();
    world.run_for(ms(50));
    let log = world.log.take().unwrap();
    let open = log.iter().find(|frame| frame.bytes[1] == 0 && frame.bytes[30] > 0).unwrap();
    let count = world.nodes[AGENT].endpoint.stats().handshakes;
    let mut bytes = open.bytes.clone();
    let now = world.now;
    world.nodes[AGENT].endpoint.handle_frame(now, 0, peer(5), &mut bytes);
    assert_eq!(world.nodes[AGENT].endpoint.stats().handshakes, count);
    world.run_for(Duration::from_secs(60));
    let mut bytes = open.bytes.clone();
    let now = world.now;
    world.nodes[AGENT].endpoint.handle_frame(now, 0, peer(OPERATOR), &mut bytes);
    assert_eq!(world.nodes[AGENT].endpoint.stats().handshakes, count);
}

#[test]
fn noise_on_the_wire_is_counted_and_harmless() {
    let mut world = World::new(Weather::FINE, 36);
    let (id, of_agent) = world.established();
    for round in 0..20_000 {
        let len = world.rng.gen_range(0..300);
        let mut bytes: Vec<u8> = (0..len).map(|_| world.rng.r#gen()).collect();
        if let Some(version) = bytes.first_mut() {
            *version = 2;
        }
        if let Some(ptype) = bytes.get_mut(1) {
            *ptype %= 6;
        }
        // Keys of the session, as anybody on the wire knows them.
        if bytes.len() > 6 && round % 2 == 0 {
            bytes[2..4].copy_from_slice(&1u16.to_be_bytes());
            bytes[4..6].copy_from_slice(&1u16.to_be_bytes());
        }
        let to = round % 2;
        let from = 1 - to;
        let now = world.now;
        world.nodes[to].endpoint.handle_frame(now, 0, peer(from), &mut bytes);
    }
    let data = random(100_000, 36);
    let stream = world.send_stream(OPERATOR, id, &data);
    world.run_for(Duration::from_secs(1));
    assert!(world.nodes[AGENT].arrived[&(of_agent, stream)].ordered == data);
    assert!(world.nodes[AGENT].closed.is_empty() && world.nodes[OPERATOR].closed.is_empty());
}

#[test]
fn a_removed_key_opens_no_session() {
    let mut world = World::new(Weather::FINE, 37);
    world.established();
    let nobody = std::sync::Arc::new([]);
    world.nodes[AGENT].endpoint.accept(Some((AGENT_KEY.clone(), nobody)));
    let id = world.connect();
    world.run_for(Duration::from_secs(2));
    assert!(!world.nodes[OPERATOR].established.contains_key(&id));
}

#[test]
fn memory_of_a_session_is_bounded_by_its_limits() {
    // A peer that keeps its limits but sends everything out of order.
    let weather = Weather { reordering: 0.9, delay: ms(1), ..Weather::FINE };
    let config = Config { max_data: 1 << 20, max_stream_data: 1 << 20, ..Config::default() };
    let mut world = World::with(config.clone(), config, weather, 38);
    let (id, of_agent) = world.established();
    let data = random(8 << 20, 38);
    let stream = world.send_stream(OPERATOR, id, &data);
    let done = world.run_until(Duration::from_secs(60), |world| {
        world.nodes[AGENT].arrived.get(&(of_agent, stream)).is_some_and(|arrived| arrived.ended)
    });
    assert!(done);
    assert!(world.nodes[AGENT].arrived[&(of_agent, stream)].ordered == data);
}

#[test]
fn damaged_and_forged_retries_do_not_end_an_attempt() {
    let mut world = World::new(Weather { loss: 1.0, ..Weather::FINE }, 39);
    world.log = Some(Vec::new());
    let id = world.connect();
    world.run_for(ms(1));
    let open = world.log.take().unwrap().remove(0);
    world.weather.loss = 0.0;
    for number in 0..20 {
        let mut retry = [&[2, 1, 0, 0][..], &open.bytes[2..4], &[0; 8]].concat();
        retry.extend_from_slice(&open.bytes[14..30]);
        retry.extend_from_slice(&[20; 21]);
        retry[35] = number;
        world.send(AGENT, OPERATOR, &retry);
    }
    let done = world.run_until(Duration::from_secs(2), |world| {
        world.nodes[OPERATOR].established.contains_key(&id)
    });
    assert!(done, "{:?}", world.nodes[OPERATOR].closed);
}
