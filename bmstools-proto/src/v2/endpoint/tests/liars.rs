//! A peer whose key is trusted, and whose word is not.

use std::time::Duration;

use bmstools_common::ethernet::Tag;

use super::*;

#[test]
fn a_session_follows_its_peer_to_another_port_with_all_that_waits() {
    let mut pair = Pair::new(&Config::default());
    pair.established();
    let (now, id) = (pair.now, pair.id(AGENT));
    let stream = pair.ends[AGENT].open_stream(id).unwrap();
    pair.ends[AGENT].write(now, id, stream, vec![1; 1000].into()).unwrap();
    let number = pair.session(OPERATOR).spend_numbers(0);
    let mut frame = pair.session(OPERATOR).forge(2, number, &[1]);
    let from = pair.peer(OPERATOR);
    pair.ends[AGENT].handle_frame(now, 1, from, &mut frame);
    // The old port is not asked any more: it may be down.
    assert!(pair.frame_of(AGENT, 1).is_some_and(|frame| frame.len() > 1000));
    assert_eq!(pair.frame_of(AGENT, 0), None);
}

#[test]
fn what_cannot_leave_keeps_nobody_busy() {
    let mut pair = Pair::new(&Config::default());
    pair.established();
    let (now, id) = (pair.now, pair.id(AGENT));
    let stream = pair.ends[AGENT].open_stream(id).unwrap();
    pair.ends[AGENT].write(now, id, stream, vec![1; 100_000].into()).unwrap();
    assert!(pair.frame_of(AGENT, 0).is_some());
    // Its owner comes late as well: what was due then is not due again at once.
    pair.now += Duration::from_secs(3);
    let count = pair.timeouts(Duration::from_secs(30));
    assert!(count < 12, "{count}");
}

#[test]
fn an_ack_with_many_ranges_leaves_room_for_what_must_be_said() {
    // The last leaves 222 bytes of plaintext, as long as an ACK of 26 ranges.
    let service = Vlan::NONE.wrapped_in(Tag::new(0x88a8, 5).unwrap()).unwrap();
    for vlan in [Vlan::NONE, Vlan::tagged(5).unwrap(), service] {
        let mut pair = Pair::new(&Config { mtu: 256, ..Config::default() });
        pair.vlan = vlan;
        pair.connect();
        // What the agent says once it is established is lost.
        for _ in 0..10 {
            while let Some(frame) = pair.frame_of(OPERATOR, 0) {
                pair.give(AGENT, frame);
            }
            while let Some(frame) = pair.frame_of(AGENT, 0) {
                if frame[1] < 4 {
                    pair.give(OPERATOR, frame);
                }
            }
            pair.now += Duration::from_millis(1);
        }
        assert!(pair.session(AGENT).is_established());
        assert!(!pair.session(OPERATOR).is_established());
        pair.timeouts(Duration::from_millis(300));
        for _ in 0..40 {
            let number = pair.session(OPERATOR).spend_numbers(1);
            let frame = pair.session(OPERATOR).forge(2, number, &[1]);
            pair.give(AGENT, frame);
        }
        while let Some(frame) = pair.frame_of(AGENT, 0) {
            pair.give(OPERATOR, frame);
        }
        assert!(pair.session(OPERATOR).is_established());
    }
}

