//! The agent under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::binaries;
use crate::counters::Counters;
use crate::link::Link;
use crate::memory::Memory;
use crate::namespace::Namespace;
use crate::process::{Finished, Process};

/// How to start an agent.
#[derive(Debug)]
pub struct AgentCommand {
    command: Command,
    log_file: Option<PathBuf>,
}

impl AgentCommand {
    /// `bmstools-agent run` in `namespace`.
    ///
    /// # Errors
    ///
    /// Where the program has not been built.
    pub fn new(namespace: &Namespace) -> Result<Self> {
        let mut command = namespace.command(binaries::agent()?);
        command.arg("run");
        Ok(Self { command, log_file: None })
    }

    /// Serves on this interface.
    #[must_use]
    pub fn interface(self, name: &str) -> Self {
        self.argument("--iface", name)
    }

    /// Moves frames this way.
    #[must_use]
    pub fn link(self, link: Link) -> Self {
        self.argument("--link", link.to_string())
    }

    /// Takes keys from here.
    #[must_use]
    pub fn auth_directory(self, path: &Path) -> Self {
        self.argument("--auth-dir", path.to_path_buf())
    }

    /// Reads this configuration.
    #[must_use]
    pub fn config(self, path: &Path) -> Self {
        self.argument("--config", path.to_path_buf())
    }

    /// Logs to a new file and prints nothing of it at the end.
    #[must_use]
    pub fn log_file(mut self, path: &Path) -> Self {
        self.log_file = Some(path.to_path_buf());
        self
    }

    /// Starts it and waits until it receives frames.
    ///
    /// # Errors
    ///
    /// Where it ends, or is not ready within ten seconds.
    pub fn start(self) -> Result<Agent> {
        let quiet = self.log_file.is_some();
        let mut process = match self.log_file {
            Some(log) => Process::start_logged(NAME, self.command, &log)?,
            None => Process::start(NAME, self.command)?,
        };
        process.wait_for("`ready`", START_LIMIT, |log| {
            log.lines()
                .any(|line| line.split_whitespace().any(|word| word == "ready"))
                .then_some(())
        })?;
        Ok(Agent { process, quiet, kept: false })
    }

    /// Starts it and waits for its end: for what must not work.
    ///
    /// # Errors
    ///
    /// Where it keeps running.
    pub fn finish(self) -> Result<Finished> {
        Process::start(NAME, self.command)?.wait(START_LIMIT)
    }

    fn argument(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.command.arg(name).arg(value.into());
        self
    }
}

/// A running agent. Ended when dropped; its log is printed where the test failed.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    quiet: bool,
    kept: bool,
}

impl Agent {
    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until its log contains `text`.
    ///
    /// # Errors
    ///
    /// Where it does not within `limit`.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.process.wait_for(text, limit, |log| log.contains(text).then_some(()))
    }

    /// The memory that it takes.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.process.id())
    }

    /// Its counters now: asks for them with SIGUSR1.
    ///
    /// # Errors
    ///
    /// Where it does not log them.
    pub fn counters(&mut self) -> Result<Counters> {
        let before = counter_lines(&self.process.stderr()).len();
        self.process.signal(Signal::USR1)?;
        let line = self.process.wait_for("its counters", ANSWER_LIMIT, |log| {
            counter_lines(log).get(before).cloned()
        })?;
        Counters::parse(&line)
    }

    /// Ends it with `signal` and waits for that.
    ///
    /// # Errors
    ///
    /// Where it does not end within `limit`.
    pub fn end(mut self, signal: Signal, limit: Duration) -> Result<Finished> {
        self.process.signal(signal)?;
        self.process.wait(limit)
    }

    /// Lets it go on when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
        self.process.keep();
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// Where the kernel does not know it.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(!self.process.has_ended()?)
    }
}

impl Drop for Agent {
    /// The test runner shows what is printed here where the test failed.
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let _ = self.process.signal(Signal::TERM);
        let _ = self.process.wait(END_LIMIT);
        if !self.quiet {
            eprintln!("the agent's log:\n{}", self.process.stderr());
        }
    }
}

/// The complete counter lines of a log.
fn counter_lines(log: &str) -> Vec<String> {
    let complete = log.rfind('\n').map_or("", |at| &log[..at]);
    let lines = complete.lines().filter(|line| line.contains("counters") && line.contains('{'));
    lines.map(str::to_owned).collect()
}

/// The counters that an agent logged at its end.
///
/// # Errors
///
/// Where it logged none.
pub fn last_counters(log: &str) -> Result<Counters> {
    let line = counter_lines(log).pop().context("the agent logged no counters")?;
    Counters::parse(&line)
}

const NAME: &str = "bmstools-agent";
const START_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const END_LIMIT: Duration = Duration::from_secs(5);
