//! What an agent refuses, frame by frame, and what it keeps.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod sim;

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bmstools_common::ethernet::{Mac, Peer, Vlan};
use bmstools_proto::agent::{Challenge, Endpoint, Event, Request};
use bmstools_proto::response::{ExecData, Response};
use bmstools_proto::wire::{Frame, Kind};
use bmstools_proto::{Config, Dialect};
use md5::{Digest, Md5};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey};
use sim::{KEY, start};

const OPERATOR_KEY: u16 = 77;
const AUTHENTICATE: u8 = 0;
const EXECUTE: u8 = 1;
const FILE: u8 = 2;

/// An operator that writes its frames by hand.
struct Hand {
    peer: Peer,
    /// The agent's key.
    key: u16,
    sequence: u32,
}

/// What came of a frame: whether it was acknowledged, and the other frames.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    acknowledged: bool,
    replies: Vec<(Kind, Vec<u8>)>,
}

const IGNORED: Outcome = Outcome { acknowledged: false, replies: Vec::new() };
const TAKEN: Outcome = Outcome { acknowledged: true, replies: Vec::new() };

fn control(ctype: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![ctype];
    message.extend_from_slice(&(data.len() as u32).to_be_bytes());
    message.extend_from_slice(data);
    message
}

fn agent(config: Config) -> (Endpoint, Instant) {
    (Endpoint::new(config, [5; 32]), start())
}

impl Hand {
    /// Opens a session, as operator number `n`.
    fn open(endpoint: &mut Endpoint, now: Instant, n: u8) -> Self {
        let peer = Peer { mac: Mac([2, 0, 0, 0, 0, n]), vlan: Vlan::NONE };
        let mut hand = Self { peer, key: 0, sequence: 0 };
        hand.frame(endpoint, now, Kind::Open, (0, 1, 0), b"");
        let Some(Event::Opened { session, .. }) = endpoint.poll_event() else {
            panic!("not opened")
        };
        endpoint.accept(now, session);
        let opened = hand.poll(endpoint, now);
        assert_eq!(opened.replies, [(Kind::Open, Vec::new())]);
        hand
    }

    /// Sends a frame with (sequence, count, offset); what comes back is acknowledged.
    fn frame(
        &mut self,
        endpoint: &mut Endpoint,
        now: Instant,
        kind: Kind,
        (sequence, count, offset): (u32, u16, u16),
        data: &[u8],
    ) -> Outcome {
        let (srckey, dstkey) = (OPERATOR_KEY, self.key);
        let frame = Frame { kind, srckey, dstkey, sequence, count, offset, vlan: 0, data };
        self.put(endpoint, now, &frame);
        self.poll(endpoint, now)
    }

    fn put(&self, endpoint: &mut Endpoint, now: Instant, frame: &Frame<'_>) {
        let mut bytes = vec![0; frame.len(Dialect::V1)];
        frame.emit(Dialect::V1, &mut bytes);
        endpoint.handle_frame(now, 0, self.peer, &mut bytes);
    }

    fn poll(&mut self, endpoint: &mut Endpoint, now: Instant) -> Outcome {
        let mut outcome = Outcome { acknowledged: false, replies: Vec::new() };
        let mut buffer = [0; 1500];
        while let Some((_, len)) = endpoint.poll_transmit(now, 0, &mut buffer) {
            let frame = Frame::parse(&buffer[..len], Dialect::V1).unwrap();
            if frame.kind == Kind::Ack {
                outcome.acknowledged = true;
                continue;
            }
            self.key = frame.srckey;
            outcome.replies.push((frame.kind, frame.data.to_vec()));
            self.put(endpoint, now, &frame.ack());
        }
        outcome
    }

    /// Sends a message of one fragment.
    fn message(
        &mut self,
        endpoint: &mut Endpoint,
        now: Instant,
        kind: Kind,
        data: &[u8],
    ) -> Outcome {
        self.sequence += 1;
        let at = (self.sequence, 1, 0);
        self.frame(endpoint, now, kind, at, data)
    }

    /// Asks for a challenge; the right answer to it.
    fn challenge(&mut self, endpoint: &mut Endpoint, now: Instant) -> Vec<u8> {
        let asked = self.message(endpoint, now, Kind::Control, &control(AUTHENTICATE, b""));
        assert_eq!(asked, TAKEN);
        let Some(Event::ChallengeWanted { session, .. }) = endpoint.poll_event() else {
            panic!("no challenge wanted")
        };
        let mut rng = StdRng::seed_from_u64(6);
        endpoint.challenge(now, session, Challenge::new(&KEY.public_key(), &mut rng));
        let [(Kind::Control, message)] = &self.poll(endpoint, now).replies[..] else {
            panic!("no challenge")
        };
        let key = RsaPrivateKey::from_pkcs1_pem(&KEY.to_pem()).unwrap();
        let text = key.decrypt(Pkcs1v15Encrypt, &STANDARD.decode(&message[5..]).unwrap()).unwrap();
        let digest = Md5::digest(text);
        digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
    }

