//! On a veth interface, whose driver has these features. Needs root.

use super::*;
use crate::port::Mode;

use crate::testing::{Link, NEAR};

/// The features that are on, by name.
fn active(link: &Link) -> Vec<&'static str> {
    link.near.run(|| {
        let ethtool = Ethtool::open(NEAR).unwrap();
        let features = ethtool.features(VLAN_FILTERS_AND_STRIPPING).unwrap();
        let on = features.into_iter().filter(|(_, feature)| ethtool.is_active(*feature).unwrap());
        on.map(|(name, _)| name).collect()
    })
}

#[test]
fn vlan_stripping_is_off_while_a_program_is_attached_and_on_again_after_it() {
    let link = Link::new();
    let before = active(&link);
    assert_eq!(before, ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"]);
    for mode in [Mode::Xdp, Mode::XdpGeneric] {
        let port = link.open(mode);
        assert!(active(&link).is_empty(), "{:?}", active(&link));
        drop(port);
        assert_eq!(active(&link), before);
    }
}

#[test]
fn what_was_off_before_stays_off() {
    let link = Link::new();
    link.near.run(|| {
        let ethtool = Ethtool::open(NEAR).unwrap();
        let [(_, feature)] = ethtool.features(&["rx-vlan-hw-parse"]).unwrap()[..] else {
            panic!("veth has no rx-vlan-hw-parse");
        };
        ethtool.set(feature, false).unwrap();
    });
    drop(link.open(Mode::Xdp));
    assert_eq!(active(&link), ["rx-vlan-stag-hw-parse"]);
}

#[test]
fn packet_sockets_leave_stripping_as_it_is() {
    let link = Link::new();
    let before = active(&link);
    let _port = link.open(Mode::Packet);
    assert_eq!(active(&link), before);
}

#[test]
fn a_filter_that_stays_on_is_passed_by_promiscuous_mode_until_the_end() {
    let link = Link::new();
    let promiscuous = || link.near.ip(&format!("-d link show {NEAR}")).contains("promiscuity 1");
    let socket = link.near.run(|| {
        let interface = Interface::find(NEAR).unwrap();
        pass_filter(NEAR, interface.index, "rx-vlan-filter")
    });
    assert!(promiscuous());
    drop(socket);
    assert!(!promiscuous());
}
