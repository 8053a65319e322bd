//! Runs commands.

mod capture;
mod group;

use std::future::Future;
use std::os::unix::ffi::OsStrExt as _;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bmstools_proto::response::{Code, ExecData, Response};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::capture::{Capture, Note};
use self::group::Group;
use crate::config::Exec as Limits;

/// Runs commands, within limits.
pub(crate) struct Executor {
    limits: Limits,
    slots: Semaphore,
}

impl Executor {
    /// An executor for all sessions.
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let slots = Semaphore::new(limits.max_commands);
        Arc::new(Self { limits, slots })
    }

    /// Room for one more command, as long as it is held.
    ///
    /// # Errors
    ///
    /// Where too many are running; says so.
    pub(crate) fn slot(&self) -> Result<SemaphorePermit<'_>, String> {
        self.slots.try_acquire().map_err(|_| {
            let max = self.limits.max_commands;
            format!("{max} commands are running already, which is exec.max_commands; try again")
        })
    }

    /// Runs `command` in `/bin/bash -c`, in a process group of its own, with an
    /// empty standard input, in `/`, in an environment of its own.
    ///
    /// The response comes when the shell has exited. Processes that it left in
    /// the background live on, and what they write after that is not waited for.
    /// When [`Limits::timeout`] has passed, the whole process group is killed.
    ///
    /// # Errors
    ///
    /// When `stop` is ready: its output, and no response. The process group is
    /// killed.
    pub(crate) async fn run<S: Future>(
        &self,
        command: &[u8],
        mut stop: Pin<&mut S>,
    ) -> Result<Response, S::Output> {
        let _slot = match self.slot() {
            Ok(slot) => slot,
            Err(message) => return Ok(Response::error(Code::UnknownError, message)),
        };
        let running = match Running::start(command, &self.limits) {
            Ok(running) => running,
            Err(response) => return Ok(response),
        };
        tokio::select! {
            response = running.finish(&self.limits) => Ok(response),
            // Dropping what runs kills it.
            stopped = &mut stop => Err(stopped),
        }
    }
}

/// A command under way. Killed with its group when dropped.
struct Running {
    group: Group,
    child: Child,
    stdout: Capture<ChildStdout>,
    stderr: Capture<ChildStderr>,
}

impl Running {
    fn start(command: &[u8], limits: &Limits) -> Result<Self, Response> {
        let mut child = shell(command).spawn().map_err(|error| refusal(command, &error))?;
        Ok(Self {
            group: Group::of(&child),
            stdout: Capture::new(child.stdout.take(), limits.max_output),
            stderr: Capture::new(child.stderr.take(), limits.max_output),
            child,
        })
    }

    async fn finish(mut self, limits: &Limits) -> Response {
        let mut note = Note::default();
        let deadline = sleep_until(Instant::now() + limits.timeout);
        tokio::pin!(deadline);
        // Fair, not biased: a command that never stops writing must not keep the
        // deadline from being seen.
        let status = loop {
            tokio::select! {
                () = self.stdout.read(), if self.stdout.is_open() => {}
                () = self.stderr.read(), if self.stderr.is_open() => {}
                status = self.child.wait() => break Some(status),
                () = &mut deadline => break None,
            }
        };
        let (result, code) = match status {
            Some(status) => {
                self.group.exited();
                (Code::Success, status.map_or(UNKNOWN_EXIT, exit_code))
            }
            None => {
                let seconds = limits.timeout.as_secs_f64();
                note.add(format_args!("killed after {seconds} s, which is exec.timeout"));
                self.group.kill();
                // A process in an uninterruptible wait outlives even SIGKILL.
                let status = timeout(REAP_TIME, self.child.wait()).await;
                if status.is_ok() {
                    self.group.exited();
                }
                (Code::UnknownError, KILLED_EXIT)
            }
        };
        self.drain().await;
        if self.stdout.is_open() || self.stderr.is_open() {
            note.add(format_args!(
                "a background process still holds the output, which was not waited for"
            ));
        }
        self.stdout.note_cut("stdout", &mut note);
        self.stderr.note_cut("stderr", &mut note);
        let data = ExecData { code, stdout: self.stdout.text(), stderr: self.stderr.text() };
        Response { code: result, msg: note.into_message(), data: Some(data) }
    }

    /// Reads what an exited command has left in the pipes. A background process
    /// may hold them open for ever, so silence ends this as well as their end.
    async fn drain(&mut self) {
        let end = Instant::now() + DRAIN_TIME;
        while (self.stdout.is_open() || self.stderr.is_open()) && Instant::now() < end {
            tokio::select! {
                biased;
                () = self.stdout.read(), if self.stdout.is_open() => {}
                () = self.stderr.read(), if self.stderr.is_open() => {}
                () = sleep(DRAIN_SILENCE) => return,
            }
        }
    }
}

fn shell(command: &[u8]) -> Command {
    let mut shell = Command::new(SHELL);
    shell
        .arg("-c")
        .arg(std::ffi::OsStr::from_bytes(command))
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    shell
}

/// Why a command could not be started.
fn refusal(command: &[u8], error: &std::io::Error) -> Response {
    use std::io::ErrorKind;
    match error.kind() {
        _ if command.contains(&0) => {
            Response::error(Code::ParameterError, "the command line contains a zero byte")
        }
        ErrorKind::ArgumentListTooLong => Response::error(
            Code::ParameterError,
            format!(
                "the command line is too long for this system ({} bytes); push it as a script and run that",
                command.len()
            ),
        ),
        _ => Response::error(Code::UnknownError, format!("cannot run {SHELL}: {error}")),
    }
}

/// The exit code, or 128 and the signal's number, as shells report it.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(UNKNOWN_EXIT)
}

const SHELL: &str = "/bin/bash";

/// Everything a command finds in its environment, whatever started the agent.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("SHELL", SHELL),
    ("LANG", "C.UTF-8"),
];

/// 128 and SIGKILL.
const KILLED_EXIT: i32 = 137;
/// Where the system does not say.
const UNKNOWN_EXIT: i32 = -1;

/// Time for a killed command to be gone.
const REAP_TIME: Duration = Duration::from_secs(2);
/// Silence after which no more output is expected of an exited command.
const DRAIN_SILENCE: Duration = Duration::from_millis(100);
/// Time after which an exited command's response is sent whatever its background
/// processes still write.
const DRAIN_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
