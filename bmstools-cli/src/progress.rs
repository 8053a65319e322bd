//! How far a push is, on a terminal.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

/// A progress bar on standard error, where that is a terminal. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for `size` bytes; none where `quiet` or not on a terminal.
    pub(crate) fn new(size: u64, quiet: bool) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new(size);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// A bar for `size` bytes among others, behind a name where that is not empty.
    pub(crate) fn among(bars: &MultiProgress, name: &str, size: u64) -> Self {
        // Complete before it is added: from there on it is drawn.
        let bar = ProgressBar::new(size).with_prefix(name.to_owned());
        let template = if name.is_empty() { TEMPLATE } else { NAMED };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar: bars.add(bar) }
    }

    /// No bar.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Shows that `bytes` of `total` have arrived, and how many frames were sent again.
    pub(crate) fn show(&self, bytes: u64, total: u64, resent: u64) {
        self.bar.set_length(total);
        self.bar.set_position(bytes);
        if resent > 0 {
            self.bar.set_message(format!("{resent} frames sent again"));
        }
    }

    /// Shows that `bytes` have arrived.
    pub(crate) fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a finished push was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    bytes: u64,
    took: Duration,
    retransmitted: u64,
}

impl Summary {
    /// Of a push of `bytes` that began at `started` and is confirmed.
    pub(crate) fn new(bytes: u64, started: Instant, retransmitted: u64) -> Self {
        Self { bytes, took: started.elapsed(), retransmitted }
    }

    /// For people, in one line.
    pub(crate) fn line(&self, remote: &str) -> String {
        format!(
            "{remote}: {} bytes in {:.3} s ({}/s), {} frames sent again",
            self.bytes,
            self.took.as_secs_f64(),
            HumanBytes(self.rate() as u64),
            self.retransmitted,
        )
    }

    /// For programs.
    pub(crate) fn json(&self, remote: &str) -> serde_json::Value {
        serde_json::json!({
            "remote": remote,
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "bytes_per_second": self.rate(),
            "retransmitted": self.retransmitted,
        })
    }

    /// Bytes a second.
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

const TEMPLATE: &str =
    "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left {msg}";

/// The same behind a name.
const NAMED: &str = "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left {msg}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bars_are_valid() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
        ProgressStyle::with_template(NAMED).unwrap();
    }

    #[test]
    fn the_summary_tells_bytes_time_rate_and_retransmissions() {
        let summary =
            Summary { bytes: 3 << 20, took: Duration::from_millis(1500), retransmitted: 7 };
        assert_eq!(
            summary.line("/tmp/x"),
            "/tmp/x: 3145728 bytes in 1.500 s (2.00 MiB/s), 7 frames sent again"
        );
        let json = summary.json("/tmp/x");
        assert_eq!(json["bytes_per_second"], 2.0 * 1024.0 * 1024.0);
        assert_eq!(json["retransmitted"], 7);
    }
}
