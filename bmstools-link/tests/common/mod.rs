//! Network namespaces with a veth pair between them. Needs root.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bmstools_common::ethernet::{Header, Tag};
use bmstools_common::header::{V1Header, ptype};
use bmstools_common::maps::Rate;
use bmstools_common::{Mac, Peer, Vlan};
use bmstools_link::{Mode, Options, Port};

/// The interface under test, and its address.
pub const NEAR: &str = "near0";
pub const NEAR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The interface at the other end of the link, and its address.
pub const FAR: &str = "far0";
pub const FAR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// A network namespace of its own, gone when dropped.
pub struct Netns {
    pub name: String,
}

impl Netns {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let netns = Self { name: format!("bmslink-{}-{number}", std::process::id()) };
        ip(&format!("netns add {}", netns.name));
        // No frames but the test's own.
        netns.run(|| {
            for which in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                std::fs::write(path, "1").unwrap();
            }
        });
        netns
    }

    /// Runs `work` in this namespace, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter();
                work()
            });
            match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into this namespace.
    pub fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        rustix::thread::move_into_link_name_space(file.as_fd(), None).unwrap();
    }

    /// Runs `ip` in this namespace and returns its output.
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs `ip` and returns its output.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments} (these tests need root and iproute2): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Two namespaces and the link between them.
pub struct Link {
    pub near: Netns,
    pub far: Netns,
}

impl Link {
    pub fn new() -> Self {
        Self::with("")
    }

    /// A link whose interfaces are made with more options, as `numrxqueues 2`.
    pub fn with(options: &str) -> Self {
        let link = Self { near: Netns::new(), far: Netns::new() };
        let (near, far) = (&link.near.name, &link.far.name);
        ip(&format!(
            "link add {NEAR} address {NEAR_MAC} {options} netns {near} type veth \
             peer name {FAR} address {FAR_MAC} {options} netns {far}"
        ));
        for (netns, interface) in [(&link.near, NEAR), (&link.far, FAR)] {
            netns.ip(&format!("link set {interface} addrgenmode none arp off"));
            netns.ip(&format!("link set {interface} up"));
        }
        link
    }

    /// Opens the near interface.
    pub fn open(&self, mode: Mode) -> Box<dyn Port> {
        self.open_with(options(mode))
    }

    pub fn open_with(&self, options: Options) -> Box<dyn Port> {
        let mut ports = self.near.run(|| bmstools_link::open(&options)).unwrap();
        assert_eq!(ports.len(), 1);
        ports.remove(0)
    }
}

/// Options for the near interface, with limits that tests do not reach.
pub fn options(mode: Mode) -> Options {
    let unlimited = Rate { interval_ns: 1, burst: 1 << 40 };
    Options {
        interface: NEAR.into(),
        mode,
        zero_copy: false,
        opens_per_source: unlimited,
        opens_global: unlimited,
        accepts_opens: true,
    }
}

/// No tag, one, and a service tag around one.
pub fn vlans() -> [Vlan; 3] {
    let tagged = Vlan::tagged(1708).unwrap();
    [Vlan::NONE, tagged, tagged.wrapped_in(Tag { service: true, id: 42 }).unwrap()]
}

/// A v1 message from its header on.
pub fn message(ptype: u8, dstkey: u16, data: &[u8]) -> Vec<u8> {
    let header = V1Header { ptype, srckey: 9, dstkey, sequence: 3, count: 1, offset: 0 };
    [&header.emit()[..], data].concat()
}

/// An open's message.
pub fn open_message() -> Vec<u8> {
    message(ptype::OPEN, 0, &[])
}

/// A whole frame.
pub fn frame(source: Mac, destination: Mac, vlan: Vlan, message: &[u8]) -> Vec<u8> {
    let header = Header { destination, source, vlan };
    let mut bytes = vec![0; header.len()];
    header.emit(&mut bytes);
    bytes.extend(message);
    bytes
}

/// A frame from the far end to the near one.
pub fn to_near(vlan: Vlan, message: &[u8]) -> Vec<u8> {
    frame(FAR_MAC, NEAR_MAC, vlan, message)
}

/// Receives on `port` until `count` messages came or five seconds have passed.
pub fn receive(port: &mut dyn Port, count: usize) -> Vec<(Peer, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut messages = Vec::new();
    while messages.len() < count && Instant::now() < deadline {
        let mut take = |peer, message: &mut [u8]| messages.push((peer, message.to_vec()));
        if port.receive(&mut take).unwrap() == 0 {
            wait_readable(port, Duration::from_millis(20));
        }
    }
    messages
}

/// Receives what comes to `port` in a tenth of a second.
pub fn receive_stray(port: &mut dyn Port) -> Vec<(Peer, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_millis(100);
    let mut messages = Vec::new();
    while Instant::now() < deadline {
        let mut take = |peer, message: &mut [u8]| messages.push((peer, message.to_vec()));
        port.receive(&mut take).unwrap();
        wait_readable(port, Duration::from_millis(10));
    }
    messages
}

/// Waits on what the port says to wait on, and returns whether it was readable.
pub fn wait_readable(port: &dyn Port, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let fds = port.readable();
    let mut waited: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).unwrap();
    poll(&mut waited, Some(&timeout)).unwrap() > 0
}
