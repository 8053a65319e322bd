//! The two hosts and the cable between them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bmstools_tests::memory::{self, MIB};
use bmstools_tests::nic::{self, End, PairOptions};
use bmstools_tests::testbed::{AGENT_MAC, OPERATOR_MAC};
use bmstools_tests::{Namespace, binaries};
use tempfile::TempDir;

use crate::{Arguments, show};

/// An operator's and an agent's host. Removed when dropped, unless kept.
pub(crate) struct Hosts {
    /// Where `bmstools` runs.
    pub(crate) operator: Namespace,
    /// Where `bmstools-agent` runs.
    pub(crate) agent: Namespace,
    directory: Option<TempDir>,
    path: PathBuf,
}

impl Hosts {
    /// Two namespaces, connected, and a directory with room for the files.
    pub(crate) fn make(arguments: &Arguments) -> Result<Self> {
        let files = arguments.size.0.saturating_mul(2).saturating_add(MIB);
        let directory = memory::directory("bmstools-demo-", files)
            .context("--size gives the bytes to push; they are stored twice")?;
        let make = |role: &str| {
            if !arguments.keep {
                return Namespace::new(role);
            }
            let name = format!("bmstools-{role}");
            Namespace::named(name.clone()).with_context(|| {
                format!("a demonstration was kept before: `ip netns delete {name}` removes it")
            })
        };
        let (operator, agent) = (make("operator")?, make("agent")?);
        nic::connect(
            End { namespace: &operator, name: nic::NAME, mac: OPERATOR_MAC },
            End { namespace: &agent, name: nic::NAME, mac: AGENT_MAC },
            PairOptions::default(),
        )?;
        let path = directory.path().to_path_buf();
        Ok(Self { operator, agent, directory: Some(directory), path })
    }

    /// A file of the demonstration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The demonstration's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.path
    }

    /// `bmstools` for the agent, on the operator's host; what would be typed for it.
    pub(crate) fn bmstools(&self, words: &[&str]) -> Result<(String, Command)> {
        let target = AGENT_MAC.to_string();
        let words = [&["bmstools", "-t", &target], words].concat();
        let mut command = self.operator.command(binaries::operator()?);
        command.args(&words[1..]).env(KEY_VARIABLE, self.private_key());
        Ok((show::line(&words), command))
    }

    /// The operator's key.
    pub(crate) fn private_key(&self) -> PathBuf {
        self.path("auth/private.pem")
    }

    /// Leaves everything in place.
    pub(crate) fn keep(&mut self) {
        self.operator.keep();
        self.agent.keep();
        if let Some(directory) = self.directory.take() {
            let _ = directory.keep();
        }
    }
}

/// Names the operator's key to `bmstools`.
pub(crate) const KEY_VARIABLE: &str = "BMSTOOLS_KEY";
