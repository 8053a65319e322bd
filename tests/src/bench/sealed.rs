//! What the link, a cipher and files allow an encrypted push on one core a side: what it
//! cannot do without, and no protocol.
//!
//! A file is read, sealed frame by frame, sent over AF_XDP, opened, written and
//! digested at both ends. Nothing is lost, acknowledged, scheduled or sent again: the
//! receiver tells the sender through shared memory how far it is. What a push takes
//! more than this is the protocol's; what this takes is the kernel's and the cipher's.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bmstools_common::header::{Framing, V2_LEN, V2Header, v2_ptype};
use bmstools_common::maps::SessionKey;
use bmstools_link::{Outgoing, Port};
use twox_hash::XxHash3_128;

use super::ceiling::{KEY, Shared, TURN, begin, inside, start};
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
        let mut idle = Duration::ZERO;
        let mut moved = moved(&context.files, turn, sizes, |source, destination| {
            idle = run(stage, source, destination)?;
            Ok(())
        })?;
        // The sender asks again and again for room: that is no work.
        if let Some([sender, _]) = &mut moved.cpu {
            *sender = (*sender - idle.as_secs_f64()).max(0.0);
        }
        Ok(moved)
    })
    .note("raw AF_XDP; a file read, sealed, opened, written and digested, no protocol")
}

/// Moves a file, and tells how long the sender had no room.
///
/// # Errors
///
/// Where the sockets cannot be had, a frame is lost or the digests differ.
fn run(stage: &Stage, source: &Path, destination: &Path) -> Result<Duration> {
    let shared = Shared::default();
    let bytes = source.metadata()?.len();
    // The first one: what fails later fails because of it.
    let failed = OnceLock::new();
    let fail = |error| {
        let _ = failed.set(error);
        shared.stop.store(true, Ordering::Release);
    };
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            inside(stage.receiver(), RECEIVER, |port| receive(port, bytes, destination, &shared))
                .map_err(fail)
        });
        let sender = scope.spawn(|| {
            inside(stage.sender(), SENDER, |port| send(port, bytes, source, &shared)).map_err(fail)
        });
        start(stage, &shared).unwrap_or_else(fail);
        (sender.join(), receiver.join())
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    let (Ok(Ok((sent, idle))), Ok(Ok(received))) = (sent, received) else {
        bail!("a thread panicked");
    };
    ensure!(sent == received, "the digests differ");
    Ok(idle)
}

/// The digest of what was sent, and how long there was no room for more.
fn send(
    port: &mut dyn Port,
    bytes: u64,
    source: &Path,
    shared: &Shared,
) -> Result<(u128, Duration)> {
    let peer = wire::peer(AGENT_MAC, None)?;
    let (key, file) = (key()?, File::open(source)?);
    let payload = port.info().mtu - V2_LEN - TAG;
    let window = (WINDOW / port.info().mtu) as u64;
    let mut block = vec![0; BLOCK];
    let (mut at, mut end, mut offset, mut number) = (0, 0, 0_u64, 0_u64);
    let (mut digests, mut idle) = (XxHash3_128::new(), Duration::ZERO);
    let mut heard = (0, begin(shared));
    // To the last frame's arrival: what is still in the rings would leave with the port.
    while offset < bytes || at < end || heard.0 < number {
        let turn = Instant::now();
        let received = shared.received.load(Ordering::Acquire);
        if received != heard.0 {
            heard = (received, turn);
        }
        ensure!(!shared.is_over(), "the receiver has stopped");
        ensure!(turn - heard.1 < LONGEST_SILENCE, "a frame was lost");
        if at == end && offset < bytes {
            (at, end) = (0, file.read_at(&mut block, offset)?);
            ensure!(end > 0, "the file became shorter");
            offset += end as u64;
            digests.write(&XxHash3_128::oneshot(&block[..end]).to_be_bytes());
        }
        let mut room = (received + window).saturating_sub(number);
        let before = number;
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
        if number == before {
            idle += turn.elapsed();
        }
    }
    Ok((digests.finish_128(), idle))
}

/// The digest of what arrived.
fn receive(port: &mut dyn Port, bytes: u64, destination: &Path, shared: &Shared) -> Result<u128> {
    let session = SessionKey::v2(wire::peer(OPERATOR_MAC, None)?, KEY);
    port.insert_session(session, Framing::V2)?;
    let mut sink = Sink {
        key: key()?,
        file: File::create(destination)?,
        block: Vec::with_capacity(BLOCK),
        offset: 0,
        digests: XxHash3_128::new(),
    };
    begin(shared);
    while sink.offset + (sink.block.len() as u64) < bytes {
        ensure!(!shared.is_over(), "the sender has stopped");
        let mut taken = Ok(());
        let frames = port.receive(&mut |_, frame| {
            if taken.is_ok() {
                taken = sink.take(frame);
            }
        })?;
        taken?;
        if frames == 0 {
            wire::wait_readable(&port.readable(), TURN)?;
        } else {
            shared.received.fetch_add(frames as u64, Ordering::Release);
        }
    }
    if !sink.block.is_empty() {
        sink.write()?;
    }
    Ok(sink.digests.finish_128())
}

/// Where what arrives is put together and written.
struct Sink {
    key: LessSafeKey,
    file: File,
    block: Vec<u8>,
    offset: u64,
    digests: XxHash3_128,
}

impl Sink {
    /// Opens a frame, and writes the block that it fills.
    fn take(&mut self, frame: &mut [u8]) -> Result<()> {
        let header = V2Header::parse(&*frame, 0).map_err(|_| anyhow!("no frame of version 2"))?;
        let (front, sealed) = frame.split_at_mut(V2_LEN);
        let text = self
            .key
            .open_in_place(nonce(header.packet_number), Aad::from(front), sealed)
            .map_err(|_| anyhow!("a frame that does not open"))?;
        let (front, rest) = text.split_at(text.len().min(BLOCK - self.block.len()));
        self.block.extend_from_slice(front);
        if self.block.len() == BLOCK {
            self.write()?;
        }
        self.block.extend_from_slice(rest);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_all_at(&self.block, self.offset)?;
        self.digests.write(&XxHash3_128::oneshot(&self.block).to_be_bytes());
        self.offset += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
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
/// After so long without a frame arriving, one was lost.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);
