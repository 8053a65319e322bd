//! The loop that owns the ports.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use bmstools_common::ethernet::Peer;

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
pub struct Waker {}

impl Waker {
    /// A waker for one loop.
    ///
    /// # Errors
    ///
    /// Where the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Makes the loop turn soon. Never blocks.
    pub fn wake(&self) {}
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
    let _ = (ports, handler, waker);
    Ok(())
}
