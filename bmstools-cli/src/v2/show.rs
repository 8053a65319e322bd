//! What several hosts show at the same time: bars, and lines behind names.

use std::fmt;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tempfile::SpooledTempFile;

use crate::output::write_all;

/// Where everything that hosts show goes through, one thing at a time.
pub(crate) struct Screen {
    bars: MultiProgress,
    width: usize,
    grouped: bool,
}

/// One of the two streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How one of several hosts' output is shown.
pub(crate) struct Shown {
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What has come of a line that is not over, of each stream.
    lines: [Vec<u8>; 2],
    /// What is kept until the host is done, of each stream.
    kept: Option<[SpooledTempFile; 2]>,
}

impl Screen {
    /// For hosts with these names. Bars are shown where `bars` and standard error is a
    /// terminal; `grouped` keeps each host's output until it is done.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>, bars: bool, grouped: bool) -> Self {
        let target = match bars && io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let width = names.map(|name| name.chars().count()).max().unwrap_or_default();
        Self { bars: MultiProgress::with_draw_target(target), width, grouped }
    }

    /// The bars of all hosts.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// `name` as long as the longest is.
    pub(crate) fn padded(&self, name: &str) -> String {
        format!("{name:width$}", width = self.width)
    }

    /// Writes, with the bars out of the way.
    ///
    /// # Errors
    ///
    /// Where the stream cannot be written. A reader that went away is none.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.bars.suspend(|| match stream {
            Stream::Stdout => write_all(io::stdout().lock(), bytes),
            Stream::Stderr => write_all(io::stderr().lock(), bytes),
        })
    }
}

impl Shown {
    /// Of the host `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::default() }
    }

    /// Takes what the host wrote, and shows the lines that are complete, each behind the
    /// host's name; or keeps it.
    ///
    /// # Errors
    ///
    /// Where it cannot be written or kept.
    pub(crate) fn take(&self, screen: &Screen, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if screen.grouped {
            let [stdout, stderr] = state.kept.get_or_insert_with(|| {
                [SpooledTempFile::new(KEPT_IN_MEMORY), SpooledTempFile::new(KEPT_IN_MEMORY)]
            });
            return match stream {
                Stream::Stdout => stdout.write_all(bytes),
                Stream::Stderr => stderr.write_all(bytes),
            };
        }
        let lines = complete(&mut state.lines[stream as usize], bytes);
        screen.write(stream, &behind(&screen.padded(&self.name), &lines))
    }

    /// Shows what is left: the host is done.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub(crate) fn finish(&self, screen: &Screen) -> io::Result<()> {
        let mut state = self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut state.lines[stream as usize]);
            screen.write(stream, &behind(&screen.padded(&self.name), &rest))?;
        }
        let Some([stdout, stderr]) = state.kept.take() else { return Ok(()) };
        screen.write(Stream::Stdout, format!("==> {} <==\n", self.name).as_bytes())?;
        for (stream, mut kept) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            kept.rewind()?;
            let mut buffer = vec![0; 64 << 10];
            let mut last = b'\n';
            loop {
                let len = kept.read(&mut buffer)?;
                let Some(end) = buffer[..len].last() else { break };
                last = *end;
                screen.write(stream, &buffer[..len])?;
            }
            if last != b'\n' {
                screen.write(stream, b"\n")?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({})", self.name)
    }
}

/// Adds `bytes` to what has come of a line, and takes the lines that are complete.
fn complete(pending: &mut Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    pending.extend_from_slice(bytes);
    let end = match pending.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => at + 1,
        None if pending.len() >= LONGEST_LINE => pending.len(),
        None => 0,
    };
    pending.drain(..end).collect()
}

/// Each line of `bytes` behind `name`, all of them ended.
fn behind(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + name.len() + 3);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b" | ");
        text.extend_from_slice(line);
    }
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text
}

/// Bytes of a line that are waited for; a longer one is shown in parts.
const LONGEST_LINE: usize = 64 << 10;
/// Bytes of a stream that are kept in memory; more go to a temporary file.
const KEPT_IN_MEMORY: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_stands_behind_its_hosts_name() {
        assert_eq!(behind("web", b"a\n\nb"), b"web | a\nweb | \nweb | b\n");
        assert_eq!(behind("web", b""), b"");
    }

    #[test]
    fn a_line_is_held_until_it_is_complete_or_too_long() {
        let mut pending = Vec::new();
        assert_eq!(complete(&mut pending, b"no end"), b"");
        assert_eq!(complete(&mut pending, b" yet\nand\nnext"), b"no end yet\nand\n");
        assert_eq!(pending, b"next");
        assert_eq!(complete(&mut pending, &vec![b'x'; LONGEST_LINE]).len(), LONGEST_LINE + 4);
        assert_eq!(pending, b"");
    }

    #[test]
    fn what_is_grouped_is_kept_until_the_end() {
        let screen = Screen::new(["a"].into_iter(), false, true);
        let shown = Shown::new("a");
        shown.take(&screen, Stream::Stdout, b"one\n").unwrap();
        let mut kept = shown.lock().kept.take().unwrap();
        kept[0].rewind().unwrap();
        let mut text = String::new();
        kept[0].read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\n");
    }
}
