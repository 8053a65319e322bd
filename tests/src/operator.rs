//! The operator's command under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries;
use crate::link::Link;
use crate::namespace::Namespace;
use crate::process::{Finished, Process};

/// How to reach one agent with `bmstools`.
#[derive(Clone, Debug)]
pub struct Operator<'a> {
    namespace: &'a Namespace,
    options: Vec<(&'static str, String)>,
    json: bool,
}

impl<'a> Operator<'a> {
    /// An operator in `namespace` for `target` with this private key, who speaks
    /// version 1 unless told otherwise.
    pub fn new(namespace: &'a Namespace, target: &str, key: &Path) -> Self {
        let options = vec![
            ("-t", target.to_owned()),
            ("--key", key.display().to_string()),
            ("--proto", "v1".to_owned()),
        ];
        Self { namespace, options, json: false }
    }

    /// Moves frames this way.
    #[must_use]
    pub fn link(self, link: Link) -> Self {
        self.option("--link", link.to_string())
    }

    /// Speaks this: `v2`, `v1` or `v1-deployed`.
    #[must_use]
    pub fn dialect(self, name: &str) -> Self {
        self.option("--proto", name.to_owned())
    }

    /// Holds this private key instead.
    #[must_use]
    pub fn key(self, path: &Path) -> Self {
        self.option("--key", path.display().to_string())
    }

    /// Expects the agent to have this public key.
    #[must_use]
    pub fn agent_key(self, path: &Path) -> Self {
        self.option("--agent-key", path.display().to_string())
    }

    /// Speaks version 2.
    #[must_use]
    pub fn v2(self) -> Self {
        self.dialect("v2")
    }

    /// Reaches this target instead.
    #[must_use]
    pub fn target(self, target: &str) -> Self {
        self.option("-t", target.to_owned())
    }

    /// Prints one JSON value.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.json = true;
        self
    }

    /// Starts `bmstools … WORDS`.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn start(&self, words: &[impl AsRef<OsStr>]) -> Result<Process> {
        Process::start("bmstools", self.command(words)?)
    }

    /// The command `bmstools … WORDS`.
    ///
    /// # Errors
    ///
    /// Where it has not been built.
    pub fn command(&self, words: &[impl AsRef<OsStr>]) -> Result<Command> {
        let mut command = self.namespace.command(binaries::operator()?);
        self.arguments(&mut command, words);
        Ok(command)
    }

    /// The same with a controlling terminal, which is its standard input.
    ///
    /// # Errors
    ///
    /// Where it has not been built.
    pub fn terminal_command(&self, words: &[impl AsRef<OsStr>]) -> Result<Command> {
        let mut command = self.namespace.command("setsid");
        command.args(["--ctty", "--wait"]).arg(binaries::operator()?);
        self.arguments(&mut command, words);
        Ok(command)
    }

    /// Runs `bmstools … WORDS` to its end.
    ///
    /// # Errors
    ///
    /// Where it runs longer than two minutes.
    pub fn run(&self, words: &[impl AsRef<OsStr>]) -> Result<Finished> {
        self.start(words)?.wait(LIMIT)
    }

    /// Runs a command line on the agent's host.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn exec(&self, command: &[&str]) -> Result<Finished> {
        let words = ["exec", "--"].iter().chain(command).copied().collect::<Vec<_>>();
        self.run(&words)
    }

    /// Pushes a file, and fails unless that succeeds.
    ///
    /// # Errors
    ///
    /// With what `bmstools` printed.
    pub fn push(&self, local: &Path, remote: &Path) -> Result<Finished> {
        let finished = self.try_push(local, remote)?;
        finished.success().with_context(|| format!("push of {}", local.display()))
    }

    /// Pushes a file.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn try_push(&self, local: &Path, remote: &Path) -> Result<Finished> {
        self.run(&[PathBuf::from("push"), local.to_path_buf(), remote.to_path_buf()])
    }

    fn arguments(&self, command: &mut Command, words: &[impl AsRef<OsStr>]) {
        for (name, value) in &self.options {
            command.args([name, value.as_str()]);
        }
        if self.json {
            command.arg("--json");
        }
        command.args(words);
    }

    fn option(mut self, name: &'static str, value: String) -> Self {
        self.options.retain(|(other, _)| *other != name);
        self.options.push((name, value));
        self
    }
}

const LIMIT: Duration = Duration::from_secs(120);
