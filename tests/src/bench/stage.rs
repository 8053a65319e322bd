//! The two hosts between which everything is measured.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::cores::{self, RECEIVER, SENDER};
use crate::nic::{self, PairOptions};
use crate::relay::{Impairments, Relay};
use crate::{Agent, AgentCommand, Link, Namespace, Operator, Testbed, command};

/// Who does the receiver's kernel work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Napi {
    /// The sender's core, as on any veth pair where nobody changed it.
    Default,
    /// A thread on the receiver's core, as between two machines.
    Threaded,
}

impl fmt::Display for Napi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Threaded => "threaded",
        })
    }
}

/// A sender's and a receiver's namespace with a veth pair between them. When
/// dropped, everything that runs there is ended.
#[derive(Debug)]
pub(crate) struct Stage {
    bed: Testbed,
    napi: Napi,
    mtu: u32,
    threads: Mutex<[BTreeSet<i32>; 2]>,
}

impl Stage {
    /// Two hosts whose link carries `mtu` bytes behind the Ethernet header.
    ///
    /// # Errors
    ///
    /// Without root, or where something is not installed.
    pub(crate) fn new(napi: Napi, mtu: u32) -> Result<Self> {
        let options = PairOptions { mtu, ..PairOptions::default() };
        Self::with(Testbed::with(Link::Xdp, options)?, napi, mtu)
    }

