//! The XDP program of `bmstools-ebpf`: loading, attaching and its maps.

use std::io;
use std::os::fd::BorrowedFd;

use bmstools_common::counters::Counter;
use bmstools_common::header::Dialect;
use bmstools_common::maps::{Config, SessionKey};

use crate::port::LinkError;

/// Where in the receive path the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the network stack, with any driver.
    Generic,
}

/// Why the XDP program cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The kernel refused the program or one of its maps.
    #[error("{0}")]
    Load(String),
    /// The kernel refused to attach the program.
    #[error("{0}")]
    Attach(String),
    /// The interface has another XDP program already.
    #[error("{0}")]
    Busy(String),
    /// A map could not be read or written.
    #[error("{0}")]
    Map(String),
}

/// The loaded XDP program.
///
/// Dropping it detaches it. A killed process leaves nothing attached.
#[derive(Debug)]
pub struct Program {}

impl Program {
    /// Loads the program, with support for frames of several buffers where the
    /// kernel has it.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Load`].
    pub fn load(config: &Config) -> Result<Self, ProgramError> {
        let _ = config;
        todo!()
    }

    /// Whether the program takes frames of several buffers (xdp.frags).
    pub fn has_frags(&self) -> bool {
        todo!()
    }

    /// Attaches the program to an interface.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Busy`] where the interface has another XDP program, which
    /// stays; [`ProgramError::Attach`] for all else.
    pub fn attach(&mut self, ifindex: u32, mode: AttachMode) -> Result<(), ProgramError> {
        let _ = (ifindex, mode);
        todo!()
    }

    /// Detaches the program. The maps stay as they are.
    pub fn detach(&mut self) {
        todo!()
    }

    /// Gives frames of live sessions that arrive on `queue` to an AF_XDP socket.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Map`].
    pub fn insert_socket(
        &mut self,
        queue: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<(), ProgramError> {
        let _ = (queue, socket);
        todo!()
    }

    /// Gives frames of live sessions on `queue` to the ring buffer again.
    pub fn remove_socket(&mut self, queue: u32) {
        let _ = queue;
        todo!()
    }

    /// Lets the frames of a session through.
    ///
    /// # Errors
    ///
    /// [`LinkError::SessionsFull`], and [`LinkError::Program`] where the kernel
    /// has no memory.
    pub fn insert_session(&mut self, key: SessionKey, dialect: Dialect) -> Result<(), LinkError> {
        let _ = (key, dialect);
        todo!()
    }

    /// Drops the frames of a session from here on.
    pub fn remove_session(&mut self, key: SessionKey) {
        let _ = key;
        todo!()
    }

    /// What became of every frame so far, indexed by [`Counter`].
    ///
    /// # Errors
    ///
    /// [`ProgramError::Map`].
    pub fn counters(&self) -> Result<[u64; Counter::COUNT], ProgramError> {
        todo!()
    }

    /// What to wait on for frames in the ring buffer.
    pub fn ring(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// What to wait on for the program's own messages; [`flush_log`](Self::flush_log)
    /// reads them.
    pub fn log(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// Passes the program's own messages on to the `log` crate.
    pub fn flush_log(&mut self) {
        todo!()
    }

    /// Hands up to `budget` frames of the ring buffer to `sink`, each from its
    /// Ethernet header on, and returns how many. Never blocks.
    pub fn drain(&mut self, budget: usize, sink: &mut dyn FnMut(&mut [u8])) -> usize {
        let _ = (budget, sink);
        todo!()
    }

    /// Runs the program once on `frame`, without an interface, as received on
    /// queue 0, and returns its XDP action and the frame behind it.
    ///
    /// # Errors
    ///
    /// The kernel's, as for a frame shorter than an Ethernet header.
    pub fn test_run(&self, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        let _ = frame;
        todo!()
    }
}
