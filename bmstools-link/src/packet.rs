//! A port over AF_PACKET: works everywhere, at the cost of a copy and a socket
//! buffer for each frame.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bmstools_common::counters::Counter;
use bmstools_common::ethernet::{MAX_HEADER_LEN, Peer};
use bmstools_common::header::Framing;
use bmstools_common::maps::{Config, SessionKey};

use crate::filter::Filter;
use crate::frame::{MAX_PAYLOAD, emit_header};
use crate::interface::{Interface, Monitor};
use crate::offload::{Offloads, VLAN_FILTERS};
use crate::port::{Counters, LinkError, Outgoing, Port, PortInfo};
use crate::raw::{RawOptions, RawSocket, Received, classic};
use crate::sys;

/// An interface used through packet sockets.
pub(crate) struct PacketPort {
    info: PortInfo,
    monitor: Monitor,
    filter: Filter,
    sockets: Sockets,
    /// Whose frames alone `sessions` receives; `None` for everybody's.
    receives: Option<BTreeSet<u16>>,
    accepts_opens: bool,
    received: Received,
    outbox: Outbox,
    drops: Cell<u64>,
    sent: u64,
    send_errors: u64,
    _offloads: Offloads,
}

struct Sockets {
    /// Frames that look like those of sessions; also sends.
    sessions: RawSocket,
    /// Opens and malformed frames, where opens are accepted: a flood of them fills only
    /// this one's buffer. Nobody else needs it, and the kernel takes a while to close one.
    rest: Option<RawSocket>,
}

impl Sockets {
    fn iter(&self) -> impl Iterator<Item = &RawSocket> {
        std::iter::once(&self.sessions).chain(&self.rest)
    }
}

impl PacketPort {
    pub(crate) fn open(
        interface: &Interface,
        config: Config,
        accepts_opens: bool,
    ) -> Result<Self, LinkError> {
        let socket = |filter: &[libc::sock_filter], receive_buffer| {
            let options = RawOptions {
                bypass_queue: true,
                receive_buffer: Some(receive_buffer),
                ..RawOptions::default()
            };
            RawSocket::open_filtered(interface.index, &options, Some(filter)).map_err(|error| {
                let reason = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "packet sockets need root, or CAP_NET_RAW and CAP_NET_ADMIN".into()
                    }
                    _ => format!("no packet socket: {error}"),
                };
                LinkError::unusable(&interface.name, reason)
            })
        };
        let receives = (!accepts_opens).then(BTreeSet::new);
        let sessions = socket(&classic::sessions(receives.as_ref()), SESSIONS_BUFFER)?;
        let rest = accepts_opens.then(|| socket(&classic::rest(), REST_BUFFER)).transpose()?;
        let mtu = interface.mtu.min(MAX_PAYLOAD);
        let longest = interface.mtu.clamp(MAX_PAYLOAD, LONGEST_RECEIVED);
        Ok(Self {
            info: PortInfo {
                interface: interface.name.clone(),
                mac: config.local,
                mtu,
                mode: "AF_PACKET".into(),
            },
            monitor: Monitor::new(interface).map_err(LinkError::Interfaces)?,
            filter: Filter::new(config),
            sockets: Sockets { sessions, rest },
            receives,
            accepts_opens,
            received: Received::new(MAX_HEADER_LEN + longest),
            outbox: Outbox::new(mtu),
            drops: Cell::new(0),
            sent: 0,
            send_errors: 0,
            _offloads: Offloads::turn_off(interface, VLAN_FILTERS),
        })
    }

    /// Sends what waits in the outbox. Returns false where the socket has no room
    /// for all of it.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.outbox.waiting().is_empty() {
            match self.sockets.sessions.send_batch(self.outbox.waiting()) {
                Ok(count) => {
                    self.outbox.pop(count);
                    self.sent += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Err(error),
                Err(error) => {
                    tracing::trace!(interface = self.info.interface, %error, "frame not sent");
                    self.outbox.pop(1);
                    self.send_errors += 1;
                }
            }
        }
        Ok(true)
    }

    /// Has the kernel give the session socket the frames of the sessions there are,
    /// where these are few and nobody opens more.
    fn narrow(&mut self) -> io::Result<()> {
        if self.accepts_opens {
            return Ok(());
        }
        let keys = self.filter.keys();
        let wanted = (keys.len() <= classic::MAX_KEYS).then_some(keys);
        if wanted != self.receives {
            let program = classic::sessions(wanted.as_ref());
            sys::set_filter(self.sockets.sessions.as_fd(), &program)?;
            self.receives = wanted;
        }
        Ok(())
    }

    fn take_drops(&self) {
        for socket in self.sockets.iter() {
            self.drops.set(self.drops.get() + socket.take_drops().unwrap_or_default());
        }
    }
}