    /// Two hosts with a cable between them that does this to frames.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn with_relay(impairments: Impairments) -> Result<Self> {
        let bed = Testbed::with_relay(Link::Xdp, impairments, 1)?;
        let stage = Self::with(bed, Napi::Default, PairOptions::default().mtu)?;
        // The relay takes frames up as they are, and TCP's checksums would
        // otherwise be left to hardware that does not exist.
        stage.ethtool("tx off")?;
        Ok(stage)
    }

    fn with(bed: Testbed, napi: Napi, mtu: u32) -> Result<Self> {
        // Makes the agent's directory of keys; version 2 also asks who the agent is.
        bed.agent_command()?;
        let own = bed.path("auth/private.pem");
        fs::copy(bed.keys.private_path(), &own)?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o600))?;
        let state = bed.path("state");
        fs::write(bed.path("agent.toml"), agent_config(&state))?;
        let stage = Self { bed, napi, mtu, threads: Mutex::default() };
        for (namespace, address) in
            [(stage.sender(), SENDER_ADDRESS), (stage.receiver(), RECEIVER_ADDRESS)]
        {
            namespace.ip(&format!("addr add {address}/24 brd + dev {}", nic::NAME))?;
            // Some of the others find each other by multicast.
            namespace.ip(&format!("route add 224.0.0.0/4 dev {}", nic::NAME))?;
        }
        // For TCP's sake, and it makes veth receive through NAPI, XDP or not.
        stage.ethtool("gro on")?;
        stage.settle()?;
        Ok(stage)
    }

    fn ethtool(&self, settings: &str) -> Result<()> {
        for namespace in [self.sender(), self.receiver()] {
            let mut ethtool = namespace.command("ethtool");
            ethtool.args(["-K", nic::NAME]).args(settings.split(' '));
            command::output(&mut ethtool, &format!("ethtool -K {} {settings}", nic::NAME))?;
        }
        Ok(())
    }

    /// Makes sure that the NAPI threads are there and on their cores: attaching an
    /// XDP program may have replaced them.
    ///
    /// # Errors
    ///
    /// Where the kernel has no threaded NAPI.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.napi == Napi::Default {
            return Ok(());
        }
        let all = cores::napi_threads(nic::NAME);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.iter().all(|side| !side.is_empty() && side.is_subset(&all)) {
            return Ok(());
        }
        let sides = [(self.sender(), SENDER), (self.receiver(), RECEIVER)];
        for (namespace, core) in sides {
            let before = cores::napi_threads(nic::NAME);
            let mut mine = BTreeSet::new();
            nic::thread_napi(namespace, nic::NAME)?;
            for thread in cores::napi_threads(nic::NAME).difference(&before) {
                mine.insert(*thread);
            }
            if mine.is_empty() {
                // They were there before, and of which side was not known.
                mine = threads[core].intersection(&before).copied().collect();
            }
            if mine.is_empty() {
                bail!("no NAPI thread appeared for {} (threaded NAPI needs Linux 5.12)", nic::NAME);
            }
            for thread in &mine {
                cores::pin(*thread, core)?;
            }
            threads[core] = mine;
        }
        Ok(())
    }

    /// Bytes behind the Ethernet header.
    pub(crate) const fn mtu(&self) -> u32 {
        self.mtu
    }

    /// The sender's host: where `bmstools` runs.
    pub(crate) fn sender(&self) -> &Namespace {
        self.bed.operator_namespace()
    }

    /// The receiver's host: where the agent runs.
    pub(crate) fn receiver(&self) -> &Namespace {
        self.bed.agent_namespace()
    }

    /// The cable between them.
    ///
    /// # Errors
    ///
    /// Where it is a good one.
    pub(crate) fn relay(&self) -> Result<&Relay> {
        self.bed.relay()
    }

    /// Starts an agent on the receiver's core; it logs to a file of the testbed.
    ///
    /// # Errors
    ///
    /// Where it does not become ready.
    pub(crate) fn start_agent(&self, link: Link) -> Result<Agent> {
        let agent = cores::on(RECEIVER, || {
            AgentCommand::new(self.receiver())?
                .interface(nic::NAME)
                .link(link)
                .config(&self.bed.path("agent.toml"))
                .auth_directory(&self.bed.path("auth"))
                .log_file(&self.bed.path("agent.log"))
                .start()
        })?;
        self.settle()?;
        Ok(agent)
    }

    /// The operator's command, which speaks v1 over AF_PACKET unless told
    /// otherwise.
    pub(crate) fn operator(&self) -> Operator<'_> {
        self.bed.operator().link(Link::Packet)
    }

    /// The operator's private key.
    pub(crate) fn private_key(&self) -> PathBuf {
        self.bed.keys.private_path()
    }

    /// A path in a directory for logs and settings.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.bed.path(name)
    }

    /// Whether anything on the receiver's host listens on this TCP port.
    pub(crate) fn is_listening(&self, port: u16) -> Result<bool> {
        let table = self.receiver().enter(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
        let wanted = format!(":{port:04X}");
        Ok(table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| local.ends_with(&wanted));
            local && fields.nth(1) == Some(LISTENING)
        }))
    }
}

impl Drop for Stage {
    /// Whatever a measurement left running goes before its network does.
    fn drop(&mut self) {
        for namespace in [self.sender(), self.receiver()] {
            let line = format!("ip netns pids {}", namespace.name());
            let ids = command::run(&line).unwrap_or_default();
            for id in ids.lines().filter_map(|id| Pid::from_raw(id.trim().parse().ok()?)) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

/// What differs from the defaults: nothing is kept outside of the testbed, and one
/// operator may open sessions as fast as it can.
fn agent_config(state: &Path) -> String {
    let state = state.display();
    format!(
        "[sessions]\nmax = 2048\n\
         [opens]\nper_source = 1000000\nper_source_burst = 1000000\n\
         global = 1000000\nglobal_burst = 1000000\n\
         [jobs]\ndirectory = \"{state}/jobs\"\n\
         [files]\njournal = \"{state}/unfinished\"\n"
    )
}

/// The sender's IP address, inside its namespace.
pub(crate) const SENDER_ADDRESS: &str = "10.99.0.1";
/// The receiver's IP address, inside its namespace.
pub(crate) const RECEIVER_ADDRESS: &str = "10.99.0.2";
/// The state of a listening socket in /proc/net/tcp.
const LISTENING: &str = "0A";
