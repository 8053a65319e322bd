//! What a command writes, kept up to a limit.

use std::fmt::Write as _;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// One of a command's outputs: its first bytes are kept, the rest is counted.
pub(crate) struct Capture<R> {
    /// `None` once the last writer has closed it.
    pipe: Option<R>,
    kept: Vec<u8>,
    total: u64,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Capture<R> {
    /// Keeps up to `limit` bytes of `pipe`.
    pub(crate) fn new(pipe: Option<R>, limit: usize) -> Self {
        Self { pipe, kept: Vec::new(), total: 0, limit }
    }

    /// Whether more may come.
    pub(crate) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads what is there, once; waits where there is nothing. Returns without
    /// reading where the pipe is closed. May be dropped while it waits.
    pub(crate) async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0; READ_LEN];
        match pipe.read(&mut buffer).await {
            Ok(len @ 1..) => {
                self.total += len as u64;
                let room = self.limit - self.kept.len();
                self.kept.extend_from_slice(&buffer[..len.min(room)]);
            }
            Ok(0) | Err(_) => self.pipe = None,
        }
    }

    /// The kept bytes as text, with U+FFFD for what is not UTF-8.
    pub(crate) fn text(&mut self) -> String {
        let mut kept = std::mem::take(&mut self.kept);
        if self.total > kept.len() as u64
            && let Err(error) = std::str::from_utf8(&kept)
            && error.error_len().is_none()
        {
            // The limit fell inside a character.
            kept.truncate(error.valid_up_to());
        }
        match String::from_utf8(kept) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// Adds to `note` how much of the output called `name` was cut, if any.
    pub(crate) fn note_cut(&self, name: &str, note: &mut Note) {
        let cut = self.total.saturating_sub(self.limit as u64);
        if cut > 0 {
            note.add(format_args!(
                "{name} was cut: {cut} of its {} bytes are missing at the end (exec.max_output is {})",
                self.total, self.limit
            ));
        }
    }
}

/// Remarks for people, separated by semicolons.
#[derive(Default)]
pub(crate) struct Note(Option<String>);

impl Note {
    /// Adds a remark.
    pub(crate) fn add(&mut self, remark: std::fmt::Arguments<'_>) {
        let text = self.0.get_or_insert_default();
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{remark}");
    }

    /// All remarks; `None` where there is none.
    pub(crate) fn into_message(self) -> Option<String> {
        self.0
    }
}

const READ_LEN: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    async fn capture(input: &[u8], limit: usize) -> Capture<&[u8]> {
        let mut capture = Capture::new(Some(input), limit);
        while capture.is_open() {
            capture.read().await;
        }
        capture
    }

    #[tokio::test]
    async fn output_within_the_limit_is_whole_and_without_a_mark() {
        let mut capture = capture(b"abcd", 4).await;
        let mut note = Note::default();
        capture.note_cut("stdout", &mut note);
        assert_eq!(capture.text(), "abcd");
        assert_eq!(note.into_message(), None);
    }

    #[tokio::test]
    async fn output_past_the_limit_is_counted_and_marked() {
        let mut capture = capture(&[b'x'; 20_000], 5000).await;
        let mut note = Note::default();
        capture.note_cut("stderr", &mut note);
        assert_eq!(capture.text(), "x".repeat(5000));
        let message = note.into_message().unwrap();
        assert!(message.starts_with("stderr was cut: 15000 of its 20000 bytes"), "{message}");
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(capture(b"a\xff\xe2\x82", 100).await.text(), "a\u{fffd}\u{fffd}");
    }

    #[tokio::test]
    async fn a_character_that_the_limit_cuts_is_left_out() {
        assert_eq!(capture("a€€".as_bytes(), 6).await.text(), "a€");
    }
}
