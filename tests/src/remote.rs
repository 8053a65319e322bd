//! Processes that a command started on the agent's host, which is this one.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Looks again and again until something is found; `None` where it is not within
/// `limit`.
pub fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The words of the line that a command writes to `path` once it runs.
///
/// # Errors
///
/// Where it does not within ten seconds.
pub fn words_in(path: &Path) -> Result<Vec<String>> {
    let line = poll(Duration::from_secs(10), || {
        fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
    });
    let line = line.with_context(|| format!("the command did not write {}", path.display()))?;
    Ok(line.split_whitespace().map(str::to_owned).collect())
}

/// Fails unless all these processes end within `limit`.
///
/// # Errors
///
/// With the one that still runs.
pub fn require_end_of(pids: &[String], limit: Duration) -> Result<()> {
    for pid in pids {
        ensure!(poll(limit, || (!runs(pid)).then_some(())).is_some(), "process {pid} still runs");
    }
    Ok(())
}

/// Whether this process runs.
pub fn runs(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}
