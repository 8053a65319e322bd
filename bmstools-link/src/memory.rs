//! Two ports connected in memory, for tests of what stands on a [`Port`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bmstools_common::Mac;
use bmstools_common::ethernet::{MAX_HEADER_LEN, Peer};
use bmstools_common::header::Framing;
use bmstools_common::maps::{Config, Rate, SessionKey};
use rustix::event::{EventfdFlags, eventfd};

use crate::filter::Filter;
use crate::frame::emit_header;
use crate::port::{Counters, LinkError, Outgoing, Port, PortInfo};

/// Two ports with these addresses, each receiving what the other sends.
///
/// A frame carries up to `mtu` bytes behind its Ethernet header. Each direction
/// holds 1024 frames; what is sent beyond that is lost. Opens have no rate limit.
///
/// # Errors
///
/// Where the process has no file descriptor left.
pub fn pair(mac_a: Mac, mac_b: Mac, mtu: usize) -> io::Result<(MemoryPort, MemoryPort)> {
    let to_a = Arc::new(Queue::new()?);
    let to_b = Arc::new(Queue::new()?);
    let a = MemoryPort::new("memory-a", mac_a, mtu, to_a.clone(), to_b.clone());
    let b = MemoryPort::new("memory-b", mac_b, mtu, to_b, to_a);
    Ok((a, b))
}

/// One end of [`pair`].
pub struct MemoryPort {
    info: PortInfo,
    filter: Filter,
    inbox: Arc<Queue>,
    outbox: Arc<Queue>,
    sent: u64,
}

impl MemoryPort {
    fn new(name: &str, mac: Mac, mtu: usize, inbox: Arc<Queue>, outbox: Arc<Queue>) -> Self {
        let unlimited = Rate { interval_ns: 0, burst: 0 };
        let config = Config { local: mac, per_source: unlimited, global: unlimited };
        let info = PortInfo { interface: name.into(), mac, mtu, mode: "memory".into() };
        Self { info, filter: Filter::new(config), inbox, outbox, sent: 0 }
    }
}

impl Port for MemoryPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Peer, &mut [u8])) -> io::Result<usize> {
        let now = self.filter.now_ns();
        let mut received = 0;
        for mut frame in self.inbox.take(BATCH) {
            if let Some((peer, header_at)) = self.filter.admit(&frame, now) {
                sink(peer, &mut frame[header_at..]);
                received += 1;
            }
        }
        Ok(received)
    }

    fn transmit(
        &mut self,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
    ) -> io::Result<bool> {
        for _ in 0..BATCH {
            let mut frame = vec![0; MAX_HEADER_LEN + self.info.mtu];
            let Some(outgoing) = fill(&mut frame[MAX_HEADER_LEN..]) else {
                return Ok(false);
            };
            let start = emit_header(&mut frame, self.info.mac, outgoing.peer);
            frame.truncate(MAX_HEADER_LEN + outgoing.len.min(self.info.mtu));
            frame.drain(..start);
            self.outbox.push(frame);
            self.sent += 1;
        }
        Ok(true)
    }

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.inbox.event.as_fd()]
    }

    fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError> {
        self.filter.insert_session(key, framing)
    }

    fn remove_session(&mut self, key: SessionKey) {
        self.filter.remove_session(key);
    }

    fn counters(&self) -> Counters {
        Counters {
            verdicts: self.filter.counters(),
            socket_drops: self.inbox.lock().dropped,
            sent: self.sent,
            send_errors: 0,
        }
    }
}

/// The frames on their way in one direction.
struct Queue {
    frames: Mutex<Frames>,
    /// Readable while there are frames.
    event: OwnedFd,
}

#[derive(Default)]
struct Frames {
    waiting: VecDeque<Vec<u8>>,
    dropped: u64,
}

impl Queue {
    fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { frames: Mutex::default(), event })
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, frame: Vec<u8>) {
        let mut frames = self.lock();
        if frames.waiting.len() >= QUEUE_LEN {
            frames.dropped += 1;
            return;
        }
        if frames.waiting.is_empty() {
            // It can only fail at a full counter, and that is readable too.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
        frames.waiting.push_back(frame);
    }

    fn take(&self, limit: usize) -> Vec<Vec<u8>> {
        let mut frames = self.lock();
        let count = frames.waiting.len().min(limit);
        let taken = frames.waiting.drain(..count).collect();
        if count > 0 && frames.waiting.is_empty() {
            let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        }
        taken
    }
}

/// Frames that a direction holds: a little more than one window of the protocol.
const QUEUE_LEN: usize = 1024;
/// Frames of one call.
const BATCH: usize = 64;

#[cfg(test)]
mod tests;
