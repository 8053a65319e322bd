//! Reading interfaces by rtnetlink(7): unlike sysfs, it always answers for the
//! calling thread's own network namespace.

use std::io;

use bmstools_common::Mac;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

use super::Interface;

/// Asks for every interface.
pub(super) fn links() -> io::Result<Vec<Interface>> {
    // No protocol is NETLINK_ROUTE, which is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    let mut links = Vec::new();
    let mut buffer = vec![0; ANSWER_LEN];
    loop {
        let (len, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if parse_answer(&buffer[..len], &mut links)? == Answer::Complete {
            return Ok(links);
        }
    }
}

/// What happened to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Removed,
    /// How the link is now, as far as the message tells.
    State {
        up: bool,
        mac: Option<Mac>,
        mtu: Option<usize>,
    },
}

/// What the messages of one datagram say about link `index`.
pub(super) fn changes(mut bytes: &[u8], index: u32) -> impl Iterator<Item = Change> {
    std::iter::from_fn(move || {
        loop {
            let len = read_u32(bytes, 0)? as usize;
            let kind = read_u16(bytes, 4)?;
            let message = bytes.get(HEADER_LEN..len)?;
            bytes = bytes.get(align(len)..).unwrap_or_default();
            // Other families tell of a link's place in a bridge, not of the link.
            let family = *message.first()?;
            if i32::from(family) != libc::AF_UNSPEC || read_u32(message, 4)? != index {
                continue;
            }
            match kind {
                libc::RTM_DELLINK => return Some(Change::Removed),
                libc::RTM_NEWLINK => {
                    let up = read_u32(message, 8)? & libc::IFF_UP as u32 != 0;
                    let rest = message.get(IFINFOMSG_LEN..)?;
                    let mac = find(rest, libc::IFLA_ADDRESS).and_then(<[u8]>::first_chunk);
                    let mtu = find(rest, libc::IFLA_MTU).and_then(|mtu| read_u32(mtu, 0));
                    return Some(Change::State {
                        up,
                        mac: mac.copied().map(Mac),
                        mtu: mtu.map(|mtu| mtu as usize),
                    });
                }
                _ => {}
            }
        }
    })
}

/// A dump request for all links.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_LEN);
    bytes.extend((REQUEST_LEN as u32).to_ne_bytes());
    bytes.extend(libc::RTM_GETLINK.to_ne_bytes());
    bytes.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    bytes.resize(REQUEST_LEN, 0);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Partial,
    Complete,
}

/// Reads the messages of one datagram.
fn parse_answer(mut bytes: &[u8], links: &mut Vec<Interface>) -> io::Result<Answer> {
    while let Some(len) = read_u32(bytes, 0) {
        let kind = read_u16(bytes, 4).ok_or(io::ErrorKind::InvalidData)?;
        let message = bytes.get(HEADER_LEN..len as usize).ok_or(io::ErrorKind::InvalidData)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(Answer::Complete),
            libc::NLMSG_ERROR => {
                let code = read_u32(message, 0).ok_or(io::ErrorKind::InvalidData)? as i32;
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            _ if kind == libc::RTM_NEWLINK => links.extend(parse_link(message)),
            _ => {}
        }
        bytes = bytes.get(align(len as usize)..).unwrap_or_default();
    }
    Ok(Answer::Partial)
}

/// Reads one link: `struct ifinfomsg`, then attributes.
fn parse_link(message: &[u8]) -> Option<Interface> {
    let mut link = Interface {
        name: String::new(),
        index: read_u32(message, 4)?,
        mac: Mac([0; 6]),
        mtu: 0,
        up: read_u32(message, 8)? & libc::IFF_UP as u32 != 0,
        ethernet: read_u16(message, 2)? == libc::ARPHRD_ETHER,
        kind: None,
        master: None,
        lower: None,
        receive_queues: 1,
    };
    for (kind, value) in attributes(message.get(IFINFOMSG_LEN..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => {
                if let Some(mac) = value.first_chunk() {
                    link.mac = Mac(*mac);
                }
            }
            libc::IFLA_MTU => link.mtu = read_u32(value, 0)? as usize,
            libc::IFLA_MASTER => link.master = read_u32(value, 0),
            libc::IFLA_LINK => link.lower = read_u32(value, 0),
            libc::IFLA_NUM_RX_QUEUES => link.receive_queues = read_u32(value, 0)?,
            libc::IFLA_LINKINFO => link.kind = find(value, libc::IFLA_INFO_KIND).map(text),
            _ => {}
        }
    }
    Some(link)
}

