//! From an interface's name to its ports.

use bmstools_common::ethernet::MIN_MTU;
use bmstools_common::maps::Config;

use crate::interface::Interface;
use crate::packet::PacketPort;
use crate::port::{LinkError, Mode, Options, Port};
use crate::program::AttachMode;
use crate::xdp::XdpPort;

/// Opens the interface's ports: one, or one a slave for a bond.
///
/// # Errors
///
/// Where the interface is missing, or the mode asked for does not work there: the
/// error says why and what to do. Only [`Mode::Auto`] falls back to another.
pub fn open(options: &Options) -> Result<Vec<Box<dyn Port>>, LinkError> {
    let interface = find(&options.interface)?;
    if !interface.is_bond() {
        return Ok(vec![open_one(&interface, options)?]);
    }
    let slaves = interface.slaves().map_err(LinkError::Interfaces)?;
    let (slaves, down): (Vec<_>, Vec<_>) = slaves.into_iter().partition(|slave| slave.up);
    for slave in down {
        tracing::warn!("{} of the bond {} is down and not used", slave.name, interface.name);
    }
    if slaves.is_empty() {
        return Err(LinkError::unusable(
            &interface.name,
            "it is a bond without a slave that is up",
        ));
    }
    // Peers address the bond, also where a slave still has an address of its own.
    let as_bond = |slave| Interface { mac: interface.mac, mtu: interface.mtu, ..slave };
    slaves.into_iter().map(|slave| open_one(&as_bond(slave), options)).collect()
}

/// Finds an interface that can carry frames.
fn find(name: &str) -> Result<Interface, LinkError> {
    let interface = Interface::find(name)?;
    if interface.is_vlan() {
        let lower = interface.lower.and_then(|index| {
            Interface::all().ok()?.into_iter().find(|other| other.index == index)
        });
        let lower = lower.map_or_else(|| "the interface below".into(), |lower| lower.name);
        return Err(LinkError::unusable(
            name,
            format!(
                "it is a VLAN device of {lower}; use {lower}, and name the VLAN in the target, \
                 as MAC@VLAN"
            ),
        ));
    }
    if !interface.ethernet {
        return Err(LinkError::unusable(name, "its frames have no Ethernet header"));
    }
    if !interface.up {
        return Err(LinkError::unusable(
            name,
            format!("it is down; `ip link set {name} up` brings it up"),
        ));
    }
    if interface.mtu < MIN_MTU {
        let reason = format!("its MTU is {}, but frames need {MIN_MTU}", interface.mtu);
        return Err(LinkError::unusable(name, reason));
    }
    Ok(interface)
}

fn open_one(interface: &Interface, options: &Options) -> Result<Box<dyn Port>, LinkError> {
    let config = Config {
        local: interface.mac,
        per_source: options.opens_per_source,
        global: options.opens_global,
    };
    let xdp = |mode, zero_copy| -> Result<Box<dyn Port>, LinkError> {
        Ok(Box::new(XdpPort::open(interface, config, mode, zero_copy)?))
    };
    let packet = || -> Result<Box<dyn Port>, LinkError> {
        Ok(Box::new(PacketPort::open(interface, config, options.accepts_opens)?))
    };
    let zero_copy: Candidate<'_> = ("zero-copy", &|| xdp(AttachMode::Native, true));
    let native: Candidate<'_> = ("native XDP", &|| xdp(AttachMode::Native, false));
    let generic: Candidate<'_> = ("generic XDP", &|| xdp(AttachMode::Generic, false));
    let packet: Candidate<'_> = ("AF_PACKET", &packet);
    let (port, why) = match options.mode {
        Mode::Xdp => (xdp(AttachMode::Native, options.zero_copy)?, String::new()),
        Mode::XdpGeneric => (xdp(AttachMode::Generic, options.zero_copy)?, String::new()),
        Mode::Packet if options.zero_copy => {
            let reason = "zero-copy needs AF_XDP: use --link xdp, or leave zero-copy out";
            return Err(LinkError::unusable(&interface.name, reason));
        }
        Mode::Packet => (packet.1()?, String::new()),
        Mode::Auto if options.zero_copy => {
            first_that_works(&interface.name, &[zero_copy, native, generic, packet])?
        }
        Mode::Auto => first_that_works(&interface.name, &[native, generic, packet])?,
    };
    tracing::info!("{}: using {}{why}", interface.name, port.info().mode);
    Ok(port)
}

/// A way to open a port, with its name.
type Candidate<'c> = (&'static str, &'c dyn Fn() -> Result<Box<dyn Port>, LinkError>);

/// Opens the first candidate that can be, and says why those before it could not.
fn first_that_works(
    interface: &str,
    candidates: &[Candidate<'_>],
) -> Result<(Box<dyn Port>, String), LinkError> {
    let mut refusals = Vec::new();
    for (name, open) in candidates {
        match open() {
            Ok(port) if refusals.is_empty() => return Ok((port, String::new())),
            Ok(port) => return Ok((port, format!(", because {}", refusals.join("; ")))),
            Err(error) => refusals.push(format!("{name} does not work: {error}")),
        }
    }
    Err(LinkError::unusable(interface, refusals.join("; ")))
}
