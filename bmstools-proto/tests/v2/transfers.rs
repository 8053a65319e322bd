//! Data over sessions.

use std::time::Duration;

use bmstools_proto::v2::Config;
use bytes::Bytes;

use crate::world::*;

fn bad(loss: f64, delay: Duration) -> Weather {
    Weather { loss, duplication: 0.05, reordering: 0.1, corruption: 0.01, delay, ..Weather::FINE }
}

fn echoes(weather: Weather, seed: u64, len: usize, limit: Duration) {
    let mut world = World::new(weather, seed);
    let (id, _) = world.established();
    world.nodes[AGENT].echoes = true;
    let data = random(len, seed);
    let stream = world.send_stream(OPERATOR, id, &data);
    let done = world.run_until(limit, |world| {
        world.nodes[OPERATOR].arrived.get(&(id, stream)).is_some_and(|arrived| arrived.ended)
    });
    let arrived = world.nodes[OPERATOR].arrived.get(&(id, stream));
    let count = arrived.map_or(0, |arrived| arrived.ordered.len());
    assert!(
        done,
        "seed {seed}: {count} of {len} came back in {limit:?}; closed: {:?} {:?}; {:?}",
        world.nodes[OPERATOR].closed,
        world.nodes[AGENT].closed,
        world.nodes[OPERATOR].endpoint.session_stats(id)
    );
    assert!(arrived.unwrap().ordered == data);
}

#[test]
fn what_is_sent_comes_back() {
    for len in [0, 1, 100, 10_000, 3 << 20] {
        echoes(Weather::FINE, 11, len, Duration::from_secs(5));
    }
}

#[test]
fn a_bad_link_changes_nothing() {
    for (at, loss) in [0.0, 0.01, 0.05, 0.1, 0.3].into_iter().enumerate() {
        for delay in [Duration::from_micros(50), ms(1), ms(50)] {
            echoes(bad(loss, delay), 20 + at as u64, 300_000, Duration::from_secs(120));
        }
    }
}

#[test]
fn many_seeds_of_a_terrible_link() {
    for seed in 0..30 {
        echoes(bad(0.3, ms(2)), seed, 60_000, Duration::from_secs(60));
    }
}

#[test]
fn placed_data_arrives_at_its_places() {
    let mut world = World::new(bad(0.05, ms(1)), 12);
    let (id, of_agent) = world.established();
    let (now, data) = (world.now, random(5 << 20, 12));
    let endpoint = &mut world.nodes[OPERATOR].endpoint;
    let stream = endpoint.open_stream(id).unwrap();
    // From the end to the beginning.
    let block = 300_000;
    for begin in (0..data.len()).step_by(block).collect::<Vec<_>>().into_iter().rev() {
        let piece = Bytes::copy_from_slice(&data[begin..data.len().min(begin + block)]);
        endpoint.write_at(now, id, stream, begin as u64, piece).unwrap();
    }
    endpoint.finish(now, id, stream).unwrap();
    let done = world.run_until(Duration::from_secs(60), |world| {
        world.nodes[AGENT].arrived.get(&(of_agent, stream)).is_some_and(|arrived| arrived.ended)
    });
    assert!(done);
    assert!(world.nodes[AGENT].arrived[&(of_agent, stream)].file() == data);
}

#[test]
fn keys_are_updated_in_the_middle() {
    let config = Config { key_update_after: 500, ..Config::default() };
    let mut world = World::with(config.clone(), config, bad(0.02, ms(1)), 13);
    let (id, _) = world.established();
    world.nodes[AGENT].echoes = true;
    let data = random(2 << 20, 13);
    let stream = world.send_stream(OPERATOR, id, &data);
    let done = world.run_until(Duration::from_secs(60), |world| {
        world.nodes[OPERATOR].arrived.get(&(id, stream)).is_some_and(|arrived| arrived.ended)
    });
    assert!(done);
    assert!(world.nodes[OPERATOR].arrived[&(id, stream)].ordered == data);
    assert!(world.nodes[OPERATOR].endpoint.session_stats(id).unwrap().key_updates >= 2);
}

#[test]
fn the_frame_size_is_what_both_ends_and_the_path_carry() {
    for (agent, operator, path, expected) in [
        (3498, 3498, 9000, 3498),
        (3498, 1500, 9000, 1500),
        (1500, 3498, 9000, 1500),
        (3498, 3498, 2000, 1500),
        (1500, 1500, 1499, 1400),
        (600, 1500, 9000, 600),
        (256, 1500, 9000, 256),
        (1500, 1500, 256, 256),
    ] {
        let config = |mtu| Config { mtu, ..Config::default() };
        let weather = Weather { mtu: path, ..Weather::FINE };
        let mut world = World::with(config(agent), config(operator), weather, 14);
        let (id, of_agent) = world.established();
        world.run_for(Duration::from_secs(1));
        for (node, session) in [(OPERATOR, id), (AGENT, of_agent)] {
            let size = world.nodes[node].endpoint.session_stats(session).unwrap().frame_size;
            assert_eq!(size, expected, "{agent} {operator} {path}");
        }
    }
}

#[test]
fn a_path_that_stops_carrying_long_frames_is_survived() {
    let mut world = World::new(Weather::FINE, 15);
    let (id, _) = world.established();
    world.run_for(ms(100));
    world.weather.mtu = 700;
    world.nodes[AGENT].echoes = true;
    let data = random(100_000, 15);
    let stream = world.send_stream(OPERATOR, id, &data);
    let done = world.run_until(Duration::from_secs(60), |world| {
        world.nodes[OPERATOR].arrived.get(&(id, stream)).is_some_and(|arrived| arrived.ended)
    });
    assert!(done);
}

#[test]
fn a_reader_that_does_not_read_holds_the_writer_back() {
    let mut world = World::new(Weather::FINE, 16);
    let (id, _) = world.established();
    world.nodes[AGENT].reads = false;
    world.send_stream(OPERATOR, id, &random(40 << 20, 16));
    world.run_for(Duration::from_secs(5));
    let limit = Config::default().max_stream_data;
    assert!(world.sent_bytes < 2 * limit, "{} bytes", world.sent_bytes);
    assert!(world.nodes[OPERATOR].closed.is_empty());
}

#[test]
fn a_small_request_is_not_behind_a_large_transfer() {
    let weather = Weather { delay: ms(1), ..Weather::FINE };
    let mut world = World::new(weather, 17);
    let (id, of_agent) = world.established();
    world.run_for(ms(100));
    let bulk = world.send_stream(OPERATOR, id, &random(64 << 20, 17));
    world.run_for(ms(50));
    let urgent = world.nodes[OPERATOR].endpoint.open_stream(id).unwrap();
    world.nodes[OPERATOR].endpoint.set_priority(id, urgent, 240);
    let begin = world.now;
    let endpoint = &mut world.nodes[OPERATOR].endpoint;
    endpoint.write(begin, id, urgent, Bytes::from_static(b"now")).unwrap();
    endpoint.finish(begin, id, urgent).unwrap();
    let done = world.run_until(Duration::from_secs(5), |world| {
        world.nodes[AGENT].arrived.get(&(of_agent, urgent)).is_some_and(|arrived| arrived.ended)
    });
    assert!(done);
    assert!(world.now - begin < ms(10), "{:?}", world.now - begin);
    assert!(!world.nodes[AGENT].arrived[&(of_agent, bulk)].ended);
}
