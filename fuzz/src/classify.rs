//! The verdict on a frame, as the XDP program and the userspace links reach it.

use bmstools_common::classify::{Verdict, check_framing, classify};
use bmstools_common::ethernet::{Header, Mac};
use bmstools_common::header::{
    Dialect, Framing, V2_LEN, V2_OPEN_BODY, V2Header, VERSION_2, v2_ptype,
};
use bmstools_proto::wire::Frame;

/// The interface's address.
pub const LOCAL: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);

/// Decides on a frame, and requires that what is let through can be read.
///
/// # Panics
///
/// Where it cannot.
pub fn run(frame: &[u8]) {
    let Verdict::Ours(ours) = classify(frame, LOCAL) else { return };
    let header = Header::parse(frame).expect("a frame of ours has an Ethernet header");
    assert_eq!(header.destination, LOCAL);
    assert!(!header.source.is_group());
    assert_eq!(header.len(), ours.header_at);
    let rest = &frame[ours.header_at..];
    if rest[0] == VERSION_2 {
        let header = V2Header::parse(rest, 0).expect("its header was read");
        assert_eq!(rest[..V2_LEN], header.emit());
        assert_eq!(ours.session.is_none(), header.ptype == v2_ptype::OPEN);
        assert!(ours.session.is_some() || rest.len() >= V2_LEN + V2_OPEN_BODY);
        check_framing(frame, &ours, Framing::V2).expect("version 2 has one framing");
        return;
    }
    assert!(Frame::parse(rest, Dialect::V1).is_ok());
    let deployed = Frame::parse(rest, Dialect::V1Deployed);
    let checked = check_framing(frame, &ours, Dialect::V1Deployed.into());
    assert_eq!(deployed.map(drop), checked);
    if ours.session.is_none() {
        let dialect = Dialect::of_open(rest, 0);
        assert!(Frame::parse(rest, dialect).is_ok(), "an open that cannot be read");
    }
}
