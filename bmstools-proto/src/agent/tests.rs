use bmstools_common::ethernet::Vlan;

use super::*;

#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn endpoint() -> (Endpoint, Instant) {
    (Endpoint::new(Config::default(), [1; 32]), Instant::now())
}

fn open(endpoint: &mut Endpoint, now: Instant, port: usize, n: u32) {
    let [a, b, c, d] = n.to_be_bytes();
    open_with(endpoint, now, port, Mac([2, 0, a, b, c, d]), 1);
}

fn open_with(endpoint: &mut Endpoint, now: Instant, port: usize, mac: Mac, srckey: u16) {
    let peer = Peer { mac, vlan: Vlan::NONE };
    let open = V1Header { ptype: ptype::OPEN, srckey, dstkey: 0, sequence: 0, count: 1, offset: 0 };
    endpoint.handle_frame(now, port, peer, &mut open.emit());
}

#[test]
fn a_flood_from_one_address_displaces_its_own() {
    let (mut endpoint, now) = endpoint();
    for n in 0..3 {
        open(&mut endpoint, now, 0, n);
    }
    let first: Vec<_> = endpoint.unauthenticated.iter().copied().collect();
    for srckey in 1..=5_000 {
        open_with(&mut endpoint, now, 0, Mac([2, 1, 0, 0, 0, 0]), srckey);
        while endpoint.poll_event().is_some() {}
    }
    assert_eq!(endpoint.session_count(), endpoint.config.max_unauthenticated);
    assert!(first.iter().all(|id| endpoint.unauthenticated.contains(id)));
}

#[test]
fn opens_through_a_port_that_cannot_send_leave_nothing_behind() {
    let (mut endpoint, now) = endpoint();
    for n in 0..5_000 {
        open(&mut endpoint, now, 0, n);
        while endpoint.poll_event().is_some() {}
    }
    assert_eq!(endpoint.session_count(), endpoint.config.max_unauthenticated);
    assert_eq!(endpoint.ready[0].len(), endpoint.session_count());
    endpoint.handle_timeout(now + endpoint.config.auth_timeout);
    assert_eq!(endpoint.session_count(), 0);
    assert!(endpoint.ready[0].is_empty() && endpoint.timers.is_empty());
    assert!(endpoint.keys.is_empty() && endpoint.by_peer.is_empty());
    assert!(endpoint.unauthenticated.is_empty());
}

#[test]
fn a_session_that_moved_to_another_port_is_drained_where_it_was_opened() {
    let (mut endpoint, now) = endpoint();
    open(&mut endpoint, now, 3, 1);
    let Some(Event::Opened { port: 3, session, key, .. }) = endpoint.poll_event() else {
        panic!("not opened");
    };
    endpoint.accept(now, session);
    let mut buffer = [0; 64];
    let mut frames = Vec::new();
    while let Some((peer, len)) = endpoint.poll_transmit(now, 3, &mut buffer) {
        frames.push((peer, buffer[..len].to_vec()));
    }
    let (peer, opened) = frames.pop().expect("the answer to the open");
    let answer = V1Header::parse(&opened[..], 0).expect("a header");
    let end =
        V1Header { ptype: ptype::END, srckey: 1, dstkey: answer.srckey, sequence: 1, ..answer };
    endpoint.handle_frame(now, 1, peer, &mut end.emit());
    endpoint.finish(now, session, None);
    assert!(endpoint.poll_transmit(now, 3, &mut buffer).is_none(), "it has moved");
    assert!(endpoint.poll_transmit(now, 1, &mut buffer).is_some());
    endpoint.handle_timeout(now + endpoint.config.linger);
    let events: Vec<_> = std::iter::from_fn(|| endpoint.poll_event()).collect();
    assert!(
        matches!(events[..], [Event::Ended { .. }, Event::Drained { port: 3, key: drained, .. }] if drained == key),
        "{events:?}"
    );
}
