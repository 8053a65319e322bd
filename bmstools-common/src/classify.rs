//! What becomes of a frame, decided from its first bytes alone.

use crate::ethernet::{Header, Mac, Peer};
use crate::header::{DeployedFields, Dialect, HeaderError, V1Header, ptype};
use crate::maps::SessionKey;
use crate::packet::Packet;

/// Why a frame of ours is dropped without looking at sessions.
pub type Malformed = HeaderError;

/// What to do with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Another protocol's frame: untouched.
    NotOurs,
    /// Ours, but for another host.
    NotAddressed,
    /// Ours, but breaks the protocol.
    Malformed(Malformed),
    /// Ours and well formed.
    Ours(Frame),
}

/// A well-formed frame for this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Who sent it.
    pub peer: Peer,
    /// Where the bmstools header begins, in bytes from the frame's start.
    pub header_at: usize,
    /// The session it is for; `None` for an open, which has none yet.
    pub session: Option<SessionKey>,
}

/// Decides on a frame that arrived at the interface with address `local`.
///
/// An open (packet type 0 with no receiver key) belongs to no session; every
/// other frame names one, and the caller looks it up.
#[inline(always)]
pub fn classify<P: Packet + ?Sized>(packet: &P, local: Mac) -> Verdict {
    let Some(ethernet) = Header::parse(packet) else {
        return Verdict::NotOurs;
    };
    if ethernet.destination != local || ethernet.source.is_group() {
        return Verdict::NotAddressed;
    }
    let header_at = ethernet.len();
    let header = match V1Header::parse(packet, header_at) {
        Ok(header) => header,
        Err(error) => return Verdict::Malformed(error),
    };
    let peer = Peer { mac: ethernet.source, vlan: ethernet.vlan };
    let is_open = header.ptype == ptype::OPEN && header.dstkey == 0;
    if is_open
        && Dialect::of_open(packet, header_at) == Dialect::V1Deployed
        && let Err(error) = DeployedFields::parse(packet, header_at)
    {
        return Verdict::Malformed(error);
    }
    let session = if is_open { None } else { Some(SessionKey::new(peer, header.dstkey)) };
    Verdict::Ours(Frame { peer, header_at, session })
}

/// Checks what only the session's dialect tells about a frame: the deployed
/// header's length.
///
/// # Errors
///
/// [`HeaderError::Truncated`] or [`HeaderError::DataLength`].
#[inline(always)]
pub fn check_dialect<P: Packet + ?Sized>(
    packet: &P,
    frame: &Frame,
    dialect: Dialect,
) -> Result<(), Malformed> {
    match dialect {
        Dialect::V1 => Ok(()),
        Dialect::V1Deployed => DeployedFields::parse(packet, frame.header_at).map(drop),
    }
}
