//! Threads that start commands.
//!
//! A command is killed when the thread ends that has started it: these end with the
//! agent. And whatever starting a command waits for, a user's name or a file system that
//! does not answer, no other command waits for it. (A name service that never answers
//! keeps its thread: there are as many threads as there may be commands.)

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use bmstools_proto::v2::message::{Failure, FailureCode};
use bmstools_spawn::Abort;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::start::start;
use super::{Program, START_LIMIT, cannot, killed, too_slow};
use crate::v2::exec::leader::Leader;
use crate::v2::failure;

/// Starts commands, each on a thread that has nothing else to do.
pub(crate) struct Starter {
    most: usize,
    threads: Arc<Mutex<Threads>>,
}

#[derive(Default)]
struct Threads {
    all: usize,
    idle: Vec<mpsc::Sender<Task>>,
}

struct Task {
    program: Program,
    ends: [OwnedFd; 3],
    abort: Arc<Abort>,
    started: oneshot::Sender<Result<Leader, Failure>>,
}

/// Ends a start that nobody waits for any more.
struct Waiting(Arc<Abort>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Starter {
    /// No thread, and later no more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, threads: Arc::default() }
    }

    /// Starts a command with its standard input, output and error. Where this is
    /// dropped, it is killed.
    ///
    /// # Errors
    ///
    /// As [`start`], and where that takes too long.
    pub(crate) async fn start(
        &self,
        program: Program,
        ends: [OwnedFd; 3],
    ) -> Result<Leader, Failure> {
        let waiting = Waiting(Arc::default());
        let (started, leader) = oneshot::channel();
        let abort = Arc::clone(&waiting.0);
        self.give(Task { program, ends, abort, started })?;
        match timeout(START_LIMIT, leader).await {
            Ok(leader) => leader.unwrap_or_else(|_| Err(killed())),
            Err(_) => Err(too_slow()),
        }
    }

    /// Gives a task to a thread.
    fn give(&self, task: Task) -> Result<(), Failure> {
        let mut threads = lock(&self.threads);
        let thread = match threads.idle.pop() {
            Some(thread) => thread,
            None if threads.all < self.most => {
                let thread = self.begin().map_err(|error| cannot("start a thread", &error))?;
                threads.all += 1;
                thread
            }
            None => {
                let message = format!("{} commands do not get beyond their start", self.most);
                return Err(failure(FailureCode::Limit, message));
            }
        };
        drop(threads);
        // It lives as long as the agent.
        thread.send(task).map_err(|_| killed())
    }

    /// One more thread.
    fn begin(&self) -> std::io::Result<mpsc::Sender<Task>> {
        let (thread, tasks) = mpsc::channel::<Task>();
        let (own, threads, runtime) =
            (thread.clone(), Arc::clone(&self.threads), Handle::current());
        thread::Builder::new().name("starter".into()).spawn(move || {
            let _runtime = runtime.enter();
            for Task { program, ends, abort, started } in tasks {
                let leader = start(&program, &ends, &abort).and_then(|process| {
                    Leader::new(process).map_err(|error| cannot("watch the command", &error))
                });
                // Before anybody looks whether the command still holds its own.
                drop(ends);
                lock(&threads).idle.push(own.clone());
                // Killed where nobody waits for it any more.
                drop(started.send(leader));
            }
        })?;
        Ok(thread)
    }
}

fn lock(threads: &Mutex<Threads>) -> MutexGuard<'_, Threads> {
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};
    use std::time::Duration;

    use super::*;

    fn program(script: &str) -> Program {
        let argv = ["sh", "-c", script].map(|word| word.as_bytes().to_vec().into()).to_vec();
        Program { argv, shell: false, env: Vec::new(), cwd: None, user: None, term: None }
    }

    /// The command's ends, and what it writes to.
    fn ends() -> ([OwnedFd; 3], io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let ends = [writer.try_clone().unwrap(), writer.try_clone().unwrap(), writer];
        (ends.map(OwnedFd::from), reader)
    }

    #[tokio::test]
    async fn a_thread_starts_one_command_after_another() {
        let starter = Starter::new(1);
        for _ in 0..3 {
            let (ends, mut reader) = ends();
            let leader = starter.start(program("echo $PPID"), ends).await.unwrap();
            leader.ended().await;
            assert!(leader.reap().unwrap().success());
            let mut output = String::new();
            reader.read_to_string(&mut output).unwrap();
            assert_eq!(output, format!("{}\n", std::process::id()));
            // It is idle before it answers.
            assert_eq!(lock(&starter.threads).idle.len(), 1);
        }
    }

    #[tokio::test]
    async fn there_are_no_more_threads_than_allowed() {
        let refused = Starter::new(0).start(program("true"), ends().0).await.map(drop);
        assert_eq!(refused.unwrap_err().code, FailureCode::Limit);
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_is_killed() {
        let starter = Starter::new(1);
        for turn in 0..20 {
            let (ends, mut reader) = ends();
            let started = starter.start(program("sleep 1000 & wait"), ends);
            tokio::select! {
                biased;
                _ = started => unreachable!("it is polled once"),
                // Before, while and after it starts.
                () = async { std::thread::sleep(Duration::from_micros(turn * 200)) } => {}
            }
            // Its end comes when nobody has the pipe open any more.
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
            while lock(&starter.threads).idle.is_empty() {
                std::thread::yield_now();
            }
        }
    }
}
