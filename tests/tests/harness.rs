//! The tests' own tools: a test that measures with a crooked rule proves nothing.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bmstools_common::header::Dialect;
use bmstools_tests::nic::{self, End, PairOptions};
use bmstools_tests::relay::Impairments;
use bmstools_tests::testbed::{AGENT_MAC, OPERATOR_MAC};
use bmstools_tests::wire::{self, Frame, Keys, Tap};
use bmstools_tests::{Flood, Namespace, Relay};

const DIALECT: Dialect = Dialect::V1;

fn ends<'a>(operator: &'a Namespace, agent: &'a Namespace) -> (End<'a>, End<'a>) {
    (
        End { namespace: operator, name: nic::NAME, mac: OPERATOR_MAC },
        End { namespace: agent, name: nic::NAME, mac: AGENT_MAC },
    )
}

#[test]
fn a_namespace_goes_away_with_its_owner() -> Result<()> {
    let namespace = Namespace::new("short")?;
    let path = Path::new("/run/netns").join(namespace.name());
    ensure!(path.exists(), "there is no {}", path.display());
    drop(namespace);
    ensure!(!path.exists(), "{} stayed", path.display());
    Ok(())
}

#[test]
fn nothing_but_our_frames_is_on_a_link() -> Result<()> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let (left, right) = ends(&a, &b);
    nic::connect(left, right, PairOptions::default())?;
    let (sender, receiver) = (Tap::open(left)?, Tap::open(right)?);
    let frame = Frame::single(0, Keys { own: 7, peer: 0 }, 0, &[]);
    for vlan in [None, Some(7), Some(1708)] {
        sender.send(&frame, wire::peer(AGENT_MAC, vlan)?, DIALECT)?;
        let deadline = Instant::now() + Duration::from_secs(1);
        let bytes = receiver.receive_bytes(deadline)?.context("the frame is lost")?;
        assert_eq!(bytes, frame.to_bytes(OPERATOR_MAC, wire::peer(AGENT_MAC, vlan)?, DIALECT));
    }
    let later = receiver.receive_bytes(Instant::now() + Duration::from_millis(300))?;
    ensure!(later.is_none(), "somebody else sends here: {later:02x?}");
    Ok(())
}

#[test]
fn a_relay_without_impairments_forwards_every_frame_in_order() -> Result<()> {
    let received = through_relay(Impairments::default(), 2000)?;
    assert_eq!(received, (0..2000).collect::<Vec<u32>>());
    Ok(())
}

#[test]
fn a_relay_loses_duplicates_and_reorders_as_much_as_it_is_told() -> Result<()> {
    let impairments =
        Impairments { loss: 0.05, duplication: 0.05, reordering: 0.1, ..Impairments::default() };
    let received = through_relay(impairments, 4000)?;
    let mut once = received.clone();
    once.sort_unstable();
    once.dedup();
    let lost = 4000 - once.len();
    let duplicated = received.len() - once.len();
    let overtaken = received.windows(2).filter(|pair| pair[0] > pair[1]).count();
    ensure!((100..400).contains(&lost), "{lost} of 4000 lost");
    ensure!((100..400).contains(&duplicated), "{duplicated} of 4000 duplicated");
    ensure!(overtaken > 20, "{overtaken} of 4000 overtaken");
    Ok(())
}

/// The sequences that arrive of `count` frames, in order of arrival.
fn through_relay(impairments: Impairments, count: u32) -> Result<Vec<u32>> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let (left, right) = ends(&a, &b);
    let relay = Relay::start(left, right, PairOptions::default(), impairments, 1)?;
    let (sender, receiver) = (Tap::open(left)?, Tap::promiscuous(right)?);
    for sequence in 0..count {
        let frame = Frame::single(1, Keys { own: 7, peer: 1 }, sequence, &[0; 100]);
        sender.send(&frame, wire::peer(AGENT_MAC, None)?, DIALECT)?;
        if sequence % 32 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut sequences = Vec::new();
    while let Some((_, frame)) =
        receiver.receive(DIALECT, Instant::now() + Duration::from_millis(300))?
    {
        sequences.push(frame.header.sequence);
    }
    let counts = relay.require_impaired()?;
    assert_eq!(counts.received, u64::from(count));
    assert_eq!(counts.received - counts.lost + counts.duplicated, counts.forwarded);
    Ok(sequences)
}

#[test]
fn a_flood_sends_what_it_says_at_the_pace_it_is_told() -> Result<()> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let (left, right) = ends(&a, &b);
    nic::connect(left, right, PairOptions::default())?;
    let started = Instant::now();
    let flood = Flood::start(left, wire::peer(AGENT_MAC, None)?, 20_000, 50_000)?;
    let sent = flood.finish()?;
    ensure!(started.elapsed() > Duration::from_millis(300), "too fast");
    assert_eq!(sent.total(), 20_000);
    ensure!(sent.opens > 8000 && sent.malformed > 8000, "{sent:?}");
    // The last of them may still be on their way.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let seen = nic::statistics(&b, nic::NAME)?;
        if seen.received == 20_000 {
            return Ok(());
        }
        ensure!(seen.received < 20_000 && Instant::now() < deadline, "{seen:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
