//! From an interface's name to its ports.

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
    if slaves.is_empty() {
        return Err(LinkError::unusable(&interface.name, "the bond has no slaves yet"));
    }
    let names: Vec<&str> = slaves.iter().map(|slave| slave.name.as_str()).collect();
    tracing::info!("{} is a bond of {}: using them all", interface.name, names.join(", "));
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
    Ok(interface)
}

fn open_one(interface: &Interface, options: &Options) -> Result<Box<dyn Port>, LinkError> {
    let config = Config {
        local: interface.mac,
        per_source: options.opens_per_source,
        global: options.opens_global,
    };
    let xdp = |mode| -> Result<Box<dyn Port>, LinkError> {
        Ok(Box::new(XdpPort::open(interface, config, mode, options.zero_copy)?))
    };
    let packet = || -> Result<Box<dyn Port>, LinkError> {
        Ok(Box::new(PacketPort::open(interface, config)?))
    };
    match options.mode {
        Mode::Xdp => xdp(AttachMode::Native),
        Mode::XdpGeneric => xdp(AttachMode::Generic),
        Mode::Packet => packet(),
        Mode::Auto => first_that_works(
            &interface.name,
            &[
                ("native XDP", &|| xdp(AttachMode::Native)),
                ("generic XDP", &|| xdp(AttachMode::Generic)),
                ("AF_PACKET", &packet),
            ],
        ),
    }
}

/// A way to open a port, with its name.
type Candidate<'c> = (&'static str, &'c dyn Fn() -> Result<Box<dyn Port>, LinkError>);

/// Opens the first candidate that can be, and says which one and why.
fn first_that_works(
    interface: &str,
    candidates: &[Candidate<'_>],
) -> Result<Box<dyn Port>, LinkError> {
    let mut refusals = String::new();
    for (name, open) in candidates {
        match open() {
            Ok(port) => {
                let mode = &port.info().mode;
                match refusals.as_str() {
                    "" => tracing::info!("{interface}: using {mode}"),
                    why => tracing::info!("{interface}: using {mode}, because {why}"),
                }
                return Ok(port);
            }
            Err(error) => {
                let separator = if refusals.is_empty() { "" } else { "; " };
                refusals.push_str(&format!("{separator}{name} does not work: {error}"));
            }
        }
    }
    Err(LinkError::unusable(interface, refusals))
}
