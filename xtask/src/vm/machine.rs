//! The emulated machine: its hardware, its console and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A NIC of the guest.
pub(super) struct Nic {
    /// Its name in the guest.
    pub(super) name: &'static str,
    /// The hub that its cable goes to: the NICs of one hub hear each other.
    hub: u8,
    /// The device that qemu emulates, with its properties.
    device: &'static str,
}

impl Nic {
    /// Its address, made of its place in [`NICS`].
    pub(super) fn mac(&self) -> String {
        let at = NICS.iter().position(|nic| nic.name == self.name).unwrap_or_default();
        format!("52:54:00:b5:{:02x}:{at:02x}", self.hub)
    }
}

/// Every NIC: pairs of the operator's (`op-`) and the agent's (`ag-`), one pair a
/// hub. Not one of them reaches anything outside of the emulator.
pub(super) const NICS: &[Nic] = &[
    Nic { name: "op-virtio", hub: 0, device: "virtio-net-pci" },
    Nic { name: "ag-virtio", hub: 0, device: "virtio-net-pci" },
    Nic { name: "op-zc", hub: 1, device: "virtio-net-pci" },
    // AF_XDP maps its buffers for the device itself, which virtio allows only
    // where the device promises to go through the DMA API.
    Nic { name: "ag-zc", hub: 1, device: "virtio-net-pci,disable-legacy=on,iommu_platform=on" },
    Nic { name: "op-bond0", hub: 2, device: "virtio-net-pci" },
    Nic { name: "ag-bond0", hub: 2, device: "virtio-net-pci" },
    Nic { name: "op-bond1", hub: 3, device: "virtio-net-pci" },
    Nic { name: "ag-bond1", hub: 3, device: "virtio-net-pci" },
    Nic { name: "op-e1000e", hub: 4, device: "virtio-net-pci" },
    Nic { name: "ag-e1000e", hub: 4, device: "e1000e" },
    Nic { name: "op-vmxnet3", hub: 5, device: "virtio-net-pci" },
    Nic { name: "ag-vmxnet3", hub: 5, device: "vmxnet3" },
];

/// A running emulator. Dropping it ends it.
pub(super) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    /// Where it takes commands: an abstract address.
    monitor: String,
    deadline: Instant,
}

/// What came next from the guest's console.
pub(super) enum Console {
    /// A line, without its end.
    Line(String),
    /// The emulator ended.
    Ended,
    /// The machine's time is over.
    TimeOver,
}

impl Machine {
    /// Starts the emulator with `image` and `initramfs`, for `limit` at most.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub(super) fn start(image: &Path, initramfs: &Path, limit: Duration) -> Result<Self> {
        let monitor = format!("bmstools-vm-{}", std::process::id());
        // The emulator must not outlive us, whatever ends us.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
        command.args(["-smp", "2", "-m", MEMORY, "-device", "virtio-rng-pci"]);
        command.args(["-serial", "stdio", "-mon", "chardev=monitor", "-chardev"]);
        // An abstract address leaves no file behind.
        command.arg(format!("socket,id=monitor,path={monitor},abstract=on,server=on,wait=off"));
        command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
        command.args(["-append", KERNEL_ARGUMENTS]);
        for nic in NICS {
            let Nic { name, hub, device } = nic;
            command.arg("-netdev").arg(format!("hubport,id={name}-cable,hubid={hub}"));
            let mac = nic.mac();
            command
                .arg("-device")
                .arg(format!("{device},id={name},netdev={name}-cable,mac={mac},romfile="));
        }
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the emulator; `cargo xtask setup --vm` installs it")?;
        let (sender, lines) = channel();
        let console = qemu.stdout.take().context("the emulator has no console")?;
        let complaints = qemu.stderr.take().context("the emulator has no error output")?;
        let both = sender.clone();
        thread::spawn(move || pass_on(console, &sender));
        thread::spawn(move || pass_on(complaints, &both));
        Ok(Self { qemu, lines, monitor, deadline: Instant::now() + limit })
    }

    /// Waits for the next line of the console.
    pub(super) fn next(&mut self) -> Console {
        match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Console::Line(line),
            Err(RecvTimeoutError::Disconnected) => Console::Ended,
            Err(RecvTimeoutError::Timeout) => Console::TimeOver,
        }
    }

    /// Pulls the cable out of the NIC `name`, or puts it back.
    ///
    /// # Errors
    ///
    /// Where the emulator does not listen.
    pub(super) fn set_link(&self, name: &str, up: bool) -> Result<()> {
        let address = SocketAddr::from_abstract_name(&self.monitor)?;
        let mut monitor =
            UnixStream::connect_addr(&address).context("the emulator does not listen")?;
        monitor.set_read_timeout(Some(Duration::from_secs(10)))?;
        let state = if up { "on" } else { "off" };
        writeln!(monitor, "set_link {name} {state}")?;
        // It prompts for a command, and again once it has carried it out.
        let mut said = Vec::new();
        while String::from_utf8_lossy(&said).matches(PROMPT).count() < 2 {
            let mut byte = [0];
            monitor.read_exact(&mut byte).context("the emulator does not answer")?;
            said.extend(byte);
        }
        Ok(())
    }
}

/// Sends the lines of `from`, until either end is gone.
fn pass_on(from: impl Read, to: &Sender<String>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if to.send(line).is_err() {
            break;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only where the emulator has ended already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What the emulator says when it waits for a command.
const PROMPT: &str = "(qemu) ";
/// The guest's files live in it too.
const MEMORY: &str = "1G";
/// A panic ends the emulator at once (`-no-reboot`).
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0";
