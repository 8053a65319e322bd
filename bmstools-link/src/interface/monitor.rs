//! Notices that an interface goes away: an AF_XDP socket does not tell.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::Interface;
use super::netlink::{Change, changes};

/// Follows one interface's state (rtnetlink(7), group `RTMGRP_LINK`).
pub(crate) struct Monitor {
    socket: OwnedFd,
    name: String,
    index: u32,
    up: Cell<bool>,
}

impl Monitor {
    pub(crate) fn new(interface: &Interface) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, libc::RTMGRP_LINK as u32))?;
        Ok(Self {
            socket,
            name: interface.name.clone(),
            index: interface.index,
            up: Cell::new(interface.up),
        })
    }

    /// Takes the changes so far, and fails where the interface is gone.
    pub(crate) fn check(&self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((len, _)) => {
                    for change in changes(buffer.get(..len).unwrap_or_default(), self.index) {
                        self.take(change)?;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                // Some changes were lost: look.
                Err(Errno::NOBUFS) if Interface::exists(self.index) => {}
                Err(Errno::NOBUFS) => return Err(self.gone()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&self, change: Change) -> io::Result<()> {
        match change {
            Change::Removed => return Err(self.gone()),
            Change::State { up } if up != self.up.replace(up) => {
                if up {
                    tracing::info!("{} is up again", self.name);
                } else {
                    tracing::warn!("{} is down: nothing is received or sent", self.name);
                }
            }
            Change::State { .. } => {}
        }
        Ok(())
    }

    fn gone(&self) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("the interface {} is gone", self.name))
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