    fn authenticate(&mut self, endpoint: &mut Endpoint, now: Instant) {
        let answer = self.challenge(endpoint, now);
        let verdict = self.message(endpoint, now, Kind::Control, &control(AUTHENTICATE, &answer));
        assert!(is(&verdict, "Success"), "{verdict:?}");
        assert!(matches!(endpoint.poll_event(), Some(Event::Authenticated { .. })));
    }
}

/// Whether one response with `code` came.
fn is(outcome: &Outcome, code: &str) -> bool {
    let [(Kind::Data, json)] = &outcome.replies[..] else { return false };
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    outcome.acknowledged && json["code"] == code
}

#[test]
fn nothing_but_authentication_is_served_before_it() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    for (kind, data) in [
        (Kind::Control, control(EXECUTE, b"reboot")),
        (Kind::Control, control(FILE, b"/etc/passwd")),
        (Kind::Control, control(9, b"")),
        (Kind::Data, vec![7; 100]),
    ] {
        let outcome = hand.message(&mut endpoint, now, kind, &data);
        assert!(is(&outcome, "AuthError"), "{kind:?}: {outcome:?}");
        assert!(endpoint.poll_event().is_none(), "{kind:?}");
    }
}

#[test]
fn a_challenge_is_used_up_by_its_first_answer() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    let right = hand.challenge(&mut endpoint, now);
    for answer in [&[b'0'; 32][..], &right] {
        let message = control(AUTHENTICATE, answer);
        let outcome = hand.message(&mut endpoint, now, Kind::Control, &message);
        assert!(is(&outcome, "AuthError"), "{outcome:?}");
    }
    assert!(endpoint.poll_event().is_none());
    hand.authenticate(&mut endpoint, now);
}

#[test]
fn authenticating_again_changes_nothing() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    hand.authenticate(&mut endpoint, now);
    let answer = hand.challenge(&mut endpoint, now);
    let message = control(AUTHENTICATE, &answer);
    let outcome = hand.message(&mut endpoint, now, Kind::Control, &message);
    assert!(is(&outcome, "Success"), "{outcome:?}");
    assert!(endpoint.poll_event().is_none(), "its owner would begin anew");
}

#[test]
fn a_session_may_ask_for_so_many_challenges() {
    let (mut endpoint, now) = agent(Config { max_challenges: 3, ..Config::default() });
    let mut hand = Hand::open(&mut endpoint, now, 1);
    for _ in 0..3 {
        hand.challenge(&mut endpoint, now);
    }
    let asked = hand.message(&mut endpoint, now, Kind::Control, &control(AUTHENTICATE, b""));
    assert!(is(&asked, "AuthError"), "{asked:?}");
    assert!(endpoint.poll_event().is_none());
}

#[test]
fn strangers_get_room_for_a_short_message_alone() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    let long = control(EXECUTE, &[b'x'; 1100]);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Control, (1, 1, 0), &long), IGNORED);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (1, 9, 0), b"x"), IGNORED);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (1, 2, 0), &[7; 1000]), TAKEN);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (1, 2, 1), &[7; 100]), IGNORED);
}

#[test]
fn frames_with_another_session_s_keys_are_refused() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    let data = control(EXECUTE, b"true");
    let frame = Frame {
        kind: Kind::Control,
        srckey: OPERATOR_KEY,
        dstkey: hand.key,
        sequence: 1,
        count: 1,
        offset: 0,
        vlan: 0,
        data: &data,
    };
    let peer = hand.peer;
    let elsewhere = Peer { vlan: Vlan::tagged(5).unwrap(), ..peer };
    let other = Peer { mac: Mac([2, 0, 0, 0, 0, 9]), ..peer };
    let ack = Frame { kind: Kind::Ack, sequence: 0, data: b"", ..frame };
    hand.put(&mut endpoint, now, &Frame { srckey: 78, ..ack });
    assert_eq!(endpoint.stats().refused, 1);
    // An acknowledgement may come from a peer that does not know its key yet.
    hand.put(&mut endpoint, now, &Frame { srckey: 0, ..ack });
    assert_eq!(endpoint.stats().refused, 1);
    for (peer, srckey) in [(elsewhere, OPERATOR_KEY), (other, OPERATOR_KEY), (peer, 78), (peer, 0)]
    {
        hand.peer = peer;
        hand.put(&mut endpoint, now, &Frame { srckey, ..frame });
        assert_eq!(hand.poll(&mut endpoint, now), IGNORED);
    }
    assert_eq!(endpoint.stats().refused, 5);
}

