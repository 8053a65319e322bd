//! An agent as it is in the field: one reassembly buffer a session, whatever the
//! sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bmstools_common::ethernet::Peer;
use bmstools_common::header::{Dialect, V1Header, ptype};

use crate::keys::{KeyPair, digest};
use crate::nic::End;
use crate::wire::{Frame, Tap, control, ctype};

/// What a [`DeployedAgent`] has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The files that were pushed, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Frames of a message that was finished: each spoils the next message.
    pub repeats: u64,
    /// Sessions that were ended.
    pub ended: u64,
}

/// A running model of a deployed agent. Stopped when dropped.
#[derive(Debug)]
pub struct DeployedAgent {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DeployedAgent {
    /// Serves one session after the other on an interface.
    ///
    /// # Errors
    ///
    /// Where the interface cannot be opened.
    pub fn start(at: End<'_>, keys: &KeyPair) -> Result<Self> {
        let tap = Tap::open(at)?;
        let (seen, stop) = <(Arc<Mutex<Seen>>, Arc<AtomicBool>)>::default();
        let mut server = Server { tap, keys: keys.clone(), seen: Arc::clone(&seen), session: None };
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = server.turn() {
                        eprintln!("the deployed agent: {error:#}");
                        return;
                    }
                }
            })
        };
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// What it has seen.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Drop for DeployedAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    tap: Tap,
    keys: KeyPair,
    seen: Arc<Mutex<Seen>>,
    session: Option<Session>,
}

struct Session {
    peer: Peer,
    operator_key: u16,
    sequence: u32,
    /// The one buffer: by fragment, of whatever message.
    buffer: BTreeMap<u16, Vec<u8>>,
    finished: BTreeSet<u32>,
    unacknowledged: Vec<(Frame, Instant, u32)>,
    answer: String,
    path: Option<String>,
}

impl Server {
    fn turn(&mut self) -> Result<()> {
        if let Some((peer, frame)) = self.tap.receive(DIALECT, Instant::now() + TURN)? {
            thread::sleep(FRAME_TIME);
            self.take(peer, &frame)?;
        }
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let now = Instant::now();
        session.unacknowledged.retain(|(_, _, sends)| *sends < SENDS);
        for (frame, sent, sends) in &mut session.unacknowledged {
            if now.duration_since(*sent) >= RETRY {
                (*sent, *sends) = (now, *sends + 1);
                self.tap.send(frame, session.peer, DIALECT)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, peer: Peer, frame: &Frame) -> Result<()> {
        let header = frame.header;
        if header.ptype == ptype::OPEN {
            self.tap.send(&frame.ack(0), peer, DIALECT)?;
            let known = self.session.as_ref().is_some_and(|session| {
                session.peer == peer && session.operator_key == header.srckey
            });
            if !known {
                self.session = Some(Session::new(peer, header.srckey));
                // The original takes this long to set a session up.
                thread::sleep(Duration::from_millis(20));
                self.send(ptype::OPEN, &[])?;
            }
            return Ok(());
        }
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        if session.peer != peer || session.operator_key != header.srckey {
            return Ok(());
        }
        if header.ptype == ptype::ACK {
            let key = (header.sequence, header.offset);
            session
                .unacknowledged
                .retain(|(frame, ..)| (frame.header.sequence, frame.header.offset) != key);
            return Ok(());
        }
        self.tap.send(&frame.ack(KEY), peer, DIALECT)?;
        if session.finished.contains(&header.sequence) {
            lock(&self.seen).repeats += 1;
        }
        session.buffer.insert(header.offset, frame.data.clone());
        if session.buffer.len() == usize::from(header.count) {
            session.finished.insert(header.sequence);
            let message = std::mem::take(&mut session.buffer).into_values().flatten().collect();
            self.handle(header.ptype, message)?;
        }
        Ok(())
    }

    fn handle(&mut self, ptype: u8, message: Vec<u8>) -> Result<()> {
        let session = self.session.as_mut().context("no session")?;
        match (ptype, message.split_first_chunk::<5>()) {
            (ptype::END, _) => {
                lock(&self.seen).ended += 1;
                self.send(ptype::END, &[])
            }
            (ptype::CONTROL, Some(([ctype::AUTH, ..], []))) => {
                let text = format!("{:032x}", rand::random::<u128>());
                session.answer = digest(text.as_bytes());
                let challenge = self.keys.challenge(text.as_bytes())?;
                self.send(ptype::CONTROL, &control(ctype::AUTH, challenge.as_bytes()))
            }
            (ptype::CONTROL, Some(([ctype::AUTH, ..], answer))) => {
                let accepted = answer == session.answer.as_bytes();
                self.respond(if accepted { "Success" } else { "AuthError" })
            }
            (ptype::CONTROL, Some(([ctype::FILE, ..], path))) => {
                let path = String::from_utf8_lossy(path).into_owned();
                lock(&self.seen).files.insert(path.clone(), Vec::new());
                session.path = Some(path);
                self.respond("Success")
            }
            (ptype::DATA, _) => {
                let path = session.path.clone();
                let stored = path.is_some_and(|path| {
                    let mut seen = lock(&self.seen);
                    seen.files.get_mut(&path).map(|file| file.extend(message)).is_some()
                });
                self.respond(if stored { "Success" } else { "LogicError" })
            }
            _ => self.respond("AnalyzeError"),
        }
    }

    fn respond(&mut self, code: &str) -> Result<()> {
        self.send(ptype::DATA, format!("{{\"code\": \"{code}\"}}").as_bytes())
    }

    fn send(&mut self, ptype: u8, data: &[u8]) -> Result<()> {
        let session = self.session.as_mut().context("no session")?;
        let mut fragments: Vec<_> = data.chunks(FRAGMENT).collect();
        if fragments.is_empty() {
            fragments.push(&[]);
        }
        let (srckey, dstkey, sequence) = (KEY, session.operator_key, session.sequence);
        let count = u16::try_from(fragments.len())?;
        session.sequence += 1;
        for (offset, data) in (0..).zip(fragments) {
            let header = V1Header { ptype, srckey, dstkey, sequence, count, offset };
            let frame = Frame { header, data: data.to_vec() };
            self.tap.send(&frame, session.peer, DIALECT)?;
            session.unacknowledged.push((frame, Instant::now(), 1));
        }
        Ok(())
    }
}

impl Session {
    fn new(peer: Peer, operator_key: u16) -> Self {
        Self {
            peer,
            operator_key,
            sequence: 0,
            buffer: BTreeMap::new(),
            finished: BTreeSet::new(),
            unacknowledged: Vec::new(),
            answer: String::new(),
            path: None,
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const DIALECT: Dialect = Dialect::V1Deployed;
/// The original numbers its sessions from 1.
const KEY: u16 = 1;
const FRAGMENT: usize = 300;
/// What the original takes for a frame: faster peers fill its socket buffer.
const FRAME_TIME: Duration = Duration::from_micros(100);
const RETRY: Duration = Duration::from_secs(3);
const SENDS: u32 = 4;
const TURN: Duration = Duration::from_millis(20);
