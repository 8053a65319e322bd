//! Notices that an interface goes away or changes: an AF_XDP socket does not tell.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bmstools_common::Mac;
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
    /// What the port was opened with. The address is `None` where it is not to be
    /// followed: a bond changes those of its slaves as it likes.
    mac: Option<Mac>,
    mtu: usize,
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
            mac: interface.master.is_none().then_some(interface.mac),
            mtu: interface.mtu,
        })
    }

    /// Takes the changes so far, and fails where the interface is gone or another
    /// than the one that was opened: it has a new address, or takes no frames of
    /// the length that peers were promised.
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
        let (up, mac, mtu) = match change {
            Change::Removed => return Err(self.gone()),
            Change::State { up, mac, mtu } => (up, mac, mtu),
        };
        if let (Some(before), Some(after)) = (self.mac, mac)
            && before != after
        {
            return Err(self.changed(format_args!("address changed from {before} to {after}")));
        }
        if let Some(mtu) = mtu
            && mtu < self.mtu
        {
            return Err(self.changed(format_args!("MTU fell from {} to {mtu}", self.mtu)));
        }
        if up != self.up.replace(up) {
            if up {
                tracing::info!("{} is up again", self.name);
            } else {
                tracing::warn!("{} is down: nothing is received or sent", self.name);
            }
        }
        Ok(())
    }

    fn changed(&self, what: fmt::Arguments<'_>) -> io::Error {
        io::Error::other(format!("{}'s {what}; start again to use it so", self.name))
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
