//! The deployed dialect beside models of the peers that are in the field.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod sim;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::{Peer, Vlan};
use bmstools_proto::operator::{Client, Event, Request, SessionError};
use bmstools_proto::response::Code;
use bmstools_proto::wire::{Frame, Kind};
use bmstools_proto::{Config, Dialect};
use sim::*;

const VLAN_ID: u16 = 1708;

fn vlan() -> Vlan {
    Vlan::tagged(VLAN_ID).unwrap()
}

/// Fragments of 300 bytes, as deployed peers cut.
fn small_fragments() -> Config {
    Config { mtu: 320, ..Config::default() }
}

/// One frame as a line: direction, kind, sequence, count, offset, data length.
type Line = (char, Kind, u32, u16, u16, usize);

#[test]
fn a_session_is_the_same_frames_that_deployed_peers_exchange() {
    use Kind::{Ack, Control, Data, End, Open};
    let mut world = World::new(Weather::FINE, 1);
    world.vlan = vlan();
    let key = bmstools_proto::keys::PrivateKey::generate(
        2048,
        &mut <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(3),
    )
    .unwrap();
    world.host = Host::new(small_fragments(), vec![key.public_key()], 1);
    world.air.log = Some(Vec::new());
    let mut todo = vec![Request::Exec(b"true".to_vec())];
    todo.extend(push("/var/tmp/image-of-27-bytes-", &random_bytes(3000, 1), 3000));
    world.add_with(small_fragments(), Dialect::V1Deployed, &key, todo);
    world.run(Duration::from_secs(10));
    world.pass(ms(100));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));

    let log = world.air.log.take().unwrap();
    let mut lines: Vec<Line> = Vec::new();
    let mut keys = (0, 0);
    for (to, bytes) in &log {
        let frame = Frame::parse(bytes, Dialect::V1Deployed).unwrap();
        assert_eq!(frame.vlan, u32::from(VLAN_ID));
        assert_eq!(bytes.len(), 20 + frame.data.len());
        let (direction, ours, theirs) = match to {
            To::Agent(_) => ('>', &mut keys.0, frame.srckey),
            To::Operator(_) => ('<', &mut keys.1, frame.srckey),
        };
        // An acknowledgement of the open bears no key of its sender's yet.
        if !(frame.kind == Ack && frame.sequence == 0 && direction == '<') {
            *ours = theirs;
        } else {
            assert_eq!(frame.srckey, 0);
        }
        let Frame { kind, sequence, count, offset, data, .. } = frame;
        lines.push((direction, kind, sequence, count, offset, data.len()));
    }
    let mut expected: Vec<Line> = vec![
        ('>', Open, 0, 1, 0, 0),
        ('<', Ack, 0, 1, 0, 0),
        ('<', Open, 0, 1, 0, 0),
        ('>', Ack, 0, 1, 0, 0),
        ('>', Control, 1, 1, 0, 5),
        ('<', Ack, 1, 1, 0, 0),
        ('<', Control, 1, 2, 0, 300),
        ('<', Control, 1, 2, 1, 49),
        ('>', Ack, 1, 2, 0, 0),
        ('>', Ack, 1, 2, 1, 0),
        ('>', Control, 2, 1, 0, 37),
        ('<', Ack, 2, 1, 0, 0),
        ('<', Data, 2, 1, 0, r#"{"code": "Success"}"#.len()),
        ('>', Ack, 2, 1, 0, 0),
        ('>', Control, 3, 1, 0, 9),
        ('<', Ack, 3, 1, 0, 0),
        ('<', Data, 3, 1, 0, 72),
        ('>', Ack, 3, 1, 0, 0),
        ('>', Control, 4, 1, 0, 5 + 27),
        ('<', Ack, 4, 1, 0, 0),
        ('<', Data, 4, 1, 0, 19),
        ('>', Ack, 4, 1, 0, 0),
    ];
    expected.extend((0..10).map(|offset| ('>', Data, 5, 10, offset, 300)));
    expected.extend((0..10).map(|offset| ('<', Ack, 5, 10, offset, 0)));
    expected.extend([
        ('<', Data, 5, 1, 0, 19),
        ('>', Ack, 5, 1, 0, 0),
        ('>', End, 6, 1, 0, 0),
        ('<', Ack, 6, 1, 0, 0),
        ('<', End, 6, 1, 0, 0),
        ('>', Ack, 6, 1, 0, 0),
    ]);
    assert_eq!(lines, expected);
}

