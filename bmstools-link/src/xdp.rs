//! A port over XDP: the program sorts frames in the kernel, AF_XDP sockets carry
//! those of sessions, one a receive queue, and a ring buffer carries the rest.

mod level;
mod queue;
mod sizes;
mod transmit;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bmstools_common::ethernet::{Header, Peer};
use bmstools_common::header::Framing;
use bmstools_common::maps::{Config, SOCKETS_CAPACITY, SessionKey};

use self::queue::{CopyMode, Queue, QueueError};
use self::sizes::Sizes;
use crate::ethtool::Ethtool;
use crate::frame::MAX_PAYLOAD;
use crate::interface::{Interface, Monitor};
use crate::offload::{Offloads, VLAN_FILTERS_AND_STRIPPING};
use crate::port::{Counters, LinkError, Outgoing, Port, PortInfo};
use crate::program::{AttachMode, Program};

/// An interface used through XDP.
///
/// The fields are in the order in which they must go, once `drop` has detached the
/// program: offloads restored, sockets closed, maps freed.
pub(crate) struct XdpPort {
    info: PortInfo,
    _offloads: Offloads,
    /// One a receive queue, in their order. The first one also sends.
    queues: Vec<Queue>,
    /// Sessions of version 1, whose senders expect room for more frames than needed.
    v1_sessions: HashSet<SessionKey>,
    program: Program,
    monitor: Monitor,
}

impl XdpPort {
    /// Attaches the program to `interface` and opens a socket on each of its
    /// queues.
    pub(crate) fn open(
        interface: &Interface,
        config: Config,
        mode: AttachMode,
        zero_copy: bool,
    ) -> Result<Self, LinkError> {
        let monitor = Monitor::new(interface).map_err(LinkError::Interfaces)?;
        let mut program = Program::load(&config)?;
        program.attach(interface.index, mode)?;
        let offloads = Offloads::turn_off(interface, VLAN_FILTERS_AND_STRIPPING);
        let copy = if zero_copy { CopyMode::Never } else { CopyMode::Always };
        let mut port = Self {
            info: PortInfo {
                interface: interface.name.clone(),
                mac: config.local,
                mtu: interface.mtu.min(MAX_PAYLOAD),
                mode: String::new(),
            },
            _offloads: offloads,
            queues: Vec::new(),
            v1_sessions: HashSet::new(),
            program,
            monitor,
        };
        port.open_queues(interface, copy)?;
        port.info.mode = port.describe(mode, copy);
        Ok(port)
    }

    fn open_queues(&mut self, interface: &Interface, copy: CopyMode) -> Result<(), LinkError> {
        let count = receive_queues(interface);
        for index in 0..count {
            let sizes = Sizes::of_queue(index, count);
            let queue = match Queue::open(interface, index, &sizes, copy) {
                Ok(queue) => queue,
                // The count is a guess where the driver does not tell it.
                Err(QueueError::NoSuchQueue) if index > 0 => break,
                Err(error) => return Err(LinkError::unusable(&interface.name, error.to_string())),
            };
            self.program.insert_socket(index, queue.as_fd())?;
            self.queues.push(queue);
        }
        Ok(())
    }

    fn make_room(&mut self) {
        let all = !self.v1_sessions.is_empty();
        self.queues.iter_mut().for_each(|queue| queue.keep_all(all));
    }

    fn describe(&self, mode: AttachMode, copy: CopyMode) -> String {
        let mode = match mode {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
        };
        let queues = match self.queues.len() {
            1 => "1 queue".into(),
            count => format!("{count} queues"),
        };
        let copy = match copy {
            CopyMode::Always => "copy",
            CopyMode::Never => "zero-copy",
        };
        format!("{mode} XDP, {queues}, {copy}")
    }
}

impl Port for XdpPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Peer, &mut [u8])) -> io::Result<usize> {
        let mut handed_up = 0;
        let mut hand_up = |frame: &mut [u8]| {
            // Both are the program's own choice of frames: all have this header.
            let Some(header) = Header::parse(&*frame) else { return };
            let peer = Peer { mac: header.source, vlan: header.vlan };
            sink(peer, &mut frame[header.len()..]);
            handed_up += 1;
        };
        for queue in &mut self.queues {
            queue.receive(&mut hand_up)?;
        }
        self.program.drain(RING_BATCH, &mut hand_up);
        self.program.flush_log();
        if handed_up == 0 {
            self.monitor.check()?;
        }
        Ok(handed_up)
    }

    fn transmit(
        &mut self,
        fill: &mut dyn FnMut(&mut [u8]) -> Option<Outgoing>,
    ) -> io::Result<bool> {
        match self.queues.first_mut() {
            Some(queue) => queue.transmit(&self.info, fill),
            None => Ok(false),
        }
    }

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.queues.iter().map(Queue::as_fd);
        let others = [self.program.ring(), self.program.log(), self.monitor.as_fd()];
        sockets.chain(others).collect()
    }

    fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError> {
        self.program.insert_session(key, framing)?;
        if framing != Framing::V2 && self.v1_sessions.insert(key) {
            self.make_room();
        }
        Ok(())
    }

    fn remove_session(&mut self, key: SessionKey) {
        self.program.remove_session(key);
        if self.v1_sessions.remove(&key) {
            self.make_room();
        }
    }

    fn counters(&self) -> Counters {
        let verdicts = self.program.counters().unwrap_or_else(|error| {
            tracing::warn!(interface = self.info.interface, %error, "no counters");
            Default::default()
        });
        let sent = self.queues.iter().map(Queue::sent).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        Counters {
            verdicts,
            socket_drops: self.queues.iter().map(Queue::drops).sum(),
            sent: sent.0,
            send_errors: sent.1,
        }
    }
}

impl Drop for XdpPort {
    fn drop(&mut self) {
        for queue in &self.queues {
            self.program.remove_socket(queue.index());
        }
        self.program.detach();
    }
}

/// How many receive queues the interface has in use.
fn receive_queues(interface: &Interface) -> u32 {
    let told = Ethtool::open(&interface.name).and_then(|ethtool| ethtool.receive_queues());
    let count = match told {
        Ok(count) if count > 0 => count,
        _ => interface.receive_queues,
    };
    count.clamp(1, SOCKETS_CAPACITY)
}

/// Frames of the ring buffer that one call takes.
const RING_BATCH: usize = 64;
