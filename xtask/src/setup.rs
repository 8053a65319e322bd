//! Installs what building the XDP program and testing need.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, find, is_root, run as run_command};
use crate::toolchain::{self, BPF_LINKER_VERSION, DEBIAN_LLVM, DEBIAN_PACKAGES, Missing};
use crate::vm;

/// A program that tests call, and Debian's package with it.
const TOOLS: &[(&str, &str)] = &[("ip", "iproute2"), ("ethtool", "ethtool")];

/// A program that the benchmark compares with, and Debian's package with it.
const PEERS: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("rsync", "rsync"),
    ("tar", "tar"),
    ("nc", "netcat-openbsd"),
    ("mbuffer", "mbuffer"),
    ("iperf3", "iperf3"),
    ("uftp", "uftp"),
    ("udp-sender", "udpcast"),
];

/// Installs what is missing, and says what it does. Fast where nothing is.
///
/// # Errors
///
/// Where it may not install; the error names what to install by hand.
pub(crate) fn run(root: &Path, with_vm: bool) -> Result<()> {
    ensure_ebpf(root)?;
    ensure_tools()?;
    if with_vm {
        ensure_vm()?;
    }
    println!("Everything that building and testing need is there.");
    Ok(())
}

/// Installs the toolchain for the XDP program where it is not complete.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn ensure_ebpf(root: &Path) -> Result<()> {
    let missing = toolchain::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    println!("Missing to build the XDP program: {names}.");
    may_install().with_context(|| by_hand(&names))?;
    install(DEBIAN_PACKAGES)?;
    if missing.contains(&Missing::Linker) {
        install_linker(root)?;
    }
    let still = toolchain::missing();
    if !still.is_empty() {
        let names = still.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        bail!("{names} is still missing after installing. {}", by_hand(&names));
    }
    Ok(())
}

/// Installs the tools that system tests and the demonstration call.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn ensure_tools() -> Result<()> {
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|(tool, _)| find(tool).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing to test: {}.", missing.join(", "));
    may_install().with_context(|| format!("install by hand: {}", missing.join(" ")))?;
    install(&missing)
}

/// Installs what the benchmark compares with, as far as that can be had, and says
/// what cannot.
pub(crate) fn try_peers() {
    let missing: Vec<_> = PEERS
        .iter()
        .filter(|(tool, _)| find(tool).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    println!(
        "Missing to compare with: {}. (Debian starts the services of some when it installs them; \
         the benchmark runs its own.)",
        missing.join(", ")
    );
    let installed = may_install().and_then(|()| install(&missing));
    let Err(error) = installed else { return };
    // One that cannot be had must not keep the others away.
    let absent: Vec<_> = match may_install() {
        Ok(()) => missing.into_iter().filter(|package| install(&[package]).is_err()).collect(),
        Err(_) => missing,
    };
    if !absent.is_empty() {
        println!("Absent from the comparison: {} ({error:#}).", absent.join(", "));
    }
}

/// Installs what the emulated machine needs.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn ensure_vm() -> Result<()> {
    let missing: Vec<_> =
        vm::PACKAGES.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing for the emulated machine: {}.", missing.join(", "));
    may_install().with_context(|| format!("install by hand: {}", missing.join(" ")))?;
    install(&missing)
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    crate::command::output(&mut query).is_ok_and(|status| status == "installed")
}

fn may_install() -> Result<()> {
    if find("apt-get").is_none() {
        bail!("this is no Debian (there is no apt-get), so nothing can be installed for you");
    }
    if !is_root() {
        bail!("only root can install packages: run `cargo xtask setup` as root");
    }
    Ok(())
}

fn by_hand(missing: &str) -> String {
    format!(
        "missing to build the XDP program: {missing}. To install it by hand, either\n  \
         rustup toolchain install nightly -c rust-src -c clippy && cargo install bpf-linker\n\
         or, on Debian,\n  \
         apt-get install --no-install-recommends {}\n  \
         LLVM_PREFIX={DEBIAN_LLVM} PATH={DEBIAN_LLVM}/bin:$PATH \\\n    \
         cargo install bpf-linker --version {BPF_LINKER_VERSION} --no-default-features \
         --features llvm-22\n\
         (neither is needed to build the agent and the operator's command: \
         `cargo build --release`)",
        DEBIAN_PACKAGES.join(" ")
    )
}

fn install(packages: &[&str]) -> Result<()> {
    println!("Installing {} (apt-get).", packages.join(", "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        // Without a pseudo-terminal dpkg counts no percentages into a log.
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet=2", "-oDpkg::Use-Pty=0"]);
        apt
    };
    run_command(apt().arg("update"))?;
    run_command(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn install_linker(root: &Path) -> Result<()> {
    println!("Building and installing bpf-linker {BPF_LINKER_VERSION} (cargo install).");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(format!("{DEBIAN_LLVM}/bin").into());
    let path = std::env::join_paths(paths.chain(std::env::split_paths(&path)))?;
    run_command(
        cargo(root)
            .env("PATH", path)
            .env("LLVM_PREFIX", DEBIAN_LLVM)
            .args(["install", "--quiet", "bpf-linker", "--version", BPF_LINKER_VERSION])
            .args(["--no-default-features", "--features", "llvm-22"]),
    )
}