/// An operator that throws away every answer that comes within 5 ms of its
/// request, as deployed ones do: they have not begun to wait.
#[test]
fn two_hundred_sessions_of_an_operator_that_begins_to_wait_late_do_not_stall() {
    let mut world = World::new(Weather::FINE, 2);
    world.vlan = vlan();
    for session in 0..200 {
        world.workers.clear();
        let begun = world.now;
        world.add(Dialect::V1Deployed, &KEY, vec![Request::Exec(b"true".to_vec())]);
        let mut last_request = world.now;
        let end = world.now + Duration::from_secs(60);
        while world.workers[0].outcome.is_none() && world.now < end {
            let sent = world.air.sent;
            world.air.log = Some(Vec::new());
            world.pass(Duration::from_micros(100));
            let log = world.air.log.take().unwrap();
            assert!(world.air.sent >= sent);
            for (to, bytes) in log {
                let kind = Frame::parse(&bytes, Dialect::V1Deployed).unwrap().kind;
                match to {
                    To::Agent(_) if kind != Kind::Ack => last_request = world.now,
                    To::Operator(_) if kind != Kind::Ack => {
                        assert!(
                            world.now - last_request >= ms(5),
                            "session {session}: {kind:?} would have been thrown away"
                        );
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(world.workers[0].outcome, Some(Ok(())), "session {session}");
        assert!(world.now - begun < Duration::from_secs(1), "session {session} stalled");
        world.pass(ms(50));
    }
}

/// A probe is a repetition of a finished message, which spoils the next.
#[test]
fn nobody_is_asked_for_a_sign_of_life_during_a_long_command() {
    let mut world = World::new(Weather::FINE, 3);
    world.vlan = vlan();
    world.host.command_time = Duration::from_secs(250);
    world.add(Dialect::V1Deployed, &KEY, vec![Request::Exec(b"sleep 250".to_vec())]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.host.commands.len(), 1);
    let sent = world.air.sent;
    world.pass(Duration::from_secs(240));
    assert_eq!(world.air.sent, sent);
    world.run(Duration::from_secs(60));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
}

#[test]
fn an_agent_that_never_answers_is_noticed_although_it_cannot_be_asked() {
    let mut world = World::new(Weather { delay: ms(2), ..Weather::FINE }, 4);
    world.vlan = vlan();
    world.add(Dialect::V1Deployed, &KEY, vec![Request::File(b"/x".to_vec())]);
    while world.host.files.is_empty() {
        world.pass(ms(1));
    }
    world.air.weather.loss = 1.0;
    let asked = world.now;
    world.run(Duration::from_secs(1000));
    let outcome = &world.workers[0].outcome;
    assert!(matches!(outcome, Some(Err(SessionError::Lost { .. }))), "{outcome:?}");
    let config = Config::default();
    let waited = world.workers[0].finished_at.unwrap() - asked;
    assert!(waited <= config.deployed_response_timeout, "noticed after {waited:?}");
}

/// An agent that keeps one reassembly buffer a session, whatever the sequence: a
/// repeated frame of a finished message spoils the next.
struct OldAgent {
    key: u16,
    peer_key: u16,
    buffer: BTreeMap<u16, Vec<u8>>,
    answers: Vec<(Instant, Kind, Vec<u8>)>,
    sequence: u32,
    outgoing: Option<(Instant, Vec<u8>)>,
    file: Vec<u8>,
    finished: u32,
}

impl OldAgent {
    fn new() -> Self {
        Self {
            key: 1,
            peer_key: 0,
            buffer: BTreeMap::new(),
            answers: Vec::new(),
            sequence: 0,
            outgoing: None,
            file: Vec::new(),
            finished: 0,
        }
    }

    fn take(&mut self, now: Instant, bytes: &[u8], air: &mut Air) {
        let frame = Frame::parse(bytes, Dialect::V1Deployed).unwrap();
        if frame.kind == Kind::Ack {
            if frame.sequence + 1 == self.sequence {
                self.outgoing = None;
            }
            return;
        }
        let mut ack = [0; 20];
        frame.ack().emit(Dialect::V1Deployed, &mut ack);
        air.send(now, To::Operator(0), &ack);
        if frame.count == 1 && frame.sequence < self.finished {
            return;
        }
        self.peer_key = frame.srckey;
        self.buffer.insert(frame.offset, frame.data.to_vec());
        if self.buffer.len() < usize::from(frame.count) {
            return;
        }
        let message: Vec<u8> = std::mem::take(&mut self.buffer).into_values().flatten().collect();
        self.finished = frame.sequence + 1;
        let success = br#"{"code": "Success"}"#.to_vec();
        let (kind, answer) = match frame.kind {
            Kind::Control if message.len() == 5 => (Kind::Control, challenge()),
            Kind::Data => {
                self.file.extend_from_slice(&message);
                (Kind::Data, success)
            }
            Kind::Control => (Kind::Data, success),
            kind => (kind, Vec::new()),
        };
        self.answers.push((now + ms(3), kind, answer));
    }

    fn turn(&mut self, now: Instant, air: &mut Air) {
        if self.outgoing.is_none()
            && let Some((at, kind, data)) = self.answers.first().cloned()
            && at <= now
        {
            self.answers.remove(0);
            let frame = Frame {
                kind,
                srckey: self.key,
                dstkey: self.peer_key,
                sequence: self.sequence,
                count: 1,
                offset: 0,
                vlan: VLAN_ID.into(),
                data: &data,
            };
            let mut bytes = vec![0; 20 + data.len()];
            frame.emit(Dialect::V1Deployed, &mut bytes);
            self.sequence += 1;
            self.outgoing = Some((now, bytes));
        }
        if let Some((at, bytes)) = &mut self.outgoing
            && *at <= now
        {
            air.send(now, To::Operator(0), bytes);
            *at = now + Duration::from_secs(3);
        }
    }
}

fn challenge() -> Vec<u8> {
    use rand::SeedableRng;
    let mut rng = rand::rngs::StdRng::seed_from_u64(4);
    let challenge = bmstools_proto::agent::Challenge::new(&KEY.public_key(), &mut rng);
    let cipher = challenge.cipher();
    let mut message = vec![0];
    message.extend_from_slice(&(cipher.len() as u32).to_be_bytes());
    message.extend_from_slice(cipher);
    message
}

fn push_to_old_agent(loss: f64, seed: u64, len: usize) {
    let mut air = Air::new(Weather { loss, ..Weather::FINE }, seed);
    let mut agent = OldAgent::new();
    let mut now = start();
    let peer = Peer { mac: AGENT, vlan: vlan() };
    let mut client = Client::new(
        Config { open_timeout: Duration::from_secs(40), ..Config::default() },
        Dialect::V1Deployed,
        peer,
        KEY.clone(),
        [3; 32],
        now,
    );
    let bytes = random_bytes(len, seed);
    let mut left = &bytes[..];
    let mut ended = false;
    let limit = now + Duration::from_secs(7200);
    let mut buffer = [0; 1500];
    let mut under_way = 0;
    let mut repeated = 0;
    while !ended {
        assert!(now < limit, "seed {seed} hangs");
        while let Some((to, mut frame)) = air.pop_due(now) {
            match to {
                To::Agent(_) => agent.take(now, &frame, &mut air),
                To::Operator(_) => client.handle_frame(now, peer, &mut frame),
            }
        }
        agent.turn(now, &mut air);
        if client.poll_timeout(now).is_some_and(|at| at <= now) {
            client.handle_timeout(now);
        }
        while let Some(event) = client.poll_event() {
            match event {
                Event::Authenticated => client.request(now, Request::File(b"/x".to_vec())),
                Event::Response(response) => {
                    assert_eq!(response.code, Code::Success);
                    if client.retransmitted() > repeated {
                        let fits = 32 * (1500 - 20);
                        assert!(client.max_data() <= fits, "a lossy link, and it grows");
                    }
                    repeated = client.retransmitted();
                    if left.is_empty() {
                        client.end(now);
                    } else {
                        let chunk;
                        (chunk, left) = left.split_at(client.max_data().min(left.len()));
                        under_way = under_way.max(chunk.len());
                        client.request(now, Request::Data(chunk.to_vec()));
                    }
                }
                Event::Ended => ended = true,
                Event::Failed(error) => panic!("seed {seed}: {error}"),
                Event::Opened => {}
            }
        }
        while let Some((_, len)) = client.poll_transmit(now, &mut buffer) {
            air.send(now, To::Agent(0), &buffer[..len]);
        }
        now += Duration::from_micros(200);
    }
    assert!(agent.file == bytes, "seed {seed}: {} of {} bytes", agent.file.len(), bytes.len());
    if loss == 0.0 {
        assert_eq!(under_way, 900_000, "messages did not grow on a clean link");
        assert_eq!(client.retransmitted(), 0);
    }
}

#[test]
fn a_push_to_an_agent_with_one_reassembly_buffer_is_exact() {
    push_to_old_agent(0.0, 1, 5_000_000);
}

#[test]
fn a_push_to_an_agent_with_one_reassembly_buffer_is_exact_at_one_percent_loss() {
    for seed in 0..5 {
        push_to_old_agent(0.01, seed, 300_000);
    }
}
