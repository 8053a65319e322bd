//! One server of a command: its session, and the way from it to the user.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bmstools_proto::v2::CloseReason;
use bmstools_session::Session;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::connect::{Link, Wanted};
use super::interrupts::Interrupts;
use super::show::{Screen, Shown, Stream};
use crate::output::{Failure, Output, one_line};
use crate::progress::Progress;
use crate::signals::Signal;

/// One server of a command. What it shows is told apart from the others' where the
/// command has several.
pub(crate) struct Host {
    /// How the user called it.
    pub(super) name: String,
    pub(super) session: Session,
    pub(super) handshake: Duration,
    pub(super) link: Arc<Link>,
    pub(super) wanted: Wanted,
    pub(super) output: Output,
    pub(super) screen: Arc<Screen>,
    /// Where there are several.
    pub(super) shown: Option<Shown>,
    pub(super) signals: Mutex<Interrupts>,
}

impl Host {
    /// The session with its agent, established.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// How long it took to establish the session.
    pub(crate) fn handshake(&self) -> Duration {
        self.handshake
    }

    /// How frames move at this end, for people.
    pub(crate) fn link(&self) -> &str {
        self.link.mode()
    }

    /// Another session with its agent: where this one has broken, and may be had again.
    /// The caller closes it.
    ///
    /// # Errors
    ///
    /// Where the agent does not answer (the inner error), or refuses.
    pub(crate) async fn reconnect(&self) -> Result<Result<Session, CloseReason>, Failure> {
        match self.link.establish(&self.wanted).await? {
            Ok(session) => Ok(Ok(session)),
            Err(reason @ (CloseReason::WrongKey { .. } | CloseReason::NotAuthorized(_))) => {
                Err(self.link.explain(&self.wanted, reason).into())
            }
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Whether it is the command's only one, so that standard input and the terminal
    /// may be its.
    pub(crate) fn is_alone(&self) -> bool {
        self.shown.is_none()
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
        self.show(Stream::Stdout, bytes)
    }

    /// The same for standard error.
    ///
    /// # Errors
    ///
    /// Where standard error cannot be written. A reader that went away is none.
    pub(crate) fn stderr(&self, bytes: &[u8]) -> io::Result<()> {
        self.show(Stream::Stderr, bytes)
    }

    fn show(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match &self.shown {
            None => self.screen.write(stream, bytes),
            Some(shown) => shown.take(&self.screen, stream, bytes),
        }
    }

    /// Shows a result: `json`, an object, with the host's name in it, or `text`.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written. A reader that went away is none.
    pub(crate) fn result(&self, json: Value, text: &str) -> io::Result<()> {
        if !self.output.json {
            return self.stdout(format!("{text}\n").as_bytes());
        }
        let json = named(&self.name, json);
        // Complete and of one line, whoever else writes.
        self.screen.write(Stream::Stdout, format!("{json}\n").as_bytes())
    }

    /// Tells people what they should know although the command goes on.
    pub(crate) fn warn(&self, message: &str) {
        if self.output.quiet {
            return;
        }
        let of = if self.is_alone() { String::new() } else { format!("{}: ", self.name) };
        let line = format!("bmstools: warning: {of}{}\n", one_line(message));
        // Nobody to tell that nobody can be told.
        let _ = self.screen.write(Stream::Stderr, line.as_bytes());
    }

    /// A bar for `size` bytes; nothing is shown where nobody looks.
    pub(crate) fn progress(&self, size: u64) -> Progress {
        if self.output.quiet || self.output.json {
            return Progress::hidden();
        }
        let name = if self.is_alone() { String::new() } else { self.screen.padded(&self.name) };
        Progress::among(self.screen.bars(), &name, size)
    }

    /// The next signal that asks the command to stop. Only `exec` gets to see them: the
    /// other commands are cut off where they are, and their sessions closed.
    pub(crate) async fn signal(&self) -> Signal {
        self.signals.lock().await.next().await
    }
}

/// `json`, an object, with the host's name in it.
pub(super) fn named(name: &str, mut json: Value) -> Value {
    match &mut json {
        Value::Object(fields) => {
            fields.insert("host".to_owned(), name.into());
            json
        }
        _ => json!({ "host": name, "result": json }),
    }
}
