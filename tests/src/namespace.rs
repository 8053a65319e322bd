//! Network namespaces that go away with their owner.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, process, thread};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command;

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    kept: bool,
}

impl Namespace {
    /// A new namespace without IPv6, so that only what a test sends is on its
    /// links. `role` becomes part of the name.
    ///
    /// # Errors
    ///
    /// Without root, or without iproute2.
    pub fn new(role: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        command::require_root()?;
        SWEEP.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", process::id());
        Self::named(name)
    }

    /// A new namespace of this name, as [`new`](Self::new) makes it, but never
    /// removed by a later run.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or where there is one of this name.
    pub fn named(name: String) -> Result<Self> {
        command::require_root()?;
        command::run(&format!("ip netns add {name}"))?;
        let file = match File::open(Path::new(DIRECTORY).join(&name)) {
            Ok(file) => file,
            Err(error) => {
                remove(&name);
                return Err(error).context(format!("cannot open the new namespace {name}"));
            }
        };
        let namespace = Self { name, file, kept: false };
        namespace.enter(|| {
            for scope in ["all", "default"] {
                // Absent where the kernel has no IPv6, which is as good.
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
            }
        })?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name that `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs `program` inside. The process's id is the program's own.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs `ip` inside with these arguments, split at spaces.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        command::run(&format!("ip -n {} {arguments}", self.name))
    }

    /// Runs `work` on a thread that is inside: sockets that it opens stay inside.
    ///
    /// # Errors
    ///
    /// Where the thread cannot enter.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let joined = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map(|()| work())
            });
            inside.join()
        });
        match joined {
            Ok(result) => result.with_context(|| format!("cannot enter namespace {}", self.name)),
            Err(panic) => panic::resume_unwind(panic),
        }
    }

    /// Leaves the namespace in place when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.name);
        }
    }
}

fn remove(name: &str) {
    if let Err(error) = command::run(&format!("ip netns delete {name}")) {
        eprintln!("namespace {name} stays behind: {error:#}");
    }
}

/// Removes the namespaces of test runs that were killed before they could.
fn sweep() {
    for (name, owner) in namespaces() {
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        for pid in command::run(&format!("ip netns pids {name}")).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // Another run may be sweeping too.
        let _ = command::run(&format!("ip netns delete {name}"));
    }
}

/// The namespaces made by this crate, each with the process that made it.
fn namespaces() -> Vec<(String, u32)> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries.filter_map(|entry| parse(&entry.path()).ok()).collect()
}

fn parse(path: &Path) -> Result<(String, u32)> {
    let name = path.file_name().and_then(|name| name.to_str()).context("not a text")?;
    let rest = name.strip_prefix(PREFIX).ok_or_else(|| anyhow!("another's"))?;
    let (owner, _) = rest.split_once('-').context("no number")?;
    Ok((name.to_owned(), owner.parse()?))
}

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "bmstest-";
