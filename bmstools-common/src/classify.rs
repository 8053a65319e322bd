//! What becomes of a frame, decided from its first bytes alone.

use crate::ethernet::{Header, Mac, Peer};
use crate::header::{
    DeployedFields, Dialect, Framing, HeaderError, V1Header, V2_LEN, V2_OPEN_BODY, V2Header,
    VERSION_1, VERSION_2, ptype, v2_ptype,
};
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
/// An open (packet type 0; in version 1 with no receiver key) belongs to no session; every
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
    let peer = Peer { mac: ethernet.source, vlan: ethernet.vlan };
    let version = match packet.read::<1>(header_at) {
        Some([VERSION_2]) => VERSION_2,
        _ => VERSION_1,
    };
    let named = match version {
        VERSION_2 => named_v2(packet, header_at),
        _ => named_v1(packet, header_at),
    };
    match named {
        Ok(named) => {
            // One key for both versions: the kernel's verifier refuses the registers
            // that the compiler shares between two.
            let session = named.map(|key| SessionKey::new(peer, version, key));
            Verdict::Ours(Frame { peer, header_at, session })
        }
        Err(error) => Verdict::Malformed(error),
    }
}

/// The receiver's key in a frame that belongs to a session.
#[inline(always)]
fn named_v1<P: Packet + ?Sized>(packet: &P, header_at: usize) -> Result<Option<u16>, Malformed> {
    let header = V1Header::parse(packet, header_at)?;
    if header.ptype != ptype::OPEN || header.dstkey != 0 {
        return Ok(Some(header.dstkey));
    }
    if Dialect::of_open(packet, header_at) == Dialect::V1Deployed {
        DeployedFields::parse(packet, header_at)?;
    }
    Ok(None)
}

/// As [`named_v1`].
#[inline(always)]
fn named_v2<P: Packet + ?Sized>(packet: &P, header_at: usize) -> Result<Option<u16>, Malformed> {
    let header = V2Header::parse(packet, header_at)?;
    if header.ptype != v2_ptype::OPEN {
        return Ok(Some(header.dstkey));
    }
    if header_at + V2_LEN + V2_OPEN_BODY > packet.len() {
        return Err(HeaderError::Truncated);
    }
    Ok(None)
}

/// Checks what only the session's framing tells about a frame: the deployed
/// header's length.
///
/// # Errors
///
/// [`HeaderError::Truncated`] or [`HeaderError::DataLength`].
#[inline(always)]
pub fn check_framing<P: Packet + ?Sized>(
    packet: &P,
    frame: &Frame,
    framing: Framing,
) -> Result<(), Malformed> {
    match framing {
        Framing::V1(Dialect::V1) | Framing::V2 => Ok(()),
        Framing::V1(Dialect::V1Deployed) => {
            DeployedFields::parse(packet, frame.header_at).map(drop)
        }
    }
}

#[cfg(test)]
mod tests;
