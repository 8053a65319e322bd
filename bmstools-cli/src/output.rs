//! What goes to standard output and standard error, and how failures end.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::signals::Signal;

/// How results and messages are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Results and errors as JSON objects.
    pub(crate) json: bool,
    /// Nothing but results and errors.
    pub(crate) quiet: bool,
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments do not fit together.
    Usage(String),
    /// A signal stopped it.
    Interrupted(Signal),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// The command's exit code, as `--help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Interrupted(signal) => signal.exit_code(),
            Self::Other(_) => EXIT_FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Interrupted(signal) => write!(f, "interrupted by {signal}"),
            // The alternate form is the whole chain of causes in one line.
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Output {
    /// Prints a command's result: `json` if asked for, else `text`, on lines of
    /// their own.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written. A reader that went away is none.
    pub(crate) fn result(&self, json: Value, text: &str) -> io::Result<()> {
        let line = if self.json { format!("{json}\n") } else { format!("{text}\n") };
        write_all(io::stdout().lock(), line.as_bytes())
    }

    /// Hands on what a remote command wrote, byte for byte.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written. A reader that went away is none.
    pub(crate) fn remote(&self, stdout: &str, stderr: &str) -> io::Result<()> {
        write_all(io::stdout().lock(), stdout.as_bytes())?;
        write_all(io::stderr().lock(), stderr.as_bytes())
    }

    /// Tells people what they should know although the command goes on.
    pub(crate) fn warn(&self, message: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "bmstools: warning: {}", one_line(message));
        }
    }

    /// Tells why the command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        let message = one_line(&failure.to_string());
        let _ = writeln!(io::stderr().lock(), "bmstools: {message}");
        if self.json {
            let _ = writeln!(io::stdout().lock(), "{}", json!({ "error": message }));
        }
    }
}

/// `head` and its like close the pipe when they have seen enough.
pub(crate) fn write_all(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The message in one line, with nothing that a terminal would obey: parts of it
/// are in the words of an agent, which may be anybody.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let mut shown = String::new();
    for c in lines.collect::<Vec<_>>().join("; ").chars() {
        match c {
            '\t' => shown.push(' '),
            c if c.is_control() || turns_text(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Whether `c` changes the direction of the text around it, so that it reads as
/// something else (Unicode Standard Annex 9, section 2).
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Exit code of bmstools' own failures, as ssh has it.
pub(crate) const EXIT_FAILURE: u8 = 255;
/// Exit code of arguments that make no sense, as shells have it.
pub(crate) const EXIT_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_one_line_with_its_causes() {
        let cause = anyhow::anyhow!("first\nsecond\n").context("while trying");
        let failure = Failure::from(cause);
        assert_eq!(one_line(&failure.to_string()), "while trying: first; second");
        assert_eq!(failure.exit_code(), 255);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_sent() {
        let message = "no\u{1b}[2J\u{7}\tsuch\u{9b}1m \u{202e}f\u{e4}le\u{7f}\0";
        assert_eq!(
            one_line(message),
            r"no\u{1b}[2J\u{7} such\u{9b}1m \u{202e}f\u{e4}le\u{7f}\u{0}"
                .replace(r"\u{e4}", "\u{e4}")
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(write_all(Broken(io::ErrorKind::BrokenPipe), b"x").is_ok());
        assert!(write_all(Broken(io::ErrorKind::StorageFull), b"x").is_err());
    }
}
