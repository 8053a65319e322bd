//! What the kernel knows about network interfaces.

mod monitor;
mod netlink;

use std::io;

use bmstools_common::Mac;

pub(crate) use self::monitor::Monitor;
use crate::port::LinkError;

/// A network interface of the calling thread's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    /// The address in use. A bond's slaves have the bond's.
    pub(crate) mac: Mac,
    /// Bytes behind the Ethernet header.
    pub(crate) mtu: usize,
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// Whether frames have an Ethernet header here.
    pub(crate) ethernet: bool,
    /// The driver's kind for virtual interfaces: "veth", "bond", "vlan".
    pub(crate) kind: Option<String>,
    /// The bond or bridge that it belongs to.
    pub(crate) master: Option<u32>,
    /// The interface below it, for those that stand on another.
    pub(crate) lower: Option<u32>,
    /// Receive queues that the driver made room for; fewer may be in use.
    pub(crate) receive_queues: u32,
}

impl Interface {
    /// The interface with this name.
    pub(crate) fn find(name: &str) -> Result<Self, LinkError> {
        let all = Self::all().map_err(LinkError::Interfaces)?;
        match all.iter().find(|interface| interface.name == name) {
            Some(interface) => Ok(interface.clone()),
            None => Err(LinkError::NoInterface {
                name: name.into(),
                existing: all.into_iter().map(|i| i.name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Every interface.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        netlink::links()
    }

    /// The slaves of this bond.
    pub(crate) fn slaves(&self) -> io::Result<Vec<Self>> {
        let mut all = Self::all()?;
        all.retain(|interface| interface.master == Some(self.index));
        Ok(all)
    }

    /// Whether the interface with this index is still there.
    pub(crate) fn exists(index: u32) -> bool {
        Self::all().is_ok_and(|all| all.iter().any(|interface| interface.index == index))
    }

    pub(crate) fn is_bond(&self) -> bool {
        self.kind.as_deref() == Some("bond")
    }

    pub(crate) fn is_vlan(&self) -> bool {
        self.kind.as_deref() == Some("vlan")
    }
}
