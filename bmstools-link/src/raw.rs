//! A packet socket for whole frames.

mod batch;
pub(crate) mod classic;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

pub(crate) use self::batch::Received;
use crate::interface::Interface;
use crate::sys;

/// What a [`RawSocket`] receives, and how it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOptions {
    /// Only frames whose ethertype, behind at most two VLAN tags, is this one.
    /// `None` takes every frame.
    pub ethertype: Option<u16>,
    /// Also takes frames that are addressed to others.
    pub promiscuous: bool,
    /// Does not take the frames that this host sends.
    pub ignore_outgoing: bool,
    /// Hands frames straight to the driver, past the queueing discipline. A frame
    /// that the driver has no room for is then lost at once.
    pub bypass_queue: bool,
    /// Bytes of the receive buffer, as the kernel counts them; `None` keeps the
    /// system's default.
    pub receive_buffer: Option<usize>,
    /// Bytes of the send buffer, as the kernel counts them; `None` keeps the
    /// system's default. A large one overruns the rings of virtual links.
    pub send_buffer: Option<usize>,
}

impl Default for RawOptions {
    fn default() -> Self {
        Self {
            ethertype: None,
            promiscuous: false,
            ignore_outgoing: true,
            bypass_queue: false,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// A packet socket (`AF_PACKET`, packet(7)) on one interface: whole frames in and
/// out, from the Ethernet header on, VLAN tags included.
///
/// The kernel takes the outermost VLAN tag out of a received frame; it is put
/// back before the frame is handed up. No call blocks but
/// [`recv_timeout`](Self::recv_timeout).
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
}

impl RawSocket {
    /// Opens a socket on `interface` with the default [`RawOptions`]: every frame
    /// that arrives for this host, none that it sends.
    ///
    /// # Errors
    ///
    /// Where there is no such interface, or the process may not (`CAP_NET_RAW`).
    pub fn open(interface: &str) -> io::Result<Self> {
        Self::open_with(interface, &RawOptions::default())
    }

    /// Opens a socket on `interface`.
    ///
    /// # Errors
    ///
    /// Where there is no such interface, or the process may not (`CAP_NET_RAW`;
    /// buffers over the system's limits need `CAP_NET_ADMIN`).
    pub fn open_with(interface: &str, options: &RawOptions) -> io::Result<Self> {
        let ifindex = Interface::find(interface).map_err(io::Error::other)?.index;
        let filter = options.ethertype.map(classic::ethertype);
        Self::open_filtered(ifindex, options, filter.as_deref())
    }

    /// Opens a socket whose frames all pass `filter`.
    pub(crate) fn open_filtered(
        ifindex: u32,
        options: &RawOptions,
        filter: Option<&[libc::sock_filter]>,
    ) -> io::Result<Self> {
        // Without a protocol nothing is received until the filter stands and the
        // socket is bound.
        let fd = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let socket = Self { fd };
        socket.set(libc::PACKET_AUXDATA, true)?;
        if options.ignore_outgoing {
            socket.set(libc::PACKET_IGNORE_OUTGOING, true)?;
        }
        if options.bypass_queue {
            socket.set(libc::PACKET_QDISC_BYPASS, true)?;
        }
        if let Some(bytes) = options.receive_buffer {
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket.fd, bytes)?;
        }
        if let Some(bytes) = options.send_buffer {
            rustix::net::sockopt::set_socket_send_buffer_size_force(&socket.fd, bytes)?;
        }
        if let Some(filter) = filter {
            sys::set_filter(socket.as_fd(), filter)?;
        }
        // All protocols: a socket bound to one does not see frames of a VLAN that
        // has a device of its own.
        sys::bind_packet(socket.as_fd(), ifindex, libc::ETH_P_ALL as u16)?;
        if options.promiscuous {
            join_promiscuous(socket.as_fd(), ifindex)?;
        }
        Ok(socket)
    }

    fn set(&self, name: i32, value: bool) -> io::Result<()> {
        sys::set_option(self.as_fd(), libc::SOL_PACKET, name, &i32::from(value))
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where the send buffer is full, `ENOBUFS`
    /// where the frame was dropped at a full queue, `EMSGSIZE` where it is longer
    /// than the interface takes, `ENETDOWN` where the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, rustix::net::SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// Sends frames in order, 64 a system call, until one is refused, and returns
    /// how many were taken. Sending the refused one again gives the reason.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), where not even the first frame was taken.
    pub fn send_batch<F: AsRef<[u8]>>(&self, frames: &[F]) -> io::Result<usize> {
        batch::send(self.as_fd(), frames)
    }

    /// Receives one frame into `buffer` and returns it. A frame longer than
    /// `buffer`, less the 4 bytes that a VLAN tag needs, is cut off.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where there is none, `ENETDOWN` once after
    /// the interface went down.
    pub fn recv<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b mut [u8]> {
        batch::receive_one(self.as_fd(), buffer)
    }

    /// As [`recv`](Self::recv), but waits for a frame for as long as `timeout`,
    /// and returns `None` where none came.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub fn recv_timeout<'b>(
        &self,
        buffer: &'b mut [u8],
        timeout: Duration,
    ) -> io::Result<Option<&'b mut [u8]>> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut waited = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut waited, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match self.recv(buffer) {
            Ok(frame) => Ok(Some(frame)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Frames that the kernel dropped since the last call because the receive
    /// buffer was full.
    ///
    /// # Errors
    ///
    /// None that a working socket gives.
    pub fn take_drops(&self) -> io::Result<u64> {
        let stats: libc::tpacket_stats =
            sys::option(self.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        Ok(u64::from(stats.tp_drops))
    }
}

/// Has an interface receive frames for any address and VLAN for as long as the
/// returned socket is open, which itself receives nothing.
pub(crate) fn promiscuous(ifindex: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    join_promiscuous(socket.as_fd(), ifindex)?;
    Ok(socket)
}

fn join_promiscuous(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: ifindex as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    sys::set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