impl Port for PacketPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Peer, &mut [u8])) -> io::Result<usize> {
        let now = self.filter.now_ns();
        let mut handed_up = 0;
        for socket in self.sockets.iter() {
            if let Err(error) = self.received.receive(socket.as_fd()) {
                // An interface that goes down says so once and may come back.
                if error.raw_os_error() == Some(libc::ENETDOWN) {
                    continue;
                }
                return Err(error);
            }
            for (frame, truncated) in self.received.frames() {
                if truncated {
                    self.filter.count(Counter::TooLong);
                } else if let Some((peer, header_at)) = self.filter.admit(frame, now) {
                    sink(peer, &mut frame[header_at..]);
                    handed_up += 1;
                }
            }
        }
        if handed_up == 0 {
            self.monitor.check()?;
        }
        Ok(handed_up)
    }

    fn transmit(
        &mut self,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
    ) -> io::Result<bool> {
        if !self.flush()? {
            return Ok(true);
        }
        let more = self.outbox.fill(self.info.mac, fill);
        Ok(!self.flush()? || more)
    }

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.sockets.iter().map(RawSocket::as_fd);
        sockets.chain([self.monitor.as_fd()]).collect()
    }

    fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError> {
        self.filter.insert_session(key, framing)?;
        self.narrow().map_err(|error| {
            let reason = format!("its packet socket takes no filter: {error}");
            LinkError::unusable(&self.info.interface, reason)
        })
    }

    fn remove_session(&mut self, key: SessionKey) {
        self.filter.remove_session(key);
        // What comes up without need is dropped by the filter here.
        let _ = self.narrow();
    }

    fn counters(&self) -> Counters {
        self.take_drops();
        Counters {
            verdicts: self.filter.counters(),
            socket_drops: self.drops.get(),
            sent: self.sent,
            send_errors: self.send_errors,
        }
    }
}

/// Frames written, and those of them that the socket has not taken yet.
struct Outbox {
    slots: Vec<Slot>,
    first: usize,
    end: usize,
}

/// One frame's buffer. The payload lies at [`MAX_HEADER_LEN`], the Ethernet header
/// before it.
struct Slot {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl Outbox {
    fn new(mtu: usize) -> Self {
        let slot = || Slot { bytes: vec![0; MAX_HEADER_LEN + mtu], start: 0, end: 0 };
        Self { slots: std::iter::repeat_with(slot).take(SEND_BATCH).collect(), first: 0, end: 0 }
    }

    fn waiting(&self) -> &[Slot] {
        &self.slots[self.first..self.end]
    }

    fn pop(&mut self, count: usize) {
        self.first += count;
    }

    /// Fills the empty outbox and returns whether there may be more to send.
    fn fill(
        &mut self,
        source: bmstools_common::Mac,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
    ) -> bool {
        self.first = 0;
        self.end = 0;
        for slot in &mut self.slots {
            let Some(outgoing) = fill(&mut slot.bytes[MAX_HEADER_LEN..]) else {
                return false;
            };
            slot.start = emit_header(&mut slot.bytes, source, outgoing.peer);
            slot.end = slot.bytes.len().min(MAX_HEADER_LEN + outgoing.len);
            self.end += 1;
        }
        true
    }
}

/// Whether a socket's error means that its interface is no more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV | libc::EBADF))
}

/// Kernel memory for frames of sessions. The kernel doubles it and counts about
/// 2300 bytes for a frame of 1514: some 7000 frames.
const SESSIONS_BUFFER: usize = 8 << 20;
/// Kernel memory for all other frames: some 600 opens.
const REST_BUFFER: usize = 256 << 10;
/// Bytes behind the Ethernet header that are received at most: a jumbo frame.
const LONGEST_RECEIVED: usize = 9216;
/// Frames of one call.
const SEND_BATCH: usize = 64;
