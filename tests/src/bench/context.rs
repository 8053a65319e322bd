//! What all measurements share: what was asked for, the files and the time left.

use std::cell::RefCell;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Arguments;
use super::files::Files;
use super::select::Selection;
use crate::memory::MIB;

/// What all measurements share.
pub(crate) struct Context {
    /// Few rounds of small sizes.
    pub(crate) quick: bool,
    /// Bytes behind the Ethernet header.
    pub(crate) mtu: u32,
    /// What was asked for.
    pub(crate) selection: Selection,
    /// What is sent.
    pub(crate) files: Files,
    /// What is shown meanwhile.
    pub(crate) progress: Progress,
    runs: Option<u32>,
    started: Instant,
}

impl Context {
    /// As the command line says.
    ///
    /// # Errors
    ///
    /// Where a name is not known, or there is no room for files.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let selection = Selection::new(&arguments.only)?;
        let room = if arguments.quick { 512 * MIB } else { 3072 * MIB };
        let started = Instant::now();
        Ok(Self {
            quick: arguments.quick,
            mtu: arguments.mtu,
            selection,
            files: Files::new(room)?,
            progress: Progress { started, shown: RefCell::new(0) },
            runs: arguments.runs,
            started,
        })
    }

    /// The first for a full run, the second for a quick one.
    pub(crate) fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A share of the time that a whole run may take, given for a full run.
    pub(crate) fn budget(&self, seconds: u64) -> Duration {
        Duration::from_secs(self.choose(seconds, (seconds / 4).max(5)))
    }

    /// Rounds to run where `wanted` are usual.
    pub(crate) fn rounds(&self, wanted: u32) -> u32 {
        self.runs.unwrap_or(wanted)
    }

    /// Whether the command line gives the number of rounds: then it counts more
    /// than the time.
    pub(crate) const fn rounds_were_asked_for(&self) -> bool {
        self.runs.is_some()
    }

    /// Whether what takes that long would end too late.
    pub(crate) fn is_over(&self, next: Duration) -> bool {
        self.started.elapsed() + next > Duration::from_secs(self.choose(FULL, QUICK))
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Shows on standard error what is being done.
pub(crate) struct Progress {
    started: Instant,
    /// Characters of the status on the terminal.
    shown: RefCell<usize>,
}

impl Progress {
    /// Shows what is being done: one line that changes, on a terminal, else a
    /// line each.
    pub(crate) fn status(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        let line = format!("[{:2}:{:02}] {text}", seconds / 60, seconds % 60);
        if stderr().is_terminal() {
            let mut shown = self.shown.borrow_mut();
            let width = *shown;
            eprint!("\r{line:width$}");
            *shown = line.chars().count();
            let _ = stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Shows a line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    /// Takes the status away.
    pub(crate) fn clear(&self) {
        let mut shown = self.shown.borrow_mut();
        if *shown > 0 {
            eprint!("\r{:1$}\r", "", *shown);
            *shown = 0;
        }
    }
}

/// Seconds after which no further round of a full run begins.
const FULL: u64 = 37 * 60;
/// The same for a quick one.
const QUICK: u64 = 4 * 60 + 15;