#[test]
fn a_message_that_finds_no_room_is_taken_when_there_is_some() {
    let (mut endpoint, now) = agent(Config { max_reassemblies: 1, ..Config::default() });
    let mut first = Hand::open(&mut endpoint, now, 1);
    let mut second = Hand::open(&mut endpoint, now, 2);
    first.authenticate(&mut endpoint, now);
    second.authenticate(&mut endpoint, now);
    assert_eq!(first.frame(&mut endpoint, now, Kind::Data, (3, 2, 0), b"a"), TAKEN);
    assert_eq!(second.frame(&mut endpoint, now, Kind::Data, (3, 2, 0), b"c"), IGNORED);
    assert_eq!(first.frame(&mut endpoint, now, Kind::Data, (3, 2, 1), b"b"), TAKEN);
    assert_eq!(second.frame(&mut endpoint, now, Kind::Data, (3, 2, 0), b"c"), TAKEN);
    assert_eq!(second.frame(&mut endpoint, now, Kind::Data, (3, 2, 1), b"d"), TAKEN);
    let data: Vec<_> = std::iter::from_fn(|| endpoint.poll_event())
        .map(|event| match event {
            Event::Request { request: Request::Data { data }, .. } => data,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(data, [b"ab", b"cd"]);
}

#[test]
fn one_message_waits_for_the_request_under_way_and_the_next_is_not_taken() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    hand.authenticate(&mut endpoint, now);
    let command = |n: u8| control(EXECUTE, &[n]);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Control, (3, 1, 0), &command(b'a')), TAKEN);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Control, (4, 1, 0), &command(b'b')), TAKEN);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Control, (5, 1, 0), &command(b'c')), IGNORED);
    for expected in [b'a', b'b', b'c'] {
        let Some(Event::Request { session, request: Request::Exec { command: ran } }) =
            endpoint.poll_event()
        else {
            panic!("no request")
        };
        assert_eq!(ran, [expected]);
        assert!(endpoint.poll_event().is_none(), "two requests under way");
        endpoint.respond(now, session, Response::success());
        assert_eq!(hand.poll(&mut endpoint, now).replies.len(), 1);
        hand.frame(&mut endpoint, now, Kind::Control, (5, 1, 0), &command(b'c'));
    }
    assert!(endpoint.poll_event().is_none(), "a command ran twice");
}

#[test]
fn acknowledgements_that_cannot_be_sent_do_not_pile_up() {
    let config = Config::default();
    let (mut endpoint, now) = agent(config.clone());
    let hand = Hand::open(&mut endpoint, now, 1);
    let again = Frame {
        kind: Kind::Open,
        srckey: OPERATOR_KEY,
        dstkey: hand.key,
        sequence: 0,
        count: 1,
        offset: 0,
        vlan: 0,
        data: b"",
    };
    for _ in 0..10_000 {
        hand.put(&mut endpoint, now, &again);
    }
    let mut buffer = [0; 1500];
    let acks = std::iter::from_fn(|| endpoint.poll_transmit(now, 0, &mut buffer)).count();
    assert_eq!(acks, config.max_acks);
}

#[test]
fn an_open_is_repeated_before_anything_followed_and_another_one_after() {
    let (mut endpoint, now) = agent(Config::default());
    let mut hand = Hand::open(&mut endpoint, now, 1);
    let key = std::mem::take(&mut hand.key);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Open, (0, 1, 0), b""), TAKEN);
    assert_eq!(endpoint.session_count(), 1);
    hand.key = key;
    hand.message(&mut endpoint, now, Kind::Data, b"x");
    hand.key = 0;
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Open, (0, 1, 0), b""), TAKEN);
    assert_eq!(endpoint.session_count(), 2);
    assert!(matches!(endpoint.poll_event(), Some(Event::Opened { .. })));
}

#[test]
fn a_message_past_the_limit_is_refused_whatever_its_fragments() {
    let (mut endpoint, now) = agent(Config { max_message: 1000, ..Config::default() });
    let mut hand = Hand::open(&mut endpoint, now, 1);
    hand.authenticate(&mut endpoint, now);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (3, 1, 0), &[7; 1001]), IGNORED);
    let long = [&[EXECUTE][..], &1001u32.to_be_bytes()].concat();
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Control, (3, 2, 0), &long), IGNORED);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (3, 2, 0), &[7; 600]), TAKEN);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (3, 2, 1), &[7; 600]), IGNORED);
    assert_eq!(hand.frame(&mut endpoint, now, Kind::Data, (3, 2, 1), &[7; 400]), TAKEN);
}

#[test]
fn sessions_take_turns_frame_by_frame() {
    let (mut endpoint, now) = agent(Config::default());
    let mut peers = Vec::new();
    for n in 1..=3 {
        let mut hand = Hand::open(&mut endpoint, now, n);
        hand.authenticate(&mut endpoint, now);
        let command = control(EXECUTE, b"true");
        assert_eq!(hand.message(&mut endpoint, now, Kind::Control, &command), TAKEN);
        let Some(Event::Request { session, .. }) = endpoint.poll_event() else {
            panic!("no request")
        };
        peers.push((hand.peer, session));
    }
    for (_, session) in &peers {
        let data = ExecData { code: 0, stdout: "x".repeat(10_000), stderr: String::new() };
        endpoint.respond(now, *session, Response { data: Some(data), ..Response::success() });
    }
    let mut buffer = [0; 1500];
    for round in 0..6 {
        for (peer, _) in &peers {
            let (to, _) = endpoint.poll_transmit(now, 0, &mut buffer).unwrap();
            assert_eq!(to, *peer, "round {round}");
        }
    }
}
