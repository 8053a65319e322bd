//! Programs under test: their output, their end, and no way to outlive the test.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A running program with its output collected. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    started: Instant,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
    log: Option<PathBuf>,
    kept: bool,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Finished {
    /// Its exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The number of the signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard output as one JSON value.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout)
            .with_context(|| format!("not one JSON value: {}", self.text()))
    }

    /// Itself, where the exit code is 0.
    ///
    /// # Errors
    ///
    /// Otherwise, with what it printed.
    pub fn success(self) -> Result<Self> {
        if !self.status.success() {
            bail!("{}; stdout: {}; stderr: {}", self.status, self.text(), self.stderr);
        }
        Ok(self)
    }
}

impl Process {
    /// Starts `command`, in a process group of its own, without input.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn start(name: &str, command: Command) -> Result<Self> {
        Self::start_with(name, command, Stdio::null(), Stdio::piped())
    }

    /// Starts `command` as [`start`](Self::start) does, with this input and output.
    /// Output that is not piped is not collected.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn start_with(
        name: &str,
        mut command: Command,
        input: Stdio,
        output: Stdio,
    ) -> Result<Self> {
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child =
            command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = Collected::from(child.stdout.take());
        let stderr = Collected::from(child.stderr.take());
        Ok(Self { name: name.to_owned(), child, started, stdout, stderr, log: None, kept: false })
    }

    /// Starts `command` as [`start`](Self::start) does, with its standard error in
    /// a new file: it can go on when this process ends.
    ///
    /// # Errors
    ///
    /// Where it cannot be started, or the file cannot be made.
    pub fn start_logged(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).process_group(0);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let [stdout, stderr] = [Collected::nothing(), Collected::nothing()];
        let log = Some(log.to_path_buf());
        Ok(Self { name: name.to_owned(), child, started, stdout, stderr, log, kept: false })
    }

    /// Lets it go on when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().bytes).into_owned()
    }

    /// What it has written to its standard error.
    pub fn stderr(&self) -> String {
        match &self.log {
            Some(log) => String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned(),
            None => String::from_utf8_lossy(&self.stderr.lock().bytes).into_owned(),
        }
    }

    /// Waits until `wanted` finds something in its standard error.
    ///
    /// # Errors
    ///
    /// Where it ends first, or `limit` passes.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            let at_end = self.stderr.wait(if ended.is_some() { SETTLE } else { TURN });
            if at_end && ended.is_none() {
                thread::sleep(TURN);
            }
            let text = self.stderr();
            if let Some(found) = wanted(&text) {
                return Ok(found);
            }
            if let (Some(status), true) = (ended, at_end) {
                bail!("{} ended ({status}) before {what}:\n{text}", self.name);
            }
            if Instant::now() >= deadline {
                bail!("{} did not come to {what} within {limit:?}:\n{text}", self.name);
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process id that is none")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Whether it has ended.
    ///
    /// # Errors
    ///
    /// Where the kernel does not know it.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Where it runs longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Finished> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let took = self.started.elapsed();
                while !self.stdout.wait(SETTLE) || !self.stderr.wait(SETTLE) {
                    if Instant::now() >= deadline + SETTLE {
                        bail!("{} ended, but something holds its output open", self.name);
                    }
                }
                let stdout = self.stdout.lock().bytes.clone();
                return Ok(Finished { status, stdout, stderr: self.stderr(), took });
            }
            if Instant::now() >= deadline {
                bail!("{} still ran after {limit:?}; stderr: {}", self.name, self.stderr());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept && !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Bytes read by a thread until the end of a pipe.
#[derive(Debug, Default)]
struct Collected {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    at_end: bool,
}

impl Collected {
    fn nothing() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { at_end: true, ..State::default() }),
            ..Self::default()
        })
    }

    fn from(pipe: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let Some(mut pipe) = pipe else {
            return Self::nothing();
        };
        let collected = Arc::new(Self::default());
        let into = Arc::clone(&collected);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut state = into.lock();
                state.bytes.extend_from_slice(&buffer[..read]);
                state.at_end = read == 0;
                into.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        collected
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for more bytes or the end, at most `limit`. Whether the end came.
    fn wait(&self, limit: Duration) -> bool {
        let state = self.lock();
        if state.at_end {
            return true;
        }
        let waited = self.changed.wait_timeout(state, limit);
        waited.map_or_else(|error| error.into_inner().0.at_end, |(state, _)| state.at_end)
    }
}

/// Between two looks at whether a process still runs.
const TURN: Duration = Duration::from_millis(20);
/// For the last bytes of a process that has ended.
const SETTLE: Duration = Duration::from_millis(200);
