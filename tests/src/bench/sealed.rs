//! What an encrypted push can do at most on a link: everything that it cannot do
//! without, and no protocol.
//!
//! A file is read, sealed frame by frame, sent over AF_XDP, opened, written and
//! digested at both ends. Nothing is lost, acknowledged, scheduled or sent again: the
//! receiver tells the sender through shared memory how far it is. What a push takes
//! more than this is the protocol's; what this takes is the kernel's and the cipher's.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bmstools_common::header::{Framing, V2_LEN, V2Header, v2_ptype};
use bmstools_common::maps::SessionKey;
use bmstools_link::{Outgoing, Port};
use twox_hash::XxHash3_128;

use super::ceiling::{KEY, Shared, Side, TURN, begin, inside};
use super::contest::Contestant;
use super::context::Context;
use super::cores::{RECEIVER, SENDER};
use super::peers::{Sizes, moved};
use super::results::SEALED;
use super::stage::Stage;
use crate::testbed::{AGENT_MAC, OPERATOR_MAC};
use crate::wire;

/// This ceiling of a stage, as a contestant among others.
pub(crate) fn contestant<'a>(
    context: &'a Context,
    stage: &'a Stage,
    sizes: Sizes,
) -> Contestant<'a> {
    Contestant::new(SEALED, move |turn| {
        moved(&context.files, turn, sizes, |source, destination| run(stage, source, destination))
    })
    .note("raw AF_XDP; a file read, sealed, opened, written and digested, no protocol")
}

/// Moves a file.
///
/// # Errors
///
/// Where the sockets cannot be had, a frame is lost or the digests differ.
fn run(stage: &Stage, source: &Path, destination: &Path) -> Result<()> {
    let shared = Shared::default();
    let bytes = source.metadata()?.len();
    let (mut sent, mut received) = (0, 0);
    let stop = |result: Result<Side>| {
        if result.is_err() {
            shared.stop.store(true, Ordering::Release);
        }
        result.map(drop)
    };
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            stop(inside(stage.receiver(), RECEIVER, |port| {
                receive(port, bytes, destination, &shared, &mut received)
            }))
        });
        let sender = scope.spawn(|| {
            stop(inside(stage.sender(), SENDER, |port| {
                send(port, bytes, source, &shared, &mut sent)
            }))
        });
        while shared.ready.load(Ordering::Acquire) < 2 && !shared.is_over() {
            thread::sleep(Duration::from_millis(1));
        }
        let settled = stage.settle();
        shared.ready.store(3, Ordering::Release);
        let join = |handle: thread::ScopedJoinHandle<'_, Result<()>>| {
            handle.join().map_err(|_| anyhow!("a thread panicked"))?
        };
        let (sender, receiver) = (join(sender), join(receiver));
        settled.and(receiver).and(sender)
    })?;
    ensure!(sent == received, "the digests differ");
    Ok(())
}

fn send(
    port: &mut dyn Port,
    bytes: u64,
    source: &Path,
    shared: &Shared,
    digest: &mut u128,
) -> Result<Side> {
    let peer = wire::peer(AGENT_MAC, None)?;
    let (key, file) = (key()?, File::open(source)?);
    let payload = port.info().mtu - V2_LEN - TAG;
    let window = (WINDOW / port.info().mtu) as u64;
    let started = begin(shared);
    let mut block = vec![0; BLOCK];
    let (mut at, mut end, mut offset, mut number) = (0, 0, 0_u64, 0_u64);
    let mut digests = XxHash3_128::new();
    let mut heard = (0, Instant::now());
    while offset < bytes || at < end {
        let received = shared.received.load(Ordering::Acquire);
        if received != heard.0 {
            heard = (received, Instant::now());
        }
        ensure!(!shared.is_over() && heard.1.elapsed() < TURN * 20, "a frame was lost");
        if at == end {
            at = 0;
            end = file.read_at(&mut block, offset)?;
            offset += end as u64;
            digests.write(&XxHash3_128::oneshot(&block[..end]).to_be_bytes());
        }
        let mut room = (received + window).saturating_sub(number);
        port.transmit(&mut |buffer| {
            room = room.checked_sub(1)?;
            let len = payload.min(end - at);
            if len == 0 {
                return None;
            }
            let header = V2Header {
                ptype: v2_ptype::DATA_EVEN,
                srckey: KEY,
                dstkey: KEY,
                packet_number: number,
            };
            let (front, rest) = buffer.split_at_mut_checked(V2_LEN)?;
            front.copy_from_slice(&header.emit());
            let (text, rest) = rest.split_at_mut_checked(len)?;
            text.copy_from_slice(&block[at..at + len]);
            let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from(front), text).ok()?;
            rest.get_mut(..TAG)?.copy_from_slice(tag.as_ref());
            at += len;
            number += 1;
            Some(Outgoing { peer, len: V2_LEN + len + TAG })
        })?;
    }
    // What is still in the rings leaves with the port.
    while shared.received.load(Ordering::Acquire) < number && !shared.is_over() {
        port.transmit(&mut |_| None)?;
        ensure!(heard.1.elapsed() < TURN * 20, "a frame was lost");
    }
    *digest = digests.finish_128();
    Ok(Side::of(started))
}

fn receive(
    port: &mut dyn Port,
    bytes: u64,
    destination: &Path,
    shared: &Shared,
    digest: &mut u128,
) -> Result<Side> {
    let session = SessionKey::v2(wire::peer(OPERATOR_MAC, None)?, KEY);
    port.insert_session(session, Framing::V2)?;
    let (key, file) = (key()?, File::create(destination)?);
    let started = begin(shared);
    let mut block = Vec::with_capacity(BLOCK * 2);
    let mut offset = 0;
    let mut digests = XxHash3_128::new();
    let mut problem = None;
    while offset < bytes {
        ensure!(!shared.is_over(), "the sender has stopped");
        let frames = port.receive(&mut |_, frame| {
            let opened = open(&key, frame, &mut block);
            problem = problem.take().or(opened.err());
        })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        if frames == 0 {
            wire::wait_readable(&port.readable(), TURN)?;
            continue;
        }
        shared.received.fetch_add(frames as u64, Ordering::Release);
        while block.len() >= BLOCK || (!block.is_empty() && offset + block.len() as u64 == bytes) {
            let len = block.len().min(BLOCK);
            file.write_all_at(&block[..len], offset)?;
            digests.write(&XxHash3_128::oneshot(&block[..len]).to_be_bytes());
            offset += len as u64;
            block.drain(..len);
        }
    }
    *digest = digests.finish_128();
    Ok(Side::of(started))
}

/// Opens a frame and adds what is in it to `block`.
fn open(key: &LessSafeKey, frame: &mut [u8], block: &mut Vec<u8>) -> Result<()> {
    let header = V2Header::parse(&*frame, 0).map_err(|_| anyhow!("no frame of version 2"))?;
    let (front, sealed) = frame.split_at_mut(V2_LEN);
    let text = key
        .open_in_place(nonce(header.packet_number), Aad::from(front), sealed)
        .map_err(|_| anyhow!("a frame that does not open"))?;
    block.extend_from_slice(text);
    Ok(())
}

fn key() -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| anyhow!("no key"))?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

const TAG: usize = 16;
/// Bytes that are read and written at once.
const BLOCK: usize = 256 << 10;
/// Bytes under way at most: a session's credit.
const WINDOW: usize = 576 << 10;
