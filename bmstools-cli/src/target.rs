//! Whom a command is for: `MAC[@VLAN][%IFACE]`.

use std::fmt;
use std::str::FromStr;

use bmstools_common::ethernet::Peer;
use bmstools_common::{Mac, Vlan};

/// An agent's address, and the interface that leads to it where the text names one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    mac: Mac,
    vlan: Option<u16>,
    /// The interface named behind `%`.
    pub(crate) interface: Option<String>,
}

/// Why a text is not a [`Target`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ParseTargetError {
    /// The part before `@` and `%`, which is no hardware address.
    Mac(String),
    /// A group or zero address, which names no single host.
    NotOneHost(Mac),
    /// The part behind `@`, which is no usable VLAN identifier.
    Vlan(String),
    /// The part behind `%`, which cannot name an interface.
    Interface(String),
}

impl Target {
    /// The other end of the frames.
    pub(crate) fn peer(&self) -> Peer {
        Peer { mac: self.mac, vlan: self.vlan.and_then(Vlan::tagged).unwrap_or(Vlan::NONE) }
    }

    /// Whether frames to it carry a VLAN tag.
    pub(crate) fn is_tagged(&self) -> bool {
        self.vlan.is_some()
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let (address, interface) = match text.split_once('%') {
            Some((address, interface)) => (address, Some(interface)),
            None => (text, None),
        };
        let (mac, vlan) = match address.split_once('@') {
            Some((mac, vlan)) => (mac, Some(vlan)),
            None => (address, None),
        };
        let mac: Mac = mac.parse().map_err(|_| ParseTargetError::Mac(mac.to_owned()))?;
        if mac.is_group() || mac == Mac([0; 6]) {
            return Err(ParseTargetError::NotOneHost(mac));
        }
        Ok(Self {
            mac,
            vlan: vlan.map(parse_vlan).transpose()?,
            interface: interface.map(parse_interface).transpose()?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mac)?;
        if let Some(vlan) = self.vlan {
            write!(f, "@{vlan}")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, "%{interface}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ParseTargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(text) => write!(
                f,
                "`{text}` is not a MAC address (six pairs of hexadecimal digits); \
                 a target is MAC[@VLAN][%IFACE], as in 52:54:00:aa:bb:01@100%eth1"
            ),
            Self::NotOneHost(mac) => {
                write!(f, "{mac} is not the address of one host; give the server's own MAC address")
            }
            Self::Vlan(text) => write!(
                f,
                "`{text}` behind @ is not a VLAN identifier (1 to 4094); leave @… out for untagged"
            ),
            Self::Interface(text) => write!(
                f,
                "`{text}` behind % cannot be an interface's name (1 to 15 bytes, \
                 no slash, colon or space); `ip link` lists the names"
            ),
        }
    }
}

impl std::error::Error for ParseTargetError {}

/// 0 is a tag without a VLAN and 4095 is reserved (IEEE 802.1Q, table 9-2).
fn parse_vlan(text: &str) -> Result<u16, ParseTargetError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(id @ 1..=4094) if digits => Ok(id),
        _ => Err(ParseTargetError::Vlan(text.to_owned())),
    }
}

/// The kernel's own rule: fits `IFNAMSIZ`, is no path, holds no blank or colon.
fn parse_interface(text: &str) -> Result<String, ParseTargetError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(bad) {
        return Err(ParseTargetError::Interface(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);

    #[test]
    fn each_part_is_read_whether_the_others_are_there_or_not() {
        for (text, vlan, interface) in [
            ("52:54:00:aa:bb:01", None, None),
            ("52-54-00-AA-BB-01@1708", Some(1708), None),
            ("52:54:00:aa:bb:01%eth0", None, Some("eth0")),
            ("52:54:00:aa:bb:01@4094%bond0.7", Some(4094), Some("bond0.7")),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.mac, MAC, "{text}");
            assert_eq!(target.vlan, vlan, "{text}");
            assert_eq!(target.interface.as_deref(), interface, "{text}");
            assert_eq!(target.peer().vlan.id(), vlan, "{text}");
        }
    }

    #[test]
    fn each_wrong_part_is_named() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(error("server1"), ParseTargetError::Mac("server1".into()));
        assert_eq!(error(""), ParseTargetError::Mac(String::new()));
        assert_eq!(error("@5"), ParseTargetError::Mac(String::new()));
        assert_eq!(error("ff:ff:ff:ff:ff:ff"), ParseTargetError::NotOneHost(Mac::BROADCAST));
        assert_eq!(error("00:00:00:00:00:00"), ParseTargetError::NotOneHost(Mac([0; 6])));
        for vlan in ["", "0", "4095", "65537", "-1", "+1", "x", "1.2"] {
            let text = format!("{MAC}@{vlan}%eth0");
            assert_eq!(error(&text), ParseTargetError::Vlan(vlan.into()));
        }
        for interface in ["", "a/b", "a b", "..", "sixteen-bytes-xx", "eth0:1"] {
            let text = format!("{MAC}@7%{interface}");
            assert_eq!(error(&text), ParseTargetError::Interface(interface.into()));
        }
    }

    proptest! {
        #[test]
        fn a_target_reads_what_it_prints(
            mut octets: [u8; 6],
            vlan in proptest::option::of(1u16..=4094),
            interface in proptest::option::of("[a-z][a-z0-9@%.-]{0,14}"),
        ) {
            octets[0] = octets[0] & 0xfe | 2;
            let target = Target { mac: Mac(octets), vlan, interface };
            prop_assert_eq!(target.to_string().parse(), Ok(target));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<Target>();
        }
    }
}
