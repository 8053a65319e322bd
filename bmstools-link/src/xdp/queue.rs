//! One receive queue: its AF_XDP socket, rings and UMEM.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send};
use xdp::slab::{Slab, StackSlab};
use xdp::socket::{OptName, SocketError, XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, UmemCfgBuilder};
use xdp::{RingConfigBuilder, RxRing, Umem, WakableFillRing};

use super::level::Level;
use super::sizes::{FRAME_SIZE, Sizes};
use super::transmit::Transmit;
use crate::frame::MAX_PAYLOAD;
use crate::interface::Interface;
use crate::port::{Outgoing, PortInfo};
use crate::sys;

/// Whether frames are copied between the driver's memory and the UMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CopyMode {
    Always,
    Never,
}

/// Why a queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error("the kernel has no AF_XDP (CONFIG_XDP_SOCKETS); use --link packet")]
    NoAfXdp,
    #[error("AF_XDP sockets need root, or CAP_NET_RAW and CAP_BPF")]
    Permission,
    #[error(
        "the kernel refused {mib} MiB of locked memory for frames: raise RLIMIT_MEMLOCK \
         (`ulimit -l`, or LimitMEMLOCK= in the unit), or grant CAP_IPC_LOCK"
    )]
    LockedMemory { mib: usize },
    #[error("queue {0} already has another process's AF_XDP socket; stop that one first")]
    Busy(u32),
    #[error(
        "the driver has no zero-copy AF_XDP for queue {0}; leave zero-copy out to have frames \
         copied"
    )]
    NoZeroCopy(u32),
    #[error("no such queue")]
    NoSuchQueue,
    #[error("the AF_XDP socket of queue {queue} failed: {cause}")]
    Socket { queue: u32, cause: SocketError },
    #[error("no memory for the frames of queue {queue}: {cause}")]
    Memory { queue: u32, cause: io::Error },
    #[error("{0}")]
    Sizes(xdp::error::Error),
}

/// A bound socket. It goes before the memory that the kernel works on with it.
pub(super) struct Queue {
    index: u32,
    copy: CopyMode,
    socket: XdpSocket,
    fill: WakableFillRing,
    receive: RxRing,
    transmit: Option<Transmit>,
    level: Level,
    /// Frames that the kernel has for receiving, or has received into.
    given: usize,
    umem: Umem,
}

impl Queue {
    /// Opens the socket of a queue. One that a process has just left is waited for:
    /// the kernel gives it up a little after the process has ended.
    pub(super) fn open(
        interface: &Interface,
        index: u32,
        sizes: &Sizes,
        copy: CopyMode,
    ) -> Result<Self, QueueError> {
        let deadline = Instant::now() + RELEASE_LIMIT;
        loop {
            match Self::try_open(interface, index, sizes, copy) {
                Err(QueueError::Busy(_)) if Instant::now() < deadline => {
                    thread::sleep(RELEASE_TURN);
                }
                opened => return opened,
            }
        }
    }

