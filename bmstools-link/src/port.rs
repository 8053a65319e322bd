//! What every link can do, whatever carries its frames.

use std::io;
use std::os::fd::BorrowedFd;

use bmstools_common::Mac;
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Peer;
use bmstools_common::header::Framing;
use bmstools_common::maps::{Rate, SessionKey};

/// Which way of moving frames to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The first that works of native XDP, generic XDP and AF_PACKET. Says which
    /// it chose and why the ones before it did not work.
    #[default]
    Auto,
    /// Native XDP and AF_XDP sockets.
    Xdp,
    /// Generic XDP and AF_XDP sockets.
    XdpGeneric,
    /// AF_PACKET.
    Packet,
}

/// How to open an interface.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interface's name. A bond stands for its slaves.
    pub interface: String,
    /// How to move frames.
    pub mode: Mode,
    /// Ask for zero-copy AF_XDP. Only on explicit request, or for drivers known
    /// to be sound: some corrupt memory. Where the driver has none, [`Mode::Auto`]
    /// has frames copied and says so; the other modes fail.
    pub zero_copy: bool,
    /// Limit on opens from one source address.
    pub opens_per_source: Rate,
    /// Limit on opens from all sources together.
    pub opens_global: Rate,
    /// Whether peers open sessions here. Where they do not, which is at an operator's
    /// end, AF_PACKET leaves opens, malformed frames and those of other operators' sessions
    /// alone without counting them, and so many operators on a host do not slow each other.
    pub accepts_opens: bool,
}

/// What a port is.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// The interface's name.
    pub interface: String,
    /// Its address: the source of what is sent, the destination of what is taken.
    pub mac: Mac,
    /// Bytes behind the Ethernet header that one frame carries at most, each way;
    /// with two tags fewer: [`Vlan::payload_room`](bmstools_common::Vlan::payload_room).
    pub mtu: usize,
    /// How frames move, for people: "native XDP, 4 queues, copy", "AF_PACKET".
    pub mode: String,
}

/// A frame that a [`Port::transmit`] callback wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Whom it is for.
    pub peer: Peer,
    /// Bytes written, from the bmstools header on.
    pub len: usize,
}

/// What became of every frame so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By verdict, indexed by [`Counter`].
    pub verdicts: [u64; Counter::COUNT],
    /// Frames lost after the verdict, because a socket's ring or buffer was full.
    pub socket_drops: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that could not be sent (refused by the kernel, and not tried again).
    pub send_errors: u64,
}

/// One network interface, in use.
///
/// Dropping a port stops it in order: sockets out of their map, program detached,
/// offloads restored, sockets closed.
pub trait Port: Send {
    /// What this port is.
    fn info(&self) -> &PortInfo;

    /// Hands up to a batch of received frames to `sink`, in order of arrival,
    /// each as its sender and its bytes from the bmstools header on, and returns
    /// how many. Never blocks.
    ///
    /// Only opens within the rate limits and frames of inserted sessions come up.
    ///
    /// # Errors
    ///
    /// Where the interface is gone or the socket is broken.
    fn receive(&mut self, sink: &mut dyn FnMut(Peer, &mut [u8])) -> io::Result<usize>;

    /// Lets `fill` write frames into the port's own buffers, one a call, until it
    /// returns `None`, a batch is full or the port has no room, and sends them.
    /// The buffer holds [`PortInfo::mtu`] bytes. Never blocks.
    ///
    /// Returns true where `fill` may have more to send.
    ///
    /// # Errors
    ///
    /// Where the interface is gone or the socket is broken. A full queue or a
    /// lost carrier is no error: the frame is lost, as on any wire, and counted.
    fn transmit(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>)
    -> io::Result<bool>;

    /// What to wait on for received frames.
    fn readable(&self) -> Vec<BorrowedFd<'_>>;

    /// Lets the frames of a session through. Returns once they are.
    ///
    /// # Errors
    ///
    /// Where the table of sessions is full.
    fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError>;

    /// Drops the frames of a session from here on. Unknown keys are ignored.
    fn remove_session(&mut self, key: SessionKey);

    /// What became of every frame so far.
    fn counters(&self) -> Counters;
}

/// Why a link cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No such interface.
    #[error("no interface {name}; there are {existing}")]
    NoInterface {
        /// The name asked for.
        name: String,
        /// The names there are.
        existing: String,
    },
    /// The interfaces could not be listed.
    #[error("listing the network interfaces failed: {0}")]
    Interfaces(#[source] io::Error),
    /// The interface is there but cannot carry frames, or not in this mode.
    #[error("cannot use {interface}: {reason}")]
    Unusable {
        /// The interface's name.
        interface: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The table of sessions is full.
    #[error("the table of sessions is full ({0})")]
    SessionsFull(u32),
    /// The XDP program cannot be used.
    #[error(transparent)]
    Program(#[from] crate::program::ProgramError),
}

impl LinkError {
    pub(crate) fn unusable(interface: &str, reason: impl Into<String>) -> Self {
        Self::Unusable { interface: interface.into(), reason: reason.into() }
    }
}
