//! The ways of moving frames that every test runs with.

use std::fmt;

/// A value of `--link`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Native XDP and AF_XDP sockets.
    Xdp,
    /// Generic XDP and AF_XDP sockets.
    XdpGeneric,
    /// AF_PACKET.
    Packet,
}

impl Link {
    /// Whether an XDP program is attached.
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::XdpGeneric)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Packet => "packet",
        })
    }
}

/// Makes three tests of each function: one for every [`Link`].
///
/// The functions take the link and return `anyhow::Result<()>`.
#[macro_export]
macro_rules! with_every_link {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$meta])*
            mod $name {
                #[test]
                fn xdp() -> anyhow::Result<()> {
                    super::$name($crate::Link::Xdp)
                }

                #[test]
                fn xdp_generic() -> anyhow::Result<()> {
                    super::$name($crate::Link::XdpGeneric)
                }

                #[test]
                fn packet() -> anyhow::Result<()> {
                    super::$name($crate::Link::Packet)
                }
            }
        )*
    };
}
