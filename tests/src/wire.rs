//! Frames of both v1 dialects, made and read by hand.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bmstools_common::ethernet::{self, Peer};
use bmstools_common::header::{DeployedFields, Dialect, V1Header, ptype};
use bmstools_common::{Mac, Vlan};
use bmstools_link::{RawOptions, RawSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::nic::End;

/// One bmstools frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The shared header.
    pub header: V1Header,
    /// What follows the dialect's header; in the documented dialect with the
    /// link's padding, if any.
    pub data: Vec<u8>,
}

impl Frame {
    /// A frame that is its message's only one.
    pub fn single(ptype: u8, keys: Keys, sequence: u32, data: &[u8]) -> Self {
        let Keys { own, peer } = keys;
        let header = V1Header { ptype, srckey: own, dstkey: peer, sequence, count: 1, offset: 0 };
        Self { header, data: data.to_vec() }
    }

    /// The acknowledgement of this frame, which was sent to `own`.
    pub fn ack(&self, own: u16) -> Self {
        let header =
            V1Header { ptype: ptype::ACK, srckey: own, dstkey: self.header.srckey, ..self.header };
        Self { header, data: Vec::new() }
    }

    /// Its bytes on the wire.
    pub fn to_bytes(&self, from: Mac, to: Peer, dialect: Dialect) -> Vec<u8> {
        let header = ethernet::Header { destination: to.mac, source: from, vlan: to.vlan };
        let mut bytes = vec![0; header.len()];
        header.emit(&mut bytes);
        bytes.extend_from_slice(&self.header.emit());
        if dialect == Dialect::V1Deployed {
            let vlan = u32::from(to.vlan.id().unwrap_or(0));
            let data_len = self.data.len() as u16;
            bytes.extend_from_slice(&DeployedFields { vlan, data_len }.emit());
        }
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// Reads a frame; `None` where it is another protocol's or malformed.
    pub fn parse(bytes: &[u8], dialect: Dialect) -> Option<(ethernet::Header, Self)> {
        let outer = ethernet::Header::parse(bytes)?;
        let header = V1Header::parse(bytes, outer.len()).ok()?;
        let data = bytes.get(outer.len() + dialect.header_len()..)?;
        let data = match dialect {
            Dialect::V1 => data,
            Dialect::V1Deployed => {
                let fields = DeployedFields::parse(bytes, outer.len()).ok()?;
                data.get(..usize::from(fields.data_len))?
            }
        };
        Some((outer, Self { header, data: data.to_vec() }))
    }
}

/// The session keys of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The sender's.
    pub own: u16,
    /// The receiver's.
    pub peer: u16,
}

/// A control message: its type, the length of its data, its data.
pub fn control(ctype: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![ctype];
    message.extend_from_slice(&(data.len() as u32).to_be_bytes());
    message.extend_from_slice(data);
    message
}

/// Control types.
pub mod ctype {
    /// Authenticate.
    pub const AUTH: u8 = 0;
    /// Run a command.
    pub const EXEC: u8 = 1;
    /// Begin a file.
    pub const FILE: u8 = 2;
}

/// An interface of a namespace, frame by frame.
#[derive(Debug)]
pub struct Tap {
    socket: RawSocket,
    /// The interface's address.
    pub mac: Mac,
}

impl Tap {
    /// Opens the interface, with the receive buffer that any program gets.
    ///
    /// # Errors
    ///
    /// Where there is no such interface.
    pub fn open(end: End<'_>) -> Result<Self> {
        Self::with(end, &RawOptions::default())
    }

    /// Opens the interface for frames to whomever, with room for many.
    ///
    /// # Errors
    ///
    /// Where there is no such interface.
    pub fn promiscuous(end: End<'_>) -> Result<Self> {
        let receive_buffer = Some(RELAY_BUFFER);
        Self::with(end, &RawOptions { promiscuous: true, receive_buffer, ..RawOptions::default() })
    }

