//! What neighbours can do to sessions of version 2: nothing.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use bmstools_common::{Mac, ethernet};
use bmstools_tests::counters::Counters;
use bmstools_tests::memory::MIB;
use bmstools_tests::relay::{Impairments, Side};
use bmstools_tests::testbed::{AGENT_MAC, OPERATOR_MAC};
use bmstools_tests::{Agent, Flood, Link, Relay, Testbed, report, wire, with_every_link};

with_every_link!(
    captured_frames_change_nothing_and_are_counted,
    a_captured_session_cannot_be_opened_again,
    a_million_forged_opens_cost_nothing,
);

/// A testbed with a relay that records, and its agent.
fn recorded(link: Link) -> Result<(Testbed, Agent)> {
    let bed = Testbed::with_relay(link, Impairments::default(), 1)?;
    let agent = bed.v2_agent_command(&bed.keys, &[])?.start()?;
    bed.relay()?.record();
    Ok((bed, agent))
}

/// Frames that were dropped, by whomever.
fn dropped(counters: &Counters) -> u64 {
    ["v2_replayed", "v2_unsealed", "v2_refused", "drop_no_session", "drop_not_addressed"]
        .map(|name| counters.named(name))
        .iter()
        .sum()
}

fn captured_frames_change_nothing_and_are_counted(link: Link) -> Result<()> {
    let (bed, mut agent) = recorded(link)?;
    let relay = bed.relay()?;
    let operator = bed.operator().v2().json();
    let mut pinging = operator.start(&["ping", "-c", "60", "--interval", "0.05"])?;
    let captured = wait_for(relay, Side::Left, 40)?;
    let answers = wait_for(relay, Side::Right, 30)?;
    let before = dropped(&agent.counters()?);
    let damaged = damage(&captured);
    let mut moved = captured.clone();
    for frame in &mut moved {
        frame[6..12].copy_from_slice(&ELSEWHERE.0);
    }
    let mut reordered = captured.clone();
    reordered.reverse();
    let mut renumbered = captured.clone();
    for frame in &mut renumbered {
        // Numbers that the agent has not seen yet.
        frame[NUMBER..NUMBER + 2].copy_from_slice(&[0, 1]);
    }
    let mut sent = 0;
    for frames in [captured, damaged, moved, reordered, renumbered] {
        sent += frames.len() as u64;
        relay.inject(Side::Right, frames);
    }
    // The operator is no easier to deceive.
    relay.inject(Side::Left, damage(&answers));
    relay.inject(Side::Left, answers);
    relay.wait_injected()?;
    let json = pinging.wait(Duration::from_secs(60))?.success()?.json()?;
    assert_eq!(json["answered"], 60, "{json}");
    let counters = agent.counters()?;
    assert_eq!(counters.named("v2_established"), 1);
    let counted = dropped(&counters) - before;
    report(format_args!("--link {link}: {counted} frames of {sent} were counted as dropped"));
    // The captured opens are asked for a cookie or belong to the session; nothing else
    // is left over.
    ensure!(counted + OPENS >= sent, "{sent} were sent, {counted} counted");
    ensure!(counters.named("v2_replayed") > 0 && counters.named("v2_unsealed") > 0);
    Ok(())
}

fn a_captured_session_cannot_be_opened_again(link: Link) -> Result<()> {
    let (bed, mut agent) = recorded(link)?;
    let relay = bed.relay()?;
    bed.operator().v2().run(&["ping", "-c", "2"])?.success()?;
    let captured = relay.recorded(Side::Left);
    std::thread::sleep(Duration::from_secs(1));
    let before = agent.counters()?;
    assert_eq!((before.named("v2_established"), before.named("v2_sessions_open")), (1, 0));
    for _ in 0..3 {
        relay.inject(Side::Right, captured.clone());
        relay.wait_injected()?;
    }
    let after = agent.counters()?;
    assert_eq!(after.named("v2_established"), 1, "a replay established a session");
    bed.operator().v2().run(&["ping", "-c", "1"])?.success().map(drop)
}

fn a_million_forged_opens_cost_nothing(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let config = bed.path("agent.toml");
    // All of them shall reach the agent.
    fs::write(&config, "[opens]\nglobal = 1000000\nglobal_burst = 1000000")?;
    let mut agent = bed.v2_agent_command(&bed.keys, &[])?.config(&config).start()?;
    let peer = wire::peer(AGENT_MAC, None)?;
    let flood = |total| Flood::start_v2(bed.operator_end(), peer, total, RATE)?.finish();
    flood(20_000)?;
    let before = agent.memory()?;
    let sent = flood(1_000_000)?;
    let counters = agent.counters()?;
    let after = agent.memory()?;
    let (asked, refused) = (counters.named("v2_cookies_asked"), counters.named("v2_opens_refused"));
    report(format_args!(
        "--link {link}: of {} forged opens {asked} were asked for a cookie, {refused} refused",
        sent.opens
    ));
    ensure!(asked > 10_000, "only {asked} got through to be asked");
    assert_eq!(counters.named("v2_handshakes"), 0);
    assert_eq!(counters.named("v2_sessions_open"), 0);
    let grown = after.resident.saturating_sub(before.resident);
    ensure!(grown < 2 * MIB, "the agent grew by {grown} bytes");
    bed.operator().v2().run(&["ping", "-c", "1"])?.success().map(drop)
}

/// Waits until so many frames came from this side.
fn wait_for(relay: &Relay, side: Side, count: usize) -> Result<Vec<Vec<u8>>> {
    for _ in 0..600 {
        let frames = relay.recorded(side);
        if frames.len() >= count {
            return Ok(frames);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(anyhow::anyhow!("only {} frames came", relay.recorded(side).len()))
}

/// Each frame with one bit turned, behind the Ethernet header and the version.
fn damage(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let turned = |(at, frame): (usize, &Vec<u8>)| {
        let mut frame = frame.clone();
        let room = frame.len() - ethernet::HEADER_LEN - HEADER;
        frame[ethernet::HEADER_LEN + HEADER + at * 7 % room] ^= 1 << (at % 8);
        frame
    };
    frames.iter().enumerate().map(turned).collect()
}

/// Another operator on the segment.
const ELSEWHERE: Mac = {
    let Mac([a, b, c, d, e, _]) = OPERATOR_MAC;
    Mac([a, b, c, d, e, 0x77])
};
/// Where the packet number's upper half ends in an untagged frame.
const NUMBER: usize = ethernet::HEADER_LEN + 6 + 4;
/// Opens among the captured frames, in each of the five forms, with some to spare.
const OPENS: u64 = 50;
/// Bytes of the header: what is turned in it names another session or another packet.
const HEADER: usize = 14;
/// Opens a second: what a machine at work for others can still send.
const RATE: u32 = 40_000;
