//! Attaching the XDP program to a real interface: what stands there already is
//! left alone, and nothing of ours stays behind. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{self, Command};
use std::thread;

use bmstools_common::Mac;
use bmstools_common::maps::{Config, Rate};
use bmstools_link::{AttachMode, Program, ProgramError};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with a veth pair `va`, `vb` in it, gone when dropped.
struct Namespace(String);

impl Namespace {
    fn new(test: &str) -> Self {
        let namespace = Self(format!("bms-attach-{test}-{}", process::id()));
        ip(&["netns", "add", &namespace.0]);
        ip(&["-n", &namespace.0, "link", "add", "va", "type", "veth", "peer", "name", "vb"]);
        namespace
    }

    /// Runs `inside` on a thread of this namespace.
    fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.0);
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = std::fs::File::open(path).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
                inside()
            });
            thread.join().unwrap()
        })
    }

    /// What `ip link` says of `va`.
    fn shown(&self) -> String {
        ip(&["-n", &self.0, "-details", "link", "show", "dev", "va"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {arguments:?} (needs root): {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn load() -> Program {
    let rate = Rate { interval_ns: 1, burst: 1 };
    let config = Config { local: Mac([2; 6]), per_source: rate, global: rate };
    Program::load(&config).expect("loading an XDP program needs root")
}

fn index() -> u32 {
    let shown = ip(&["link", "show", "dev", "va"]);
    shown.split(':').next().unwrap().parse().unwrap()
}

#[test]
fn the_program_is_attached_until_it_is_detached_or_dropped() {
    let namespace = Namespace::new("until");
    namespace.enter(|| {
        for (mode, shown) in [(AttachMode::Native, "xdp"), (AttachMode::Generic, "xdpgeneric")] {
            let mut program = load();
            program.attach(index(), mode).unwrap();
            let text = namespace.shown();
            assert!(text.split_whitespace().any(|word| word == shown), "{mode:?}: {text}");
            program.detach();
            assert!(!namespace.shown().contains("xdp"), "{}", namespace.shown());
            program.attach(index(), mode).unwrap();
            drop(program);
            assert!(!namespace.shown().contains("prog/xdp"), "{}", namespace.shown());
        }
    });
}

#[test]
fn another_program_is_named_and_left_alone() {
    let namespace = Namespace::new("busy");
    namespace.enter(|| {
        let mut first = load();
        first.attach(index(), AttachMode::Native).unwrap();
        let before = namespace.shown();
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut second = load();
            let refused = second.attach(index(), mode).unwrap_err();
            assert!(matches!(&refused, ProgramError::Busy { .. }), "{refused}");
            assert!(refused.to_string().contains("bmstools_xdp"), "{refused}");
            assert_eq!(namespace.shown(), before);
        }
    });
}

#[test]
fn an_interface_that_is_not_there_is_an_error_that_says_so() {
    let namespace = Namespace::new("none");
    namespace.enter(|| {
        let refused = load().attach(4000, AttachMode::Native).unwrap_err();
        assert!(matches!(&refused, ProgramError::Attach { ifindex: 4000, .. }), "{refused}");
    });
}