#[test]
fn control_characters_of_a_goodbye_reach_no_terminal() {
    let mut pair = Pair::new(&Config::default());
    pair.established();
    let reason = b"\x1b[2Jbye\r";
    let text = [&[14, 0, 0, 0, 9, 0, reason.len() as u8][..], reason].concat();
    pair.forge(&text);
    let closed = pair.events[AGENT].iter().find_map(|event| match event {
        Event::Closed { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    assert_eq!(closed.unwrap(), "the peer closed the session: \u{fffd}[2Jbye\u{fffd} (code 9)");
}

/// A frame of any type, with numbers that hurt. `next`: what the victim sends next.
fn lie(rng: &mut StdRng, next: u64) -> Vec<u8> {
    fn number(rng: &mut StdRng) -> u64 {
        const LIMITS: [u64; 8] = [0, 256, 65_535, 1 << 18, 8 << 20, 16 << 20, 1 << 31, 1 << 63];
        match rng.gen_range(0..4) {
            0 => LIMITS[rng.gen_range(0..LIMITS.len())] + rng.gen_range(0..2),
            1 => u64::MAX - rng.gen_range(0..3),
            2 => u64::from(u32::MAX) - rng.gen_range(0..3),
            _ => rng.gen_range(0..1 << 22),
        }
    }
    fn stream(rng: &mut StdRng) -> [u8; 4] {
        match rng.gen_range(0..60) {
            0 if rng.gen_bool(0.2) => u32::MAX - rng.gen_range(0..2),
            1 => rng.gen_range(0..100) * 2,
            2..8 => 1,
            _ => rng.gen_range(0..8) * 2,
        }
        .to_be_bytes()
    }
    let rarely = rng.gen_bool(0.02);
    let kind = match rng.gen_range(1..=12u8) {
        // Most of these end the session.
        7 | 11 if rng.gen_bool(0.9) => 9,
        kind => kind,
    };
    let mut text = vec![kind];
    match kind {
        2 => {
            let back = rng.gen_range(1..6);
            let largest = if rarely { number(rng) } else { next.saturating_sub(back) };
            text.extend(largest.to_be_bytes());
            text.extend((number(rng) as u32).to_be_bytes());
            text.extend((number(rng) as u32).to_be_bytes());
            let first = if rarely { number(rng) as u32 } else { rng.gen_range(0..3) };
            text.extend(u32::try_from(largest).map_or(first, |l| l.min(first)).to_be_bytes());
            text.push(0);
        }
        4..=6 => {
            let stream = stream(rng);
            if !rarely {
                text = vec![if stream[3].is_multiple_of(4) { 4 } else { 6 }];
            }
            text.extend(stream);
            let offset = if rarely { number(rng) } else { rng.gen_range(0..1 << 20) };
            let len = rng.gen_range(0..200u16);
            text.extend(offset.to_be_bytes());
            text.extend(len.to_be_bytes());
            text.extend(vec![7; len.into()]);
        }
        7 | 9 => {
            text.extend(stream(rng));
            text.extend(number(rng).to_be_bytes());
        }
        8 => text.extend(number(rng).to_be_bytes()),
        10 => text.extend((number(rng) as u32).to_be_bytes()),
        11 => {
            text.extend(stream(rng));
            text.extend([0; 4]);
            let total = if rarely { number(rng) } else { rng.gen_range(0..1 << 20) };
            text.extend(total.to_be_bytes());
        }
        12 => {
            text.extend(stream(rng));
            text.extend([0; 4]);
        }
        // CRYPTO ends the session at once.
        _ => text = vec![1],
    }
    text
}

/// The application does this or that.
fn use_streams(pair: &mut Pair, id: SessionId, rng: &mut StdRng) {
    let (now, end) = (pair.now, &mut pair.ends[AGENT]);
    for stream in (0..8).map(StreamId) {
        match rng.gen_range(0..40) {
            0 => drop(end.open_stream(id)),
            1..4 => drop(end.write(now, id, stream, vec![1; 5000].into())),
            4..6 => drop(end.write_at(now, id, stream, rng.r#gen(), vec![1; 50].into())),
            6 => drop(end.finish(now, id, stream)),
            7 => end.reset(now, id, stream, 3),
            8 => end.stop(now, id, stream, 3),
            9..20 => {
                while let Some(chunk) = end.read(id, stream) {
                    if let Chunk::Data { data, .. } = chunk {
                        end.consumed(now, id, stream, data.len() as u64);
                    }
                }
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_a_trusted_peer_says_it_breaks_nothing() {
    let (mut ended, mut packets) = (0, 0);
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut pair = Pair::new(&Config { max_streams: 64, ..Config::default() });
        pair.established();
        let id = pair.id(AGENT);
        pair.ends[AGENT].open_stream(id).unwrap();
        for _ in 0..300 {
            if pair.ends[AGENT].sessions.is_empty() || pair.session(AGENT).is_closed() {
                ended += 1;
                break;
            }
            packets += 1;
            let next = pair.session(AGENT).spent_numbers();
            let count = rng.gen_range(1..4);
            let text: Vec<u8> = (0..count).flat_map(|_| lie(&mut rng, next)).collect();
            pair.forge(&text);
            use_streams(&mut pair, id, &mut rng);
            for _ in 0..rng.gen_range(0..40) {
                drop(pair.frame_of(AGENT, 0));
            }
            pair.timeouts(Duration::from_micros(rng.gen_range(0..20_000)));
        }
        pair.timeouts(Duration::from_secs(200));
        assert_eq!(pair.ends[AGENT].session_count(), 0, "seed {seed}");
    }
    assert!(ended > 100 && packets > 5_000, "{ended} {packets}");
}