    fn try_open(
        interface: &Interface,
        index: u32,
        sizes: &Sizes,
        copy: CopyMode,
    ) -> Result<Self, QueueError> {
        let refused = |cause| QueueError::of_socket(index, sizes, copy, cause);
        let umem = UmemCfgBuilder {
            frame_size: FrameSize::FourK,
            frame_count: sizes.frames(),
            ..UmemCfgBuilder::default()
        };
        let mut umem = Umem::map(umem.build().map_err(QueueError::Sizes)?)
            .map_err(|cause| QueueError::Memory { queue: index, cause })?;
        keep_from_forks(&mut umem, sizes.frames() as usize);
        let rings = RingConfigBuilder {
            rx_count: sizes.receive,
            fill_count: sizes.receive,
            tx_count: sizes.transmit,
            // The kernel wants one even where nothing is sent.
            completion_count: sizes.transmit.max(LEAST_COMPLETION),
        };
        let mut builder = XdpSocketBuilder::new().map_err(refused)?;
        let (rings, mut flags) = builder
            .build_wakable_rings(&umem, rings.build().map_err(QueueError::Sizes)?)
            .map_err(refused)?;
        match copy {
            CopyMode::Always => flags.force_copy(),
            CopyMode::Never => flags.force_zerocopy(),
        }
        let mut fill = rings.fill_ring;
        let level = match copy {
            CopyMode::Always => {
                Level::least(sizes.receive as usize, interface.mtu.min(MAX_PAYLOAD))
            }
            // Drivers fill rings of their own from it.
            CopyMode::Never => Level::all(sizes.receive as usize),
        };
        // Before binding: some drivers take frames for their queue right then and
        // never look again where there are none.
        //
        // SAFETY: the UMEM and the rings end up in one `Queue`, whose socket is
        // closed before the UMEM is unmapped, and the builder's socket is closed
        // before `umem` on every early return, being declared after it.
        let given = unsafe { fill.enqueue(&mut umem, level.frames(), false) }
            .map_err(|cause| QueueError::Memory { queue: index, cause })?;
        let Some(receive) = rings.rx_ring else {
            return Err(QueueError::NoSuchQueue);
        };
        let transmit =
            rings.tx_ring.map(|ring| Transmit::new(ring, rings.completion_ring, sizes.transmit));
        let socket =
            builder.bind(xdp::nic::NicIndex(interface.index), index, flags).map_err(refused)?;
        Ok(Self { index, copy, socket, fill, receive, transmit, level, given, umem })
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket owns the descriptor and is borrowed as long.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    /// Hands up a batch of received frames, from their Ethernet header on, and
    /// gives their memory back to the kernel.
    pub(super) fn receive(&mut self, sink: &mut dyn FnMut(&mut [u8])) -> io::Result<()> {
        let mut batch = StackSlab::<BATCH>::new();
        // SAFETY: the packets stay in this function, and the UMEM outlives it.
        let received = unsafe { self.receive.recv(&self.umem, &mut batch) };
        self.given -= received;
        while let Some(mut packet) = batch.pop_back() {
            sink(&mut packet);
            self.umem.free_packet(packet);
        }
        if received == BATCH && self.level.is_to_be_checked() {
            self.level.check(Instant::now(), self.drops());
        }
        self.refill();
        Ok(())
    }

    /// Gives the kernel as many frames as it is to have.
    fn refill(&mut self) {
        let missing = self.level.frames().saturating_sub(self.given);
        if missing == 0 {
            return;
        }
        let wake = self.copy == CopyMode::Never;
        // SAFETY: the socket is closed before the UMEM is unmapped (the order of the
        // fields).
        match unsafe { self.fill.enqueue(&mut self.umem, missing, wake) } {
            Ok(filled) => self.given += filled,
            // The frames are in the ring; only the wake failed, as while the interface
            // is down.
            Err(error) => {
                tracing::trace!(queue = self.index, %error, "fill ring not woken");
                self.given += missing;
            }
        }
    }

    /// From here on the kernel has all frames that there are, or no more than it needs.
    pub(super) fn keep_all(&mut self, all: bool) {
        self.level.keep_all(all);
        self.refill();
    }

    /// Lets `fill` write frames into the UMEM and sends them.
    pub(super) fn transmit(
        &mut self,
        port: &PortInfo,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
    ) -> io::Result<bool> {
        let socket = &self.socket;
        let kick = || {
            // SAFETY: the socket owns the descriptor and is borrowed as long.
            let socket = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            send(socket, &[], SendFlags::DONTWAIT).map(drop)
        };
        match &mut self.transmit {
            Some(transmit) => transmit.send(&mut self.umem, port, fill, &kick),
            None => Ok(false),
        }
    }

    /// Frames sent and frames that the kernel dropped instead.
    pub(super) fn sent(&self) -> (u64, u64) {
        self.transmit.as_ref().map_or((0, 0), Transmit::counts)
    }

    /// Frames for this socket that found no room.
    pub(super) fn drops(&self) -> u64 {
        self.socket.statistics().map_or(0, |stats| stats.rx_dropped + stats.rx_ring_full)
    }
}

/// Spares forks the UMEM, which the kernel copies for them at once: the original is
/// pinned, and stays with this process. Takes a UMEM with all of its frames.
fn keep_from_forks(umem: &mut Umem, frames: usize) {
    // SAFETY: the packet does not leave this function.
    let Some(mut packet) = (unsafe { umem.alloc() }) else { return };
    // The first frame, which the mapping begins with.
    let start = packet.as_mut_ptr().map_addr(|address| address & !(FRAME_SIZE - 1));
    umem.free_packet(packet);
    if let Err(error) = sys::keep_from_forks(start, frames * FRAME_SIZE) {
        tracing::debug!(%error, "forks copy the UMEM");
    }
}

impl QueueError {
    fn of_socket(queue: u32, sizes: &Sizes, copy: CopyMode, cause: SocketError) -> Self {
        let code = |error: &io::Error| error.raw_os_error().unwrap_or_default();
        match &cause {
            SocketError::SocketCreation(error) if code(error) == libc::EAFNOSUPPORT => {
                Self::NoAfXdp
            }
            SocketError::SocketCreation(error) if code(error) == libc::EPERM => Self::Permission,
            SocketError::SetSockOpt { inner, option: OptName::UmemRegion }
                if matches!(code(inner), libc::ENOBUFS | libc::ENOMEM | libc::EPERM) =>
            {
                Self::LockedMemory { mib: (sizes.frames() as usize * FRAME_SIZE).div_ceil(1 << 20) }
            }
            SocketError::Bind(error) => match code(error) {
                libc::EBUSY => Self::Busy(queue),
                libc::EINVAL if queue > 0 => Self::NoSuchQueue,
                libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS if copy == CopyMode::Never => {
                    Self::NoZeroCopy(queue)
                }
                _ => Self::Socket { queue, cause },
            },
            _ => Self::Socket { queue, cause },
        }
    }
}

/// Frames of one call.
pub(super) const BATCH: usize = 64;
const LEAST_COMPLETION: u32 = 64;
/// For the kernel's work queue to get to the socket of a process that has ended, which
/// waits for a lock that every change of any interface takes.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
const RELEASE_TURN: Duration = Duration::from_millis(10);
