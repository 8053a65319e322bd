//! What the demonstration prints, and the commands that it runs before the
//! reader's eyes.

use std::io::{IsTerminal, stdout};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use bmstools_tests::interrupt;

/// Where a command is typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Outside of both hosts.
    Here,
    /// On the operator's host.
    Operator,
    /// On the server.
    Server,
}

/// Prints the heading of a step and what it shows.
pub(crate) fn step(number: usize, title: &str, explanation: &str) {
    println!("\n{}\n{explanation}", bold(&format!("{number}. {title}")));
}

/// Prints a command as it would be typed there.
pub(crate) fn typed(place: Place, line: &str) {
    let prompt = match place {
        Place::Here => "$",
        Place::Operator => "operator$",
        Place::Server => "server$",
    };
    println!("\n{} {line}", bold(prompt));
}

/// Runs a command whose output goes to the reader, and waits for it. What would be
/// typed for it is printed first.
///
/// # Errors
///
/// Where it cannot be started, or a signal came meanwhile.
pub(crate) fn run(place: Place, line: &str, mut command: Command) -> Result<ExitStatus> {
    interrupt::check()?;
    typed(place, line);
    let child = command.stdin(Stdio::null()).spawn().context("the command did not start")?;
    let mut child = Guard(child);
    loop {
        if let Some(status) = child.0.try_wait()? {
            interrupt::check()?;
            return Ok(status);
        }
        interrupt::check()?;
        thread::sleep(Duration::from_millis(5));
    }
}

/// As [`run`], for a command that must succeed.
///
/// # Errors
///
/// As [`run`], and where it fails.
pub(crate) fn succeed(place: Place, line: &str, command: Command) -> Result<()> {
    let status = run(place, line, command)?;
    if !status.success() {
        bail!("`{line}`: {status}");
    }
    Ok(())
}

/// Text in bold, on a terminal.
pub(crate) fn bold(text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// Words as a shell would read them, quoted where it needs that.
pub(crate) fn line(words: &[&str]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:%@=+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A child that does not outlive its owner.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && !matches!(self.0.try_wait(), Ok(Some(_))) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_prints_as_a_shell_would_read_it() {
        let words = ["bmstools", "exec", "--", "sh", "-c", "echo it's; exit 3"];
        assert_eq!(line(&words), r"bmstools exec -- sh -c 'echo it'\''s; exit 3'");
    }
}
