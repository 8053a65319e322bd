//! Virtual Ethernet pairs.

use anyhow::{Context, Result};
use bmstools_common::Mac;

use crate::command;
use crate::namespace::Namespace;

/// The name of the interface in every namespace that has one.
pub const NAME: &str = "eth0";

/// How to make a pair.
#[derive(Clone, Copy, Debug)]
pub struct PairOptions {
    /// Bytes behind the Ethernet header, both ends.
    pub mtu: u32,
    /// Receiving and sending queues, both ends.
    pub queues: u32,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self { mtu: 1500, queues: 1 }
    }
}

/// One end of a pair: its namespace, its name and its address.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// The interface's name.
    pub name: &'a str,
    /// Its address.
    pub mac: Mac,
}

/// Connects two namespaces. Every frame on the link is a frame: no segmentation
/// offload, no IP address.
///
/// # Errors
///
/// Where `ip` or `ethtool` fails.
pub fn connect(a: End<'_>, b: End<'_>, options: PairOptions) -> Result<()> {
    let PairOptions { mtu, queues } = options;
    let queues = format!("numtxqueues {queues} numrxqueues {queues}");
    a.namespace.ip(&format!(
        "link add {} mtu {mtu} address {} {queues} type veth \
         peer name {} mtu {mtu} address {} {queues} netns {}",
        a.name,
        a.mac,
        b.name,
        b.mac,
        b.namespace.name(),
    ))?;
    for end in [a, b] {
        let mut ethtool = end.namespace.command("ethtool");
        ethtool.args(["-K", end.name, "tso", "off", "gso", "off"]);
        command::output(&mut ethtool, &format!("ethtool -K {} tso off gso off", end.name))?;
        end.namespace.ip(&format!("link set {} up", end.name))?;
    }
    Ok(())
}

/// Gives the interface's NAPI a kernel thread, so that the receiver's kernel
/// work is not done on the sender's core. Turns GRO on, without which and without
/// XDP a veth pair has no NAPI.
///
/// # Errors
///
/// Where the kernel does not offer it.
pub fn thread_napi(namespace: &Namespace, name: &str) -> Result<()> {
    let line = format!("ethtool -K {name} gro on && echo 1 > /sys/class/net/{name}/threaded");
    let mut shell = namespace.command("sh");
    shell.args(["-c", &line]);
    command::output(&mut shell, &line).map(drop)
}

/// What the interface's own counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received.
    pub received: u64,
    /// Frames that found no room.
    pub receive_drops: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that found no room at the other end.
    pub send_drops: u64,
}

/// Reads the interface's counters.
///
/// # Errors
///
/// Where there is no such interface.
pub fn statistics(namespace: &Namespace, name: &str) -> Result<Statistics> {
    let json = namespace.ip(&format!("-s -j link show dev {name}"))?;
    let parsed: serde_json::Value = serde_json::from_str(&json)?;
    let field = |direction: &str, field: &str| {
        parsed[0]["stats64"][direction][field]
            .as_u64()
            .with_context(|| format!("ip says nothing of {direction} {field}"))
    };
    Ok(Statistics {
        received: field("rx", "packets")?,
        receive_drops: field("rx", "dropped")?,
        sent: field("tx", "packets")?,
        send_drops: field("tx", "dropped")?,
    })
}

/// Whether any XDP program is attached to the interface.
///
/// # Errors
///
/// Where there is no such interface.
pub fn has_xdp_program(namespace: &Namespace, name: &str) -> Result<bool> {
    let json = namespace.ip(&format!("-d -j link show dev {name}"))?;
    let parsed: serde_json::Value = serde_json::from_str(&json)?;
    Ok(parsed[0].get("xdp").is_some())
}
