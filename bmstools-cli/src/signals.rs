//! SIGINT, SIGTERM and SIGHUP.

use std::fmt;
use std::fs;
use std::future::pending;
use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A signal that asks the command to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
    /// The terminal was closed, or the connection to it.
    Hangup,
}

impl Signal {
    /// 128 and the signal's number, as shells report it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// Catches the signals from its creation on, but those that it was told to ignore:
/// a shell's background job ignores SIGINT, and what `nohup` starts SIGHUP.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
    hangup: Option<unix::Signal>,
}

impl Signals {
    /// # Errors
    ///
    /// Where the handlers cannot be installed.
    pub(crate) fn catch() -> io::Result<Self> {
        let ignored = ignored(&fs::read_to_string(STATUS).unwrap_or_default());
        let catch = |kind: SignalKind| {
            let bit = 1 << (kind.as_raw_value() - 1);
            (ignored & bit == 0).then(|| unix::signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = received(&mut self.interrupt) => Signal::Interrupt,
            () = received(&mut self.terminate) => Signal::Terminate,
            () = received(&mut self.hangup) => Signal::Hangup,
        }
    }
}

async fn received(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// The mask of ignored signals in what proc(5) tells of a process.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

const STATUS: &str = "/proc/self/status";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        assert_eq!(ignored("SigBlk:\t00ff\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored("no mask"), 0);
        // Rust programs ignore SIGPIPE, which is number 13.
        assert_ne!(ignored(&fs::read_to_string(STATUS).unwrap()) & 1 << 12, 0);
    }
}
