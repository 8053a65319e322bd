//! The golden frames.

use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Vlan;
use bmstools_common::header::Dialect;
use serde_json::Value;

use crate::bench::{Bench, ENTRIES, LOCAL, PEER};

struct Golden {
    name: String,
    bytes: Vec<u8>,
    ptype: Option<u64>,
    dstkey: u16,
}

fn golden() -> Vec<Golden> {
    let text = include_str!("../../../tests/vectors/v1.json");
    let vectors: Vec<Value> = serde_json::from_str(text).expect("the golden frames are JSON");
    let frames = vectors.iter().map(|vector| {
        let hex = vector["hex"].as_str().expect("a frame has bytes");
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("bytes are hexadecimal");
        let mut bytes: Vec<_> = (0..hex.len()).step_by(2).map(digits).collect();
        // Frames to the operator are looked at as the operator's host does.
        if bytes[..6] == PEER.0 {
            bytes[..6].copy_from_slice(&LOCAL.0);
            bytes[6..12].copy_from_slice(&PEER.0);
        }
        let fields = &vector["fields"];
        Golden {
            name: vector["name"].as_str().expect("a frame has a name").to_owned(),
            bytes,
            ptype: fields["ptype"].as_u64(),
            dstkey: fields["dstkey"].as_u64().unwrap_or(0) as u16,
        }
    });
    frames.collect()
}

/// The program with the sessions that the golden frames belong to, on both hosts.
fn with_sessions(entry: bmstools_link::Entry) -> Bench {
    let mut bench = Bench::new(entry);
    let tagged = Vlan::tagged(1708).unwrap();
    for key in [1, 7] {
        bench.insert(Vlan::NONE, key, Dialect::V1);
        bench.insert(tagged, key, Dialect::V1Deployed);
    }
    bench
}

#[test]
fn good_frames_open_or_reach_their_session_and_come_out_byte_for_byte() {
    for entry in ENTRIES {
        let mut bench = with_sessions(entry);
        let mut seen = 0;
        for frame in golden().iter().filter(|frame| !frame.name.starts_with("bad/")) {
            let is_open = frame.ptype == Some(0) && frame.dstkey == 0;
            let expected = if is_open { Counter::Open } else { Counter::SessionViaRing };
            assert_eq!(bench.verdict(&frame.bytes), expected, "{}", frame.name);
            assert_eq!(bench.drain(), std::slice::from_ref(&frame.bytes), "{}", frame.name);
            seen += 1;
        }
        assert_eq!(seen, 22);
    }
}

#[test]
fn good_frames_but_opens_are_dropped_where_there_is_no_session() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for frame in golden().iter().filter(|frame| !frame.name.starts_with("bad/")) {
            let is_open = frame.ptype == Some(0) && frame.dstkey == 0;
            let expected = if is_open { Counter::Open } else { Counter::NoSession };
            assert_eq!(bench.verdict(&frame.bytes), expected, "{}", frame.name);
        }
    }
}

#[test]
fn bad_frames_are_refused_for_their_fault_even_in_a_live_session() {
    let expected = [
        ("bad/truncated-header", Counter::Truncated),
        ("bad/offset-past-count", Counter::OffsetPastCount),
        ("bad/count-zero", Counter::CountZero),
        ("bad/version-9", Counter::Version),
        ("bad/ptype-77", Counter::PacketType),
        // Its header is good; the message in it is the protocol's to refuse.
        ("bad/control-length", Counter::SessionViaRing),
        ("bad/deployed-length", Counter::DataLength),
        // Nothing says that it is ours.
        ("bad/double-tag-cut", Counter::Passed),
    ];
    for entry in ENTRIES {
        let mut bench = with_sessions(entry);
        let bad = golden().into_iter().filter(|frame| frame.name.starts_with("bad/"));
        let verdicts: Vec<_> = bad.map(|frame| (frame.name, bench.verdict(&frame.bytes))).collect();
        let verdicts: Vec<_> = verdicts.iter().map(|(name, is)| (name.as_str(), *is)).collect();
        assert_eq!(verdicts, expected);
        assert_eq!(bench.drain().len(), 1, "only the one with a good header");
    }
}

#[test]
fn bad_frames_reach_nothing_where_there_is_no_session() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        for frame in golden().iter().filter(|frame| frame.name.starts_with("bad/")) {
            let is = bench.verdict(&frame.bytes);
            let reached = [Counter::Session, Counter::SessionViaRing, Counter::Open];
            assert!(!reached.contains(&is), "{}: {}", frame.name, is.name());
        }
        assert!(bench.drain().is_empty());
    }
}