fn find(attributes_bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(attributes_bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The attributes in `bytes`, up to the first that is cut off.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(read_u16(bytes, 0)?);
        let kind = read_u16(bytes, 2)? & ATTRIBUTE_KIND_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_LEN..len)?;
        bytes = bytes.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A text that ends with a zero byte.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn align(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// `struct ifinfomsg`.
const IFINFOMSG_LEN: usize = 16;
const REQUEST_LEN: usize = HEADER_LEN + IFINFOMSG_LEN;
/// `struct nlattr`.
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// Without the flags for nesting and byte order.
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
/// The kernel fills at most this much of a dump's datagram.
const ANSWER_LEN: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn link_message(attributes: &[Vec<u8>]) -> Vec<u8> {
        message(libc::RTM_NEWLINK, attributes)
    }

    fn message(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0, 0];
        body.extend(libc::ARPHRD_ETHER.to_ne_bytes());
        body.extend(7u32.to_ne_bytes());
        body.extend((libc::IFF_UP as u32).to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attributes.concat());
        let mut bytes = ((HEADER_LEN + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_bonds_slave_reads_as_one() {
        let bytes = link_message(&[
            attribute(libc::IFLA_IFNAME, b"eth7\0"),
            attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]),
            attribute(libc::IFLA_MTU, &1500u32.to_ne_bytes()),
            attribute(libc::IFLA_MASTER, &3u32.to_ne_bytes()),
            attribute(libc::IFLA_NUM_RX_QUEUES, &4u32.to_ne_bytes()),
            attribute(libc::IFLA_LINKINFO | 0x8000, &attribute(libc::IFLA_INFO_KIND, b"veth\0")),
        ]);
        let mut links = Vec::new();
        assert_eq!(parse_answer(&bytes, &mut links).unwrap(), Answer::Partial);
        assert_eq!(
            links,
            [Interface {
                name: "eth7".into(),
                index: 7,
                mac: Mac([2, 0, 0, 0, 0, 9]),
                mtu: 1500,
                up: true,
                ethernet: true,
                kind: Some("veth".into()),
                master: Some(3),
                lower: None,
                receive_queues: 4,
            }]
        );
    }

    #[test]
    fn a_message_that_is_cut_off_anywhere_is_no_panic() {
        let bytes = link_message(&[
            attribute(libc::IFLA_IFNAME, b"eth7\0"),
            attribute(libc::IFLA_LINKINFO, &attribute(libc::IFLA_INFO_KIND, b"veth\0")),
        ]);
        for len in 0..bytes.len() {
            let _ = parse_answer(&bytes[..len], &mut Vec::new());
            let _ = parse_link(bytes.get(HEADER_LEN..len).unwrap_or_default());
        }
    }

    #[test]
    fn only_changes_of_the_link_itself_are_told() {
        let mut bridge_port = message(libc::RTM_DELLINK, &[]);
        bridge_port[HEADER_LEN] = libc::AF_BRIDGE as u8;
        let bytes = [bridge_port, message(libc::RTM_NEWLINK, &[]), message(libc::RTM_DELLINK, &[])]
            .concat();
        let told: Vec<_> = changes(&bytes, 7).collect();
        assert_eq!(told, [Change::State { up: true, mac: None, mtu: None }, Change::Removed]);
        assert_eq!(changes(&bytes, 8).count(), 0);
        for len in 0..bytes.len() {
            assert!(changes(&bytes[..len], 7).count() <= 2);
        }
        let bytes = link_message(&[
            attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]),
            attribute(libc::IFLA_MTU, &900u32.to_ne_bytes()),
        ]);
        let told: Vec<_> = changes(&bytes, 7).collect();
        let mac = Some(Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(told, [Change::State { up: true, mac, mtu: Some(900) }]);
    }

    #[test]
    fn the_loopback_interface_is_listed() {
        assert!(links().unwrap().iter().any(|link| link.name == "lo" && !link.ethernet));
    }
}
