//! Short-lived system commands, with errors that say which one failed and why.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Runs `line`, split at spaces, and returns its standard output.
///
/// # Errors
///
/// Where the program is missing or fails; the error holds what it printed.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let mut command = Command::new(program);
    command.args(words);
    output(&mut command, line)
}

/// Runs `command`, named `line` in errors, and returns its standard output.
///
/// # Errors
///
/// As [`run`].
pub fn output(command: &mut Command, line: &str) -> Result<String> {
    let Output { status, stdout, stderr } = command
        .output()
        .with_context(|| format!("`{line}` did not start; `cargo xtask setup` installs it"))?;
    if !status.success() {
        bail!("`{line}`: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Fails with advice where this process is not root.
///
/// # Errors
///
/// Where it is not.
pub fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("network namespaces and XDP need root: run this as root (sudo -E cargo …)")
}
