//! One server of a command: its session, and the way from it to the user.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use bmstools_session::Session;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Signal;

/// One server of a command. What it shows is told apart from the others' where the
/// command has several.
pub(crate) struct Host {
    name: String,
    session: Session,
    alone: bool,
    output: Output,
    signals: Mutex<broadcast::Receiver<Signal>>,
}

impl Host {
    /// How the user called it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The session with its agent, established.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether it is the command's only one, so that standard input and the terminal
    /// may be its.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether results are JSON objects.
    pub(crate) fn json(&self) -> bool {
        self.output.json
    }

    /// Whether nothing but results and errors is wanted.
    pub(crate) fn quiet(&self) -> bool {
        self.output.quiet
    }

    /// Hands on to standard output what the remote side wrote: as it is, or line by
    /// line behind the host's name where there are several.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written. A reader that went away is none.
    pub(crate) fn stdout(&self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().write_all(bytes)
    }

    /// The same for standard error.
    ///
    /// # Errors
    ///
    /// Where standard error cannot be written. A reader that went away is none.
    pub(crate) fn stderr(&self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().write_all(bytes)
    }

    /// Shows a result: `json`, an object, with the host's name in it, or `text`.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written. A reader that went away is none.
    pub(crate) fn result(&self, json: Value, text: &str) -> io::Result<()> {
        self.output.result(json, text)
    }

    /// Tells people what they should know although the command goes on.
    pub(crate) fn warn(&self, message: &str) {
        self.output.warn(message);
    }

    /// A bar for `size` bytes; nothing is shown where nobody looks.
    pub(crate) fn progress(&self, size: u64) -> Progress {
        Progress::new(size, self.output.quiet || self.output.json)
    }

    /// The next signal that asks the command to stop. Only `exec` gets to see them: the
    /// other commands are cut off where they are, and their sessions closed.
    pub(crate) async fn signal(&self) -> Signal {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner).resubscribe();
        match signals.recv().await {
            Ok(signal) => signal,
            Err(_) => std::future::pending().await,
        }
    }
}
