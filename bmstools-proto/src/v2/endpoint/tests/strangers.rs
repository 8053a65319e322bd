//! Whoever has an address, and no key that counts.

use std::time::Duration;

use bmstools_common::header::v2_ptype;

use super::super::super::packet;
use super::*;

/// An open from there with the agent's cookie and this plaintext.
fn open(pair: &mut Pair, from: Peer, key: u16, text: &[u8]) -> Vec<u8> {
    let nonce = [from.mac.0[5] ^ key as u8; NONCE_LEN];
    let header =
        V2Header { ptype: v2_ptype::OPEN, srckey: key, dstkey: 0, packet_number: 0 }.emit();
    let mut frame = [&header[..], &nonce, &[0], &[0; 47]].concat();
    pair.ends[AGENT].handle_frame(pair.now, 0, from, &mut frame);
    let retry = std::iter::from_fn(|| pair.frame_of(AGENT, 0))
        .find(|frame| frame[1] == v2_ptype::RETRY)
        .unwrap();
    let mut frame = [&header[..], &retry[V2_LEN..]].concat();
    let begin = frame.len();
    frame.resize(begin + text.len().max(16) + 16, 0);
    frame[begin..begin + text.len()].copy_from_slice(text);
    let keys = tls::initial_keys(&nonce, false);
    assert!(packet::seal(&*keys.local, 0, begin, text.len(), &mut frame) > 0);
    frame
}

/// One without a cookie.
fn bare_open(body: usize) -> Vec<u8> {
    let header = V2Header { ptype: v2_ptype::OPEN, srckey: 1, dstkey: 0, packet_number: 0 };
    [&header.emit()[..], &vec![0; body]].concat()
}

#[test]
fn failed_handshakes_do_not_keep_others_out() {
    let config = Config { max_sessions: 16, max_handshakes: 8, ..Config::default() };
    let mut pair = Pair::new(&config);
    for number in 0..64 {
        let stranger = peer(100 + number % 3);
        let mut frame = open(&mut pair, stranger, 1 + number as u16, &[99; 20]);
        pair.ends[AGENT].handle_frame(pair.now, 0, stranger, &mut frame);
    }
    let endpoint = &pair.ends[AGENT];
    assert!(endpoint.session_count() <= 8, "{}", endpoint.session_count());
    assert_eq!(endpoint.stats().handshakes_failed, 64);
    assert_eq!(endpoint.stats().opens_refused, 0);
    pair.established();
}

#[test]
fn an_open_that_is_shorter_than_its_answer_gets_none() {
    let mut pair = Pair::new(&Config::default());
    pair.give(AGENT, bare_open(63));
    assert_eq!(pair.frame_of(AGENT, 0), None);
    pair.give(AGENT, bare_open(64));
    assert!(pair.frame_of(AGENT, 0).is_some());
}

#[test]
fn a_flood_of_opens_does_not_hold_sessions_up() {
    let mut pair = Pair::new(&Config::default());
    pair.established();
    let (now, id) = (pair.now, pair.id(AGENT));
    let stream = pair.ends[AGENT].open_stream(id).unwrap();
    pair.ends[AGENT].write(now, id, stream, vec![1; 1 << 20].into()).unwrap();
    for _ in 0..1000 {
        pair.ends[AGENT].handle_frame(now, 0, peer(9), &mut bare_open(64));
    }
    let frames: Vec<_> = (0..36).map_while(|_| pair.frame_of(AGENT, 0)).collect();
    let retries = frames.iter().filter(|frame| frame[1] == v2_ptype::RETRY).count();
    assert_eq!(frames.len(), 36);
    assert!((3..=5).contains(&retries), "{retries} retries of 36 frames");
}

#[test]
fn opens_at_a_port_that_sends_nothing_do_not_close_the_others() {
    let mut pair = Pair::new(&Config::default());
    for port in [1, 0] {
        for _ in 0..1000 {
            pair.ends[AGENT].handle_frame(pair.now, port, peer(9), &mut bare_open(64));
        }
    }
    assert!(pair.frame_of(AGENT, 0).is_some());
}

/// The initial keys follow from what anybody on the wire can read.
#[test]
fn numbers_of_packets_that_anybody_can_make_shut_nothing_out() {
    for forged in [u64::MAX, 1 << 40, 12, 10, 8, 6] {
        let mut pair = Pair::new(&Config::default());
        pair.connect();
        // Up to where both have the handshake's keys, and the agent's flight is out.
        let mut flight = Vec::new();
        while flight.is_empty() {
            while let Some(frame) = pair.frame_of(OPERATOR, 0) {
                pair.give(AGENT, frame);
            }
            flight = std::iter::from_fn(|| pair.frame_of(AGENT, 0)).collect();
            if flight.first().is_some_and(|frame| frame[1] == v2_ptype::RETRY) {
                pair.give(OPERATOR, flight.remove(0));
            }
            pair.now += Duration::from_millis(1);
        }
        let first = flight.remove(0);
        assert_eq!(first[1], v2_ptype::INITIAL);
        pair.give(OPERATOR, first);
        for (from, to) in [(AGENT, OPERATOR), (OPERATOR, AGENT)] {
            let forgery = pair.session(from).forge(0, forged, &[1]);
            pair.give(to, forgery);
        }
        for frame in flight {
            pair.give(OPERATOR, frame);
        }
        for _ in 0..100 {
            pair.exchange();
            pair.pass(Duration::from_millis(5));
        }
        for end in [AGENT, OPERATOR] {
            assert!(pair.session(end).is_established(), "{forged}: {:?}", pair.events);
        }
    }
}
