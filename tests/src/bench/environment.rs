//! Where and how something was measured.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::Arguments;
use super::context::Context;
use super::cores::{RECEIVER, SENDER};
use super::tools;
use crate::binaries;

/// What the figures depend on, by name, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// When, in UTC.
    pub(crate) date: String,
    /// Which state of the source.
    pub(crate) commit: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The processor and how many cores.
    pub(crate) cpu: String,
    /// The rest of the machine.
    pub(crate) machine: String,
    /// What was set for the run.
    pub(crate) settings: BTreeMap<String, String>,
    /// Versions of all programs.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Environment {
    /// Of this machine and this run.
    pub(crate) fn record(context: &Context, arguments: &Arguments) -> Self {
        Self {
            date: output("date", &["-u", "+%F %H:%M"]),
            commit: commit(),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: cpu(),
            machine: machine(),
            settings: settings(context, arguments),
            versions: versions(),
        }
    }
}

fn settings(context: &Context, arguments: &Arguments) -> BTreeMap<String, String> {
    let only = match context.selection.is_everything() {
        true => "everything".to_owned(),
        false => arguments.only.join(" "),
    };
    let files = match context.files.in_memory() {
        true => {
            "in memory (tmpfs, huge=within_size), which has been used once and is kept from the host"
        }
        false => "on disk: there was too little memory",
    };
    let pairs = [
        ("kind of run", if context.quick { "quick" } else { "full" }.to_owned()),
        ("measured", only),
        ("rounds", arguments.runs.map_or("as each table says".to_owned(), |n| n.to_string())),
        ("link", format!("one veth pair, MTU {}, one queue", context.mtu)),
        ("offloads", "segmentation (TSO, GSO) off, GRO on, at both ends".to_owned()),
        (
            "cores",
            format!("the sender's programs on core {SENDER}, the receiver's on core {RECEIVER}"),
        ),
        ("files", files.to_owned()),
        ("frequency governor", or(read(GOVERNOR), "none")),
        ("socket buffers", buffers()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn buffers() -> String {
    let value = |name: &str| read(&format!("/proc/sys/net/{name}")).replace('\t', " ");
    format!(
        "tcp_rmem {}, tcp_wmem {}, {}",
        value("ipv4/tcp_rmem"),
        value("ipv4/tcp_wmem"),
        value("ipv4/tcp_congestion_control")
    )
}

fn versions() -> BTreeMap<String, String> {
    let mut versions: BTreeMap<String, String> =
        tools::ALL.into_iter().map(|tool| (tool.package.to_owned(), tool.version())).collect();
    if let Ok(operator) = binaries::operator() {
        let version = output(&operator.to_string_lossy(), &["--version"]);
        versions.insert("bmstools".to_owned(), version);
    }
    versions
}

fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    match (commit.is_empty(), changed.is_empty()) {
        (true, _) => "unknown".to_owned(),
        (false, true) => commit,
        (false, false) => format!("{commit} with changes"),
    }
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let value = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = or(value("model name").to_owned(), "unknown processor");
    let guest = value("flags").split_whitespace().any(|flag| flag == "hypervisor");
    format!("{model}, {cores} cores{}", if guest { ", a virtual machine" } else { "" })
}

fn machine() -> String {
    let info = read("/proc/meminfo");
    let kilobytes = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0u64);
    format!(
        "{:.1} GiB of memory, {}",
        kilobytes as f64 / f64::from(1 << 20),
        std::env::consts::ARCH
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn or(text: String, other: &str) -> String {
    if text.is_empty() { other.to_owned() } else { text }
}

/// What a command prints; nothing where it fails.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

const GOVERNOR: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
