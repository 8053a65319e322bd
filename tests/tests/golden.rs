//! The golden frames against a running agent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bmstools_common::counters::Counter;
use bmstools_common::header::{Dialect, ptype};
use bmstools_tests::counters::Counters;
use bmstools_tests::peer::Options;
use bmstools_tests::testbed::DEPLOYED_VLAN;
use bmstools_tests::wire::{Frame, Tap};
use bmstools_tests::{Link, Testbed, with_every_link};
use serde::Deserialize;

with_every_link!(
    bad_frames_are_counted_and_unanswered,
    bad_frames_inside_a_session_change_nothing,
    a_golden_open_is_acknowledged_and_answered_byte_for_byte,
);

fn bad_frames_are_counted_and_unanswered(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving(link)?;
    let tap = Tap::open(bed.operator_end())?;
    for vector in vectors("bad/")? {
        let before = agent.counters()?;
        tap.send_bytes(&vector.bytes()?)?;
        let answer = tap.receive_bytes(Instant::now() + Duration::from_millis(100))?;
        ensure!(answer.is_none(), "{} was answered with {answer:02x?}", vector.name);
        let after = agent.counters()?;
        let verdict = expected_verdict(&vector.name);
        // A tag that is cut off is no frame of ours: the kernel drops it before
        // a packet socket sees it.
        if verdict == Counter::Passed && !link.is_xdp() {
            continue;
        }
        assert_eq!(
            after.get(verdict) - before.get(verdict),
            1,
            "{} is not in {}: {after:?}",
            vector.name,
            verdict.name()
        );
        assert_eq!(after.verdicts() - before.verdicts(), 1, "{}: {after:?}", vector.name);
    }
    bed.operator().exec(&["true"])?.success().map(drop)
}

/// Outside of any session.
fn expected_verdict(name: &str) -> Counter {
    match name {
        "bad/truncated-header" => Counter::Truncated,
        "bad/offset-past-count" => Counter::OffsetPastCount,
        "bad/count-zero" => Counter::CountZero,
        "bad/version-9" => Counter::Version,
        "bad/ptype-77" => Counter::PacketType,
        "bad/double-tag-cut" => Counter::Passed,
        // Wrong for their session only, and there is none.
        _ => Counter::NoSession,
    }
}

fn bad_frames_inside_a_session_change_nothing(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving(link)?;
    for vector in vectors("bad/")? {
        let mut bytes = vector.bytes()?;
        let deployed = bytes[12..14] == [0x81, 0x00];
        let options = if deployed { Options::deployed(7) } else { Options::documented(7) };
        let header = if deployed { 18 } else { 14 };
        let mut operator = bed.hand_operator(options)?;
        operator.authenticate(&bed.keys)?;
        if let Some(key) = bytes.get_mut(header + 4..header + 6) {
            key.copy_from_slice(&operator.keys().peer.to_be_bytes());
        }
        // The next number of the session: nothing else is wrong with the frame.
        if let Some(sequence) = bytes.get_mut(header + 6..header + 10) {
            sequence.copy_from_slice(&3_u32.to_be_bytes());
        }
        let before = refused(&agent.counters()?);
        operator.send_bytes(&bytes)?;
        let answer = operator.receive(Duration::from_millis(100))?;
        ensure!(answer.is_none(), "{} was answered with {answer:?}", vector.name);
        if vector.name != "bad/double-tag-cut" {
            let counted = refused(&agent.counters()?) - before;
            assert_eq!(counted, 1, "{} was not counted as refused", vector.name);
        }
        let response = operator.exec("echo still here")?;
        assert_eq!(response["data"]["stdout"], "still here\n", "after {}", vector.name);
        operator.end()?;
    }
    Ok(())
}

/// Frames refused by the link or by the protocol.
fn refused(counters: &Counters) -> u64 {
    counters.malformed() + counters.named("refused")
}

fn a_golden_open_is_acknowledged_and_answered_byte_for_byte(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    for (dialect, name) in [(Dialect::V1, "v1"), (Dialect::V1Deployed, "v1-deployed")] {
        let tap = Tap::open(bed.operator_end())?;
        tap.send_bytes(&golden(&format!("{name}/open"))?)?;
        let (mut acknowledged, mut answered) = (false, false);
        while !(acknowledged && answered) {
            let deadline = Instant::now() + Duration::from_secs(2);
            let mut bytes = tap.receive_bytes(deadline)?.context("no answer")?;
            let (outer, frame) = Frame::parse(&bytes, dialect).context("not a frame of ours")?;
            let vlan = (dialect == Dialect::V1Deployed).then_some(DEPLOYED_VLAN);
            assert_eq!(outer.vlan.id(), vlan, "{name}");
            if frame.header.ptype == ptype::ACK {
                assert_eq!(bytes, golden(&format!("{name}/open-ack"))?);
                acknowledged = true;
            } else {
                // The agent's key is its own choice.
                bytes[outer.len() + 2..outer.len() + 4].copy_from_slice(&[0, 1]);
                assert_eq!(bytes, golden(&format!("{name}/open-reply"))?);
                answered = true;
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    hex: String,
}

impl Vector {
    fn bytes(&self) -> Result<Vec<u8>> {
        let digits = self.hex.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair)?;
            anyhow::Ok(u8::from_str_radix(text, 16)?)
        });
        digits.collect()
    }
}

fn vectors(prefix: &str) -> Result<Vec<Vector>> {
    let mut all: Vec<Vector> = serde_json::from_str(include_str!("../vectors/v1.json"))?;
    all.retain(|vector| vector.name.starts_with(prefix));
    ensure!(!all.is_empty(), "no golden frames called {prefix}");
    Ok(all)
}

fn golden(name: &str) -> Result<Vec<u8>> {
    vectors(name)?.iter().find(|vector| vector.name == name).context("no such frame")?.bytes()
}
