//! The process that keeps a job: it starts the command, writes down what that writes
//! and how it ended, and lives on when the agent ends.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bmstools_proto::v2::message::exec::{Job, JobState, Started};
use bmstools_proto::v2::message::{Answer, Failure};
use bmstools_spawn::{Abort, Process};
use minicbor::{Decode, Encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, setsid};
use rustix::stdio::dup2_stdin;

use super::store;
use crate::v2::exec::leader::signal_group;
use crate::v2::exec::{KILL_AFTER, exited};
use crate::v2::launch::start::start;
use crate::v2::launch::{self, Program, cannot, socket};

/// What a keeper is to do.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Task {
    /// What to run.
    #[n(0)]
    pub(crate) program: Program,
    /// The record to keep, but for the process's number.
    #[n(1)]
    pub(crate) job: Job,
    /// The job's directory.
    #[n(2)]
    pub(crate) place: String,
    /// Bytes kept of each output.
    #[n(3)]
    pub(crate) max_output: u64,
    /// Milliseconds after which the command is ended.
    #[n(4)]
    pub(crate) timeout: Option<u64>,
}

/// Keeps the job that the socket at standard input brings.
pub(crate) fn main() -> ExitCode {
    let Ok(socket) = launch::take_socket() else { return ExitCode::FAILURE };
    let Ok(task) = socket::receive::<Task>(&socket) else { return ExitCode::FAILURE };
    let keeper = match Keeper::start(task) {
        Ok(keeper) => keeper,
        Err(failed) => {
            // Where this fails, nobody waits for it any more.
            let _ = socket::answer(&socket, &Answer::<Started>::Failed(failed));
            return ExitCode::FAILURE;
        }
    };
    let started = Started { pid: keeper.job.pid, job: Some(keeper.job.id.clone()) };
    // An agent that has gone finds the job in its directory.
    let _ = socket::answer(&socket, &Answer::Done(started));
    drop(socket);
    match keeper.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Keeper {
    place: PathBuf,
    job: Job,
    pid: Pid,
    process: Process,
    end: OwnedFd,
    output: Log,
    errors: Log,
    deadline: Option<Instant>,
    timed_out: bool,
    _lock: File,
}

impl Keeper {
    fn start(task: Task) -> Result<Self, Failure> {
        let Task { program, mut job, place, max_output, timeout } = task;
        let place = PathBuf::from(place);
        let fails =
            |error: io::Error| cannot(&format!("keep a job in {}", place.display()), &error);
        // On its own, so that nothing sent to the agent's terminal or group ends it.
        setsid().map_err(|error| fails(error.into()))?;
        let lock = store::keep(&place).map_err(fails)?;
        let (output, to_output) = Log::new(&place, store::OUTPUT, max_output).map_err(fails)?;
        let (errors, to_errors) = Log::new(&place, store::ERRORS, max_output).map_err(fails)?;
        let null = OwnedFd::from(File::open("/dev/null").map_err(fails)?);
        dup2_stdin(&null).map_err(|error| fails(error.into()))?;
        let ends = [null, to_output, to_errors];
        // Killed with this thread, which is this process's only one.
        let process = start(&program, &ends, &Abort::default())?;
        drop(ends);
        let pid = process.pid();
        let end = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| fails(error.into()))?;
        job.pid = pid.as_raw_nonzero().get().unsigned_abs();
        store::write(&place, &job).map_err(fails)?;
        let deadline = timeout.map(|timeout| Instant::now() + Duration::from_millis(timeout));
        let timed_out = false;
        Ok(Self { place, job, pid, process, end, output, errors, deadline, timed_out, _lock: lock })
    }

    fn run(mut self) -> io::Result<()> {
        while self.job.state == JobState::Running {
            let [output, errors, end] = self.wait()?;
            if output {
                self.output.copy();
            }
            if errors {
                self.errors.copy();
            }
            if end {
                self.write_end()?;
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.time_is_over();
            }
        }
        // Processes that the command left behind may still write.
        while self.output.pipe.is_some() || self.errors.pipe.is_some() {
            let [output, errors, _] = self.wait()?;
            if output {
                self.output.copy();
            }
            if errors {
                self.errors.copy();
            }
        }
        self.write_record()
    }

    /// Waits until there is something to read, the command has ended or its time is over.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let mut fds = Vec::with_capacity(3);
        let mut add = |fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let output = self.output.pipe.as_ref().map(|pipe| add(pipe.as_fd()));
        let errors = self.errors.pipe.as_ref().map(|pipe| add(pipe.as_fd()));
        let runs = (self.job.state == JobState::Running).then(|| add(self.end.as_fd()));
        let left = self.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left + Duration::from_millis(1)).unwrap_or_default()
        });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok([output, errors, runs].map(|wanted| wanted.is_some() && ready.next() == Some(true)))
    }

    /// Writes down how the command ended, and what it had written by then.
    fn write_end(&mut self) -> io::Result<()> {
        self.output.drain();
        self.errors.drain();
        if self.timed_out {
            signal_group(self.pid, Signal::KILL);
        }
        let exited = exited(self.process.wait(), self.timed_out);
        self.job.state = JobState::Exited;
        self.job.ended = Some(now());
        self.job.exited = Some(exited);
        self.deadline = None;
        self.write_record()
    }

    fn write_record(&mut self) -> io::Result<()> {
        self.job.output_cut = self.output.cut;
        self.job.errors_cut = self.errors.cut;
        store::write(&self.place, &self.job)
    }

    fn time_is_over(&mut self) {
        if self.timed_out {
            signal_group(self.pid, Signal::KILL);
            self.deadline = None;
        } else {
            signal_group(self.pid, Signal::TERM);
            signal_group(self.pid, Signal::CONT);
            self.deadline = Some(Instant::now() + KILL_AFTER);
        }
        self.timed_out = true;
    }
}

/// One of a command's outputs, kept in a file up to a limit.
struct Log {
    pipe: Option<PipeReader>,
    file: File,
    room: u64,
    cut: u64,
}

impl Log {
    /// A new file, and the command's end of the pipe to it.
    fn new(place: &Path, name: &str, room: u64) -> io::Result<(Self, OwnedFd)> {
        let file =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(place.join(name))?;
        let (pipe, command) = io::pipe()?;
        Ok((Self { pipe: Some(pipe), file, room, cut: 0 }, command.into()))
    }

    /// Takes what is there, once.
    fn copy(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = [0; CHUNK];
        match pipe.read(&mut buffer) {
            Ok(read @ 1..) => self.keep(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.pipe = None,
        }
    }

    /// Takes everything that is there.
    fn drain(&mut self) {
        let left = self.pipe.as_ref().and_then(|pipe| ioctl_fionread(pipe).ok()).unwrap_or(0);
        for _ in 0..left.div_ceil(CHUNK as u64) {
            self.copy();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        // Where the file system is full, this is the limit.
        let kept = if self.file.write_all(&bytes[..fits]).is_ok() { fits } else { 0 };
        self.room = if kept == fits { self.room - fits as u64 } else { 0 };
        self.cut += (bytes.len() - kept) as u64;
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

const CHUNK: usize = 1 << 16;
