//! What opening a port does to an interface, and that its end undoes it. Needs
//! root.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they try"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bmstools_common::header::{Dialect, ptype};
use bmstools_common::maps::SessionKey;
use bmstools_common::{Peer, Vlan};
use bmstools_link::{LinkError, Mode, Options, Outgoing, Port, RawSocket};

use common::{
    FAR, FAR_MAC, Link, NEAR, Netns, message, open_message, options, receive, to_near,
    wait_readable,
};

fn has_program(netns: &Netns) -> bool {
    netns.ip(&format!("-d link show {NEAR}")).contains("prog/xdp")
}

/// Whether the program goes. That takes a moment where another test is starting a
/// process just then: until that executes its program, it holds copies of all files
/// that are open here, and with them what attaches the program.
fn loses_program(netns: &Netns) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
    while has_program(netns) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn refusal(link: &Link, options: Options) -> LinkError {
    match link.near.run(|| bmstools_link::open(&options)) {
        Ok(ports) => panic!("opened as {}", ports[0].info().mode),
        Err(error) => error,
    }
}

#[test]
fn a_dropped_port_leaves_no_program_and_can_be_opened_again() {
    let link = Link::new();
    for mode in [Mode::Xdp, Mode::XdpGeneric, Mode::Xdp] {
        let mut port = link.open(mode);
        assert!(has_program(&link.near));
        let far_end = link.far.run(|| RawSocket::open(FAR)).unwrap();
        far_end.send(&to_near(Vlan::NONE, &open_message())).unwrap();
        assert_eq!(receive(port.as_mut(), 1).len(), 1, "{mode:?}");
        drop(port);
        assert!(loses_program(&link.near), "{mode:?}");
    }
}

/// The part of the test below that runs in a process of its own.
const VICTIM: &str = "BMSTOOLS_LINK_TEST_VICTIM";

#[test]
fn a_killed_process_leaves_no_program_and_another_can_attach_at_once() {
    if let Ok(name) = std::env::var(VICTIM) {
        let netns = Netns { name };
        netns.enter();
        let _ports = bmstools_link::open(&options(Mode::Xdp)).unwrap();
        println!("attached");
        loop {
            std::thread::park();
        }
    }
    let link = Link::new();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["a_killed_process_leaves_no_program_and_another_can_attach_at_once"])
        .args(["--exact", "--nocapture"])
        .env(VICTIM, &link.near.name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("attached")));
    assert!(has_program(&link.near));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(!has_program(&link.near));
    link.open(Mode::Xdp);
}

#[test]
fn a_second_port_is_refused_and_leaves_the_first_alone() {
    let link = Link::new();
    let _first = link.open(Mode::Xdp);
    for mode in [Mode::Xdp, Mode::XdpGeneric] {
        let error = refusal(&link, options(mode)).to_string();
        assert!(error.contains("already runs the XDP program \"bmstools_xdp"), "{error}");
    }
    assert!(has_program(&link.near));
    assert_eq!(link.open(Mode::Auto).info().mode, "AF_PACKET");
}

#[test]
fn zero_copy_where_the_driver_has_none_is_refused_with_the_way_out() {
    let link = Link::new();
    for mode in [Mode::Xdp, Mode::XdpGeneric, Mode::Packet] {
        let options = Options { zero_copy: true, ..options(mode) };
        let error = refusal(&link, options).to_string();
        assert!(error.contains("zero-copy") && error.contains("leave zero-copy out"), "{error}");
        assert!(loses_program(&link.near));
    }
}

#[test]
fn the_automatic_mode_copies_where_the_driver_has_no_zero_copy() {
    let link = Link::new();
    let options = Options { zero_copy: true, ..options(Mode::Auto) };
    assert_eq!(link.open_with(options).info().mode, "native XDP, 1 queue, copy");
}

#[test]
fn errors_about_the_interface_name_the_cause_and_the_way_out() {
    let link = Link::new();
    let named = |name: &str| Options { interface: name.into(), ..options(Mode::Packet) };
    let missing = refusal(&link, named("eth9")).to_string();
    assert_eq!(missing, format!("no interface eth9; there are lo, {NEAR}"));
    let loopback = refusal(&link, named("lo")).to_string();
    assert!(loopback.contains("no Ethernet header"), "{loopback}");
    link.near.ip(&format!("link set {NEAR} down"));
    let down = refusal(&link, named(NEAR)).to_string();
    assert!(down.contains(&format!("ip link set {NEAR} up")), "{down}");
}

/// Waits and receives, as the driver's loop does, until the port fails.
fn failure(link: &Link, port: &mut dyn Port) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    link.near.run(|| {
        while Instant::now() < deadline {
            wait_readable(port, Duration::from_millis(100));
            if let Err(error) = port.receive(&mut |_, _| {}) {
                return Some(error.to_string());
            }
        }
        None
    })
}

#[test]
fn a_port_fails_when_its_interface_is_removed() {
    for mode in [Mode::Xdp, Mode::XdpGeneric, Mode::Packet] {
        let link = Link::new();
        let mut port = link.open(mode);
        link.near.ip(&format!("link del {NEAR}"));
        assert!(failure(&link, port.as_mut()).is_some(), "{mode:?}");
    }
}

#[test]
fn a_port_fails_when_its_interface_becomes_another() {
    for mode in [Mode::Xdp, Mode::XdpGeneric, Mode::Packet] {
        let link = Link::new();
        let mut port = link.open(mode);
        link.near.ip(&format!("link set {NEAR} address 02:00:00:00:77:77"));
        let error = failure(&link, port.as_mut()).unwrap();
        assert!(error.contains(NEAR) && error.contains("to 02:00:00:00:77:77"), "{error}");
        drop(port);
        let mut port = link.open(mode);
        link.near.ip(&format!("link set {NEAR} mtu 1000"));
        let error = failure(&link, port.as_mut()).unwrap();
        assert!(error.contains("MTU fell from 1500 to 1000"), "{error}");
        link.near.ip(&format!("link set {NEAR} mtu 1500"));
    }
}

#[test]
fn a_port_carries_frames_again_after_its_interface_was_down() {
    for mode in [Mode::Xdp, Mode::XdpGeneric, Mode::Packet] {
        let link = Link::new();
        let mut port = link.open(mode);
        let peer = Peer { mac: FAR_MAC, vlan: Vlan::NONE };
        port.insert_session(SessionKey::v1(peer, 5), Dialect::V1.into()).unwrap();
        let data = message(ptype::DATA, 5, b"data");
        link.near.ip(&format!("link set {NEAR} down"));
        link.near.run(|| {
            for _ in 0..200 {
                port.receive(&mut |_, _| {}).unwrap();
                let mut once = Some(Outgoing { peer, len: data.len() });
                port.transmit(&mut |buffer| {
                    buffer[..data.len()].copy_from_slice(&data);
                    once.take()
                })
                .unwrap();
            }
        });
        link.near.ip(&format!("link set {NEAR} up"));
        let far_end = link.far.run(|| RawSocket::open(FAR)).unwrap();
        far_end.send(&to_near(Vlan::NONE, &data)).unwrap();
        assert_eq!(receive(port.as_mut(), 1), [(peer, data)], "{mode:?}");
    }
}
