//! The way out of a terminal session whose command does not listen: Enter, `~`, `.`, as
//! in ssh.

use bytes::{Bytes, BytesMut};

/// Looks for the escape in what the user types.
#[derive(Debug)]
pub(crate) struct Escape(State);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    LineBegins,
    Tilde,
    Within,
}

impl Default for Escape {
    fn default() -> Self {
        Self(State::LineBegins)
    }
}

impl Escape {
    /// What is to be sent of `typed`, and whether the escape came. `~~` at a line's
    /// beginning sends one `~`.
    pub(crate) fn filter(&mut self, typed: &Bytes) -> (Bytes, bool) {
        let mut sent = BytesMut::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.0, byte) {
                (State::LineBegins, b'~') => {
                    self.0 = State::Tilde;
                    continue;
                }
                (State::Tilde, b'.') => return (sent.freeze(), true),
                (State::Tilde, b'~') => {}
                (State::Tilde, _) => sent.extend_from_slice(b"~"),
                _ => {}
            }
            sent.extend_from_slice(&[byte]);
            self.0 = if matches!(byte, b'\r' | b'\n') { State::LineBegins } else { State::Within };
        }
        (sent.freeze(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(typed: &[&'static [u8]]) -> (Vec<u8>, bool) {
        let mut escape = Escape::default();
        let mut all = Vec::new();
        for typed in typed {
            let (sent, ended) = escape.filter(&Bytes::from_static(typed));
            all.extend_from_slice(&sent);
            if ended {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_escape_counts_at_the_beginning_of_a_line_only() {
        assert_eq!(filter(&[b"~."]), (b"".to_vec(), true));
        assert_eq!(filter(&[b"ls\r", b"~", b"."]), (b"ls\r".to_vec(), true));
        assert_eq!(filter(&[b"a~."]), (b"a~.".to_vec(), false));
    }

    #[test]
    fn another_tilde_is_sent() {
        assert_eq!(filter(&[b"~~.\r"]), (b"~.\r".to_vec(), false));
        assert_eq!(filter(&[b"~/bin\r"]), (b"~/bin\r".to_vec(), false));
        assert_eq!(filter(&[b"\n~\n~x"]), (b"\n~\n~x".to_vec(), false));
    }
}
