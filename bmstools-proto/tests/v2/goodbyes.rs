//! What a goodbye leaves.

use std::time::Duration;

use bmstools_proto::v2::{CloseReason, SessionId};

use crate::world::*;

/// Has `from` do something, and hands what it sends for that to `to` at one moment.
fn in_one_batch(world: &mut World, from: usize, to: usize, mut act: impl FnMut(&mut World)) {
    world.weather.loss = 1.0;
    world.log = Some(Vec::new());
    act(world);
    world.weather.loss = 0.0;
    let now = world.now;
    for frame in world.log.take().unwrap().iter().filter(|frame| frame.to == to) {
        assert_eq!(frame.from, from);
        world.nodes[to].endpoint.handle_frame(now, 0, peer(from), &mut frame.bytes.clone());
    }
}

#[test]
fn what_arrives_together_with_a_goodbye_can_be_read() {
    let mut world = World::new(Weather::FINE, 51);
    let (id, of_agent) = world.established();
    world.run_for(ms(50));
    let data = random(5_000, 51);
    let mut stream = None;
    in_one_batch(&mut world, OPERATOR, AGENT, |world| {
        stream = Some(world.send_stream(OPERATOR, id, &data));
        world.run_for(ms(1));
        let now = world.now;
        world.nodes[OPERATOR].endpoint.close(now, id, 9, "enough");
        world.run_for(ms(1));
    });
    world.run_for(ms(100));
    let arrived = &world.nodes[AGENT].arrived[&(of_agent, stream.unwrap())];
    assert!(arrived.ordered == data && arrived.ended);
    let reason = CloseReason::Peer { code: 9, reason: "enough".into() };
    assert_eq!(world.nodes[AGENT].closed, [(of_agent, reason)]);
}

#[test]
fn a_goodbye_acknowledges_what_arrived_before_it() {
    let mut world = World::new(Weather::FINE, 52);
    let (id, of_agent) = world.established();
    world.run_for(ms(50));
    let data = random(5_000, 52);
    let mut stream = None;
    in_one_batch(&mut world, AGENT, OPERATOR, |world| {
        stream = Some(world.send_stream(AGENT, of_agent, &data));
        world.run_for(ms(1));
    });
    // It reads, and closes before any acknowledgement has left.
    let now = world.now;
    world.nodes[OPERATOR].turn(now);
    assert!(world.nodes[OPERATOR].arrived[&(id, stream.unwrap())].ordered == data);
    world.nodes[OPERATOR].endpoint.close(now, id, 0, "");
    world.run_for(ms(100));
    assert_eq!(world.nodes[AGENT].finished, [(of_agent, stream.unwrap())]);
    assert_eq!(world.nodes[AGENT].closed.len(), 1);
}

#[test]
fn a_session_that_the_agent_refuses_at_once_is_told_so() {
    let mut world = World::new(Weather::FINE, 53);
    let id = world.connect();
    world.run_until(ms(10), |world| world.nodes[AGENT].endpoint.stats().cookies_asked > 0);
    // All of the open arrives before the agent has its say: it has keys then that the
    // operator lacks.
    in_one_batch(&mut world, OPERATOR, AGENT, |world| world.run_for(ms(1)));
    let now = world.now;
    world.nodes[AGENT].turn(now);
    assert_eq!(world.nodes[AGENT].begun, 1);
    let begun = SessionId(0);
    world.nodes[AGENT].endpoint.close(now, begun, 3, "too many sessions");
    world.run_for(Duration::from_secs(5));
    let reason = CloseReason::Peer { code: 3, reason: "too many sessions".into() };
    assert_eq!(world.nodes[OPERATOR].closed.first(), Some(&(id, reason)));
}
