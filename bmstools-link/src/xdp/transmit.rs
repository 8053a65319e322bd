//! The sending half of a socket.

use std::io;

use bmstools_common::ethernet::MAX_HEADER_LEN;
use rustix::io::Errno;
use xdp::slab::{Slab, StackSlab};
use xdp::{CompletionRing, Packet, Umem, WakableTxRing};

use super::queue::BATCH;
use crate::frame::emit_header;
use crate::port::{Outgoing, PortInfo};

/// Frames on their way out.
pub(super) struct Transmit {
    ring: WakableTxRing,
    completion: CompletionRing,
    /// Room in each of the rings, and the UMEM's share for sending.
    capacity: usize,
    /// Frames that the kernel has not given back. Never more than `capacity`, so
    /// neither ring overflows and receiving never lacks memory.
    in_flight: usize,
    /// Frames that the kernel may not have looked at yet.
    unsent: usize,
    queued: u64,
    dropped: u64,
}

/// Tells the kernel that there are frames to send.
pub(super) type Kick<'k> = &'k dyn Fn() -> Result<(), Errno>;

impl Transmit {
    pub(super) fn new(ring: WakableTxRing, completion: CompletionRing, capacity: u32) -> Self {
        Self {
            ring,
            completion,
            capacity: capacity as usize,
            in_flight: 0,
            unsent: 0,
            queued: 0,
            dropped: 0,
        }
    }

    /// Frames sent, and frames that the kernel dropped instead.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.queued - self.dropped, self.dropped)
    }

    /// Sends a batch that `fill` writes. Returns whether there may be more.
    pub(super) fn send(
        &mut self,
        umem: &mut Umem,
        port: &PortInfo,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
        kick: Kick<'_>,
    ) -> io::Result<bool> {
        self.flush(kick)?;
        self.in_flight -= self.completion.dequeue(umem, self.in_flight);
        if self.unsent > 0 {
            return Ok(true);
        }
        let mut batch = StackSlab::<BATCH>::new();
        let more = self.fill(umem, port, fill, &mut batch);
        let count = batch.len();
        // SAFETY: the socket is closed before the UMEM is unmapped (the order of
        // the fields of `Queue`), and the packets are those of this UMEM.
        let queued = unsafe { self.ring.send(&mut batch, false) }?;
        while let Some(packet) = batch.pop_back() {
            umem.free_packet(packet);
        }
        self.in_flight += queued;
        self.unsent += queued;
        self.queued += queued as u64;
        self.flush(kick)?;
        Ok(more || queued < count || self.unsent > 0)
    }

    fn fill(
        &self,
        umem: &mut Umem,
        port: &PortInfo,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
        batch: &mut StackSlab<BATCH>,
    ) -> bool {
        while self.in_flight + batch.len() < self.capacity && batch.available() > 0 {
            // SAFETY: the packet goes into the ring of the same socket, or back.
            let Some(mut packet) = (unsafe { umem.alloc() }) else {
                return true;
            };
            match write(&mut packet, port, fill) {
                Some(()) => drop(batch.push_front(packet)),
                None => {
                    umem.free_packet(packet);
                    return false;
                }
            }
        }
        true
    }

    /// Has the kernel send what is in the ring. Copy mode takes 32 frames a call,
    /// and stops where the socket's send buffer is full.
    fn flush(&mut self, kick: Kick<'_>) -> io::Result<()> {
        let mut tries = if self.unsent == 0 { 0 } else { self.unsent / KERNEL_BATCH + 2 };
        while tries > 0 {
            tries -= 1;
            match kick() {
                Ok(()) => {
                    self.unsent = 0;
                    return Ok(());
                }
                // Dropped by the driver, or by the lack of a carrier.
                Err(Errno::BUSY) => {
                    self.dropped += 1;
                    self.unsent -= 1;
                    if self.unsent == 0 {
                        return Ok(());
                    }
                    tries += 1;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // They stay in the ring: tried again later.
                Err(Errno::NOBUFS | Errno::NETDOWN | Errno::NOMEM) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Lets `fill` write a payload into `packet` and puts the Ethernet header before
/// it.
fn write(
    packet: &mut Packet,
    port: &PortInfo,
    fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
) -> Option<()> {
    packet.adjust_tail((MAX_HEADER_LEN + port.mtu) as i32).ok()?;
    let outgoing = fill(&mut packet[MAX_HEADER_LEN..])?;
    let start = emit_header(packet, port.mac, outgoing.peer);
    let unused = port.mtu.saturating_sub(outgoing.len);
    packet.adjust_tail(-(unused as i32)).ok()?;
    packet.adjust_head(start as i32).ok()
}

/// Frames that the kernel sends in one call.
const KERNEL_BATCH: usize = 32;
