//! The golden frames of both dialects.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod sim;

use bmstools_common::classify::{Verdict, classify};
use bmstools_common::ethernet::{self, Peer, Vlan};
use bmstools_proto::agent::{Endpoint, Event};
use bmstools_proto::wire::Frame;
use bmstools_proto::{Config, Dialect};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/vectors/v1.json")).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

#[test]
fn golden_frames_parse_and_emit_byte_for_byte() {
    let mut seen = 0;
    for vector in vectors().iter().filter(|vector| vector["fields"].is_object()) {
        let name = text(vector, "name");
        let fields = &vector["fields"];
        let number = |field: &str| fields[field].as_u64().unwrap();
        let dialect = match text(fields, "dialect") {
            "v1" => Dialect::V1,
            "v1-deployed" => Dialect::V1Deployed,
            other => panic!("{name}: dialect {other}"),
        };
        let bytes = unhex(text(vector, "hex"));
        let header = ethernet::Header::parse(&bytes[..]).unwrap();
        assert_eq!(header.vlan.id().map(u64::from), fields["vlan"].as_u64(), "{name}");
        let frame = Frame::parse(&bytes[header.len()..], dialect).unwrap();
        assert_eq!(u64::from(frame.kind.ptype()), number("ptype"), "{name}");
        assert_eq!(u64::from(frame.srckey), number("srckey"), "{name}");
        assert_eq!(u64::from(frame.dstkey), number("dstkey"), "{name}");
        assert_eq!(u64::from(frame.sequence), number("sequence"), "{name}");
        assert_eq!(u64::from(frame.count), number("count"), "{name}");
        assert_eq!(u64::from(frame.offset), number("offset"), "{name}");
        assert_eq!(frame.data.len() as u64, number("data_len"), "{name}");

        let mut emitted = vec![0; bytes.len()];
        header.emit(&mut emitted);
        assert_eq!(frame.emit(dialect, &mut emitted[header.len()..]), bytes.len() - header.len());
        assert_eq!(emitted, bytes, "{name}");
        seen += 1;
    }
    assert!(seen >= 22, "only {seen} golden frames");
}

#[test]
fn bad_frames_are_refused_and_counted_and_get_no_answer() {
    let mut seen = 0;
    for vector in vectors().iter().filter(|vector| text(vector, "name").starts_with("bad/")) {
        let name = text(vector, "name");
        let mut bytes = unhex(text(vector, "hex"));
        seen += 1;
        let Some(header) = ethernet::Header::parse(&bytes[..]) else {
            assert_eq!(classify(&bytes[..], sim::AGENT), Verdict::NotOurs, "{name}");
            continue;
        };
        let dialect = match header.vlan {
            Vlan::NONE => Dialect::V1,
            _ => Dialect::V1Deployed,
        };
        let peer = Peer { mac: header.source, vlan: header.vlan };
        let (mut endpoint, key) = session(dialect, peer);
        let body = &mut bytes[header.len()..];
        if let Some(dstkey) = body.get_mut(4..6) {
            dstkey.copy_from_slice(&key);
        }
        let before = endpoint.stats();
        let now = sim::start();
        endpoint.handle_frame(now, 0, peer, body);
        assert_eq!(endpoint.stats().refused, before.refused + 1, "{name}");
        assert!(endpoint.poll_transmit(now, 0, &mut [0; 1500]).is_none(), "{name}");
        assert!(endpoint.poll_event().is_none(), "{name}");
    }
    assert_eq!(seen, 8);
}

/// An endpoint with one session, of the golden frames' operator, and its key.
fn session(dialect: Dialect, peer: Peer) -> (Endpoint, [u8; 2]) {
    let now = sim::start();
    let mut endpoint =
        Endpoint::new(Config { deployed_answer_delay: sim::ms(0), ..Config::default() }, [1; 32]);
    let mut open = unhex("0100000700000000000000010000000006ac0000");
    open.truncate(dialect.header_len());
    endpoint.handle_frame(now, 0, peer, &mut open);
    let Some(Event::Opened { session, .. }) = endpoint.poll_event() else { panic!("not opened") };
    endpoint.accept(now, session);
    let mut buffer = [0; 1500];
    let mut key = [0; 2];
    while let Some((_, len)) = endpoint.poll_transmit(now, 0, &mut buffer) {
        key.copy_from_slice(&buffer[2..4]);
        let reply = Frame::parse(&buffer[..len], dialect).unwrap();
        let mut ack = [0; 20];
        let len = Frame { srckey: 7, ..reply.ack() }.emit(dialect, &mut ack);
        if key != [0, 0] {
            endpoint.handle_frame(now, 0, peer, &mut ack[..len]);
        }
    }
    (endpoint, key)
}
