//! The loop that owns the ports.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::port::{Outgoing, Port};

/// What the loop of [`run`] drives: a protocol endpoint and what stands around it.
///
/// A turn of the loop is: frames of every port to `receive`, one call of `turn`,
/// frames from `transmit` to every port, then a wait for the first of a frame, a
/// [`Waker`] and `deadline`.
pub trait Handler {
    /// Takes a received frame, from its bmstools header on.
    fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]);

    /// Does everything that is not a frame: timers that are due, events, commands
    /// from other threads, sessions to insert into or remove from `ports`.
    fn turn(&mut self, now: Instant, ports: &mut [Box<dyn Port>]) -> ControlFlow<()>;

    /// Writes the next frame to send on `port` into `buffer`.
    fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing>;

    /// When `turn` must be called next, frames or not.
    fn deadline(&self) -> Option<Instant>;
}

/// Wakes [`run`] from another thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Wake>);

#[derive(Debug)]
struct Wake {
    event: OwnedFd,
    /// Set from the first wake until the loop sees it: the wakes in between need
    /// no system call.
    pending: AtomicBool,
}

impl Waker {
    /// A waker for one loop.
    ///
    /// # Errors
    ///
    /// Where the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Wake { event, pending: AtomicBool::new(false) })))
    }

    /// Makes the loop turn soon. Never blocks.
    pub fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // The counter can only be full of wakes that nobody has seen yet.
            let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
        }
    }

    /// Takes the wakes so far. Whatever was done before them is visible after it.
    fn clear(&self) {
        let _ = rustix::io::read(&self.0.event, &mut [0u8; 8]);
        self.0.pending.swap(false, Ordering::AcqRel);
    }
}

/// Runs the loop until the handler breaks it or a port fails.
///
/// # Errors
///
/// The first error of a port.
pub fn run(
    ports: &mut [Box<dyn Port>],
    handler: &mut dyn Handler,
    waker: &Waker,
) -> io::Result<()> {
    loop {
        let received = receive(ports, handler)?;
        if handler.turn(Instant::now(), ports).is_break() {
            return Ok(());
        }
        let sent = transmit(ports, handler)?;
        if received > 0 || sent == Sent::More {
            continue;
        }
        wait(ports, waker, timeout(handler.deadline(), sent))?;
    }
}

fn receive(ports: &mut [Box<dyn Port>], handler: &mut dyn Handler) -> io::Result<usize> {
    let now = Instant::now();
    let mut received = 0;
    for (index, port) in ports.iter_mut().enumerate() {
        received += port.receive(&mut |peer, frame| handler.receive(now, index, peer, frame))?;
    }
    Ok(received)
}

/// What a round of transmits left behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    /// Nothing.
    All,
    /// Frames that a port has no room for.
    Blocked,
    /// Frames that could leave at once.
    More,
}

fn transmit(ports: &mut [Box<dyn Port>], handler: &mut dyn Handler) -> io::Result<Sent> {
    let now = Instant::now();
    let mut left = Sent::All;
    for (index, port) in ports.iter_mut().enumerate() {
        let mut written = 0;
        let more = port.transmit(&mut |buffer| {
            let frame = handler.transmit(now, index, buffer);
            written += usize::from(frame.is_some());
            frame
        })?;
        left = left.max(match (more, written) {
            (false, _) => Sent::All,
            (true, 0) => Sent::Blocked,
            (true, _) => Sent::More,
        });
    }
    Ok(left)
}

/// How long to wait for a frame or a wake; `None` is for as long as it takes.
fn timeout(deadline: Option<Instant>, sent: Sent) -> Option<Duration> {
    let until_due = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    if sent == Sent::Blocked {
        return Some(until_due.map_or(BLOCKED_RETRY, |due| due.min(BLOCKED_RETRY)));
    }
    until_due
}

fn wait(ports: &[Box<dyn Port>], waker: &Waker, timeout: Option<Duration>) -> io::Result<()> {
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Ok(());
    }
    let readable: Vec<BorrowedFd<'_>> = ports.iter().flat_map(|port| port.readable()).collect();
    let mut waited: Vec<PollFd<'_>> = std::iter::once(waker.0.event.as_fd())
        .chain(readable)
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    // More seconds than a timespec holds are as good as no end.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut waited, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if waited.first().is_some_and(|event| !event.revents().is_empty()) {
        waker.clear();
    }
    Ok(())
}

/// How soon a port without room is tried again: about the time in which a
/// gigabit link sends a dozen frames.
const BLOCKED_RETRY: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests;
