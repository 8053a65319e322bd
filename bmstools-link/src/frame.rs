//! What every port knows about frames.

use bmstools_common::Mac;
use bmstools_common::ethernet::{Header, MAX_HEADER_LEN, Peer};

/// Bytes behind the Ethernet header that a port offers at most, whatever the
/// interface's MTU: what an XDP program without support for several buffers gets
/// in one page. v1 has no way to agree on a size, so all ports keep to it.
pub(crate) const MAX_PAYLOAD: usize = 3498;

/// Writes the Ethernet header to `peer` into the [`MAX_HEADER_LEN`] bytes before
/// the payload so that it ends where the payload begins, and returns its start.
pub(crate) fn emit_header(frame: &mut [u8], source: Mac, peer: Peer) -> usize {
    let header = Header { destination: peer.mac, source, vlan: peer.vlan };
    let start = MAX_HEADER_LEN - header.len();
    header.emit(&mut frame[start..]);
    start
}