    fn with(end: End<'_>, options: &RawOptions) -> Result<Self> {
        let socket = end
            .namespace
            .enter(|| RawSocket::open_with(end.name, options))?
            .with_context(|| format!("cannot open {} frame by frame", end.name))?;
        Ok(Self { socket, mac: end.mac })
    }

    /// Sends these bytes as one frame, once there is room for it.
    ///
    /// # Errors
    ///
    /// Where the interface is gone.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_all(&[bytes])
    }

    /// Sends frames in this order, each once there is room for it.
    ///
    /// # Errors
    ///
    /// Where the interface is gone, or has no room for long.
    pub fn send_all<F: AsRef<[u8]>>(&self, mut frames: &[F]) -> Result<()> {
        let mut turned_away = 0;
        while !frames.is_empty() {
            match self.socket.send_batch(frames) {
                Ok(sent) => {
                    frames = &frames[sent..];
                    turned_away = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_writable()?,
                // The interface has no room. Nothing tells when it has.
                Err(error)
                    if Errno::from_io_error(&error) == Some(Errno::NOBUFS)
                        && turned_away < MOST_TURNED_AWAY =>
                {
                    turned_away += 1;
                    thread::sleep(ROOM_TURN);
                }
                Err(error) => return Err(error).context("cannot send a frame"),
            }
        }
        Ok(())
    }

    fn wait_writable(&self) -> Result<()> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::OUT)];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for room"),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// As [`send_bytes`](Self::send_bytes).
    pub fn send(&self, frame: &Frame, to: Peer, dialect: Dialect) -> Result<()> {
        self.send_bytes(&frame.to_bytes(self.mac, to, dialect))
    }

    /// The next frame of any protocol that arrives before `deadline`, with its
    /// VLAN tags in place.
    ///
    /// # Errors
    ///
    /// Where the interface is gone.
    pub fn receive_bytes(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; MAX_FRAME];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(frame) => return Ok(Some(frame.to_vec())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot receive"),
            }
            let Some(rest) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(None);
            };
            wait_readable(&[self.socket.as_fd()], rest)?;
        }
    }

    /// The next frame of ours for this interface that arrives before `deadline`.
    ///
    /// # Errors
    ///
    /// As [`receive_bytes`](Self::receive_bytes).
    pub fn receive(&self, dialect: Dialect, deadline: Instant) -> Result<Option<(Peer, Frame)>> {
        while let Some(bytes) = self.receive_bytes(deadline)? {
            match Frame::parse(&bytes, dialect) {
                Some((outer, frame)) if outer.destination == self.mac => {
                    return Ok(Some((Peer { mac: outer.source, vlan: outer.vlan }, frame)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits until one of the sockets has something, at most `limit`.
///
/// # Errors
///
/// Where the kernel refuses.
pub fn wait_readable(sockets: &[BorrowedFd<'_>], limit: Duration) -> Result<()> {
    let mut polled: Vec<_> =
        sockets.iter().map(|socket| PollFd::from_borrowed_fd(*socket, PollFlags::IN)).collect();
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs())?,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for frames"),
    }
}

/// The peer behind an address, on this VLAN or on none.
///
/// # Errors
///
/// Where the VLAN identifier is over 4095.
pub fn peer(mac: Mac, vlan: Option<u16>) -> Result<Peer> {
    let vlan = match vlan {
        None => Vlan::NONE,
        Some(id) => Vlan::tagged(id).context("no such VLAN")?,
    };
    Ok(Peer { mac, vlan })
}

/// The longest frame that any test sends.
const MAX_FRAME: usize = 9216;
/// Bytes of a relay's receive buffer: it loses frames only where it means to.
const RELAY_BUFFER: usize = 8 << 20;
/// About what a receiver needs to make room for some frames.
const ROOM_TURN: Duration = Duration::from_micros(100);
/// Tries before an interface without room is an error: seconds, where a turn takes no longer.
const MOST_TURNED_AWAY: u32 = 50_000;
