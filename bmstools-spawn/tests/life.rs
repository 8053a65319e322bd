//! How long starting takes, and when a program is ended.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::env;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bmstools_spawn::{Abort, Process, Program, Step, User};
use tempfile::TempDir;

use self::common::{NOBODY, nobody, null, run, shell};

#[test]
fn it_is_killed_when_the_thread_ends_that_started_it() {
    for user in [None, Some(nobody())] {
        let mut sleep = Program::new("/bin/sleep");
        sleep.args(["1000"]);
        if let Some(user) = user {
            sleep.user(user);
        }
        let started = thread::spawn(move || start(&sleep)).join();
        assert_eq!(started.unwrap().wait().unwrap().signal(), Some(9));
    }
}

#[test]
fn it_lives_while_the_thread_does_that_started_it() {
    let mut process = start(&shell("sleep 0.3; exit 5"));
    assert!(process.try_wait().unwrap().is_none());
    assert_eq!(process.wait().unwrap().code(), Some(5));
}

#[test]
fn many_threads_start_programs_at_once() {
    let over = Arc::new(AtomicBool::new(false));
    // The memory under the new processes changes.
    let allocating: Vec<_> = (0..2)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    drop((0..100).map(|size| vec![1_u8; size * 1000]).collect::<Vec<_>>());
                }
            })
        })
        .collect();
    let starting: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                for turn in 0..40 {
                    let mut program = shell(&format!("echo $0; exit {number}"));
                    program.args([format!("{number} {turn}")]);
                    if turn % 4 == 0 {
                        program.user(nobody());
                    }
                    let done = run(&program).unwrap();
                    assert_eq!(done.status.code(), Some(number));
                    assert_eq!(done.output, format!("{number} {turn}\n"));
                    assert_eq!(
                        run(&Program::new("/no/such")).map(drop).unwrap_err().step,
                        Step::Execute
                    );
                }
            })
        })
        .collect();
    for thread in starting {
        thread.join().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for thread in allocating {
        thread.join().unwrap();
    }
}

#[test]
fn a_start_that_takes_too_long_is_aborted() {
    for user in [None, Some(nobody())] {
        let held = Held::start(user);
        assert!(!held.starting.is_finished(), "nothing holds it back");
        let aborted = Instant::now();
        assert_eq!(held.abort(), Step::Aborted);
        assert!(aborted.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn nobody_gets_at_a_copy_of_the_callers_memory() {
    // The setting with which nothing else would protect it.
    let before = fs::read_to_string(SUID_DUMPABLE).unwrap();
    fs::write(SUID_DUMPABLE, "1").unwrap();
    let held = Held::start(Some(nobody()));
    fs::write(SUID_DUMPABLE, before).unwrap();
    let owner = owner_of_copy(NOBODY);
    held.abort();
    assert_eq!(owner, Some(0));
}

/// A program that does not get beyond its start.
struct Held {
    starting: JoinHandle<Step>,
    abort: Arc<Abort>,
    _lease: File,
    _place: TempDir,
}

impl Held {
    fn start(user: Option<User>) -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = place.path().join("program");
        fs::copy("/bin/true", &path).unwrap();
        let mut program = Program::new(&path);
        if let Some(user) = user {
            program.user(user);
        }
        let file = File::open(&path).unwrap();
        lease(&file);
        let abort = Arc::new(Abort::default());
        let theirs = Arc::clone(&abort);
        let starting = thread::spawn(move || {
            let null = null();
            program.start([null.as_fd(); 3], &theirs).map(drop).unwrap_err().step
        });
        thread::sleep(Duration::from_millis(300));
        Self { starting, abort, _lease: file, _place: place }
    }

    /// At which step it ended.
    fn abort(self) -> Step {
        self.abort.abort();
        self.starting.join().unwrap()
    }
}

/// To whom the files of a process belong that this one has started, that is `uid`'s and
/// that has not become a program. They are root's where nobody else may have its memory
/// (proc_pid(5)).
fn owner_of_copy(uid: u32) -> Option<u32> {
    let (own, program) = (std::process::id().to_string(), env::current_exe().unwrap());
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let place = entry.unwrap().path();
        let status = fs::read_to_string(place.join("status")).ok()?;
        let has = |field: &str, value: &str| {
            status.lines().any(|line| line.split_whitespace().take(2).eq([field, value]))
        };
        let is_copy = has("PPid:", &own)
            && has("Uid:", &uid.to_string())
            && fs::read_link(place.join("exe")).ok()? == program;
        is_copy.then(|| fs::metadata(place.join("environ")).unwrap().uid())
    })
}

/// Makes everybody else who opens the file wait, for up to 45 s (`F_SETLEASE` in
/// fcntl(2)). The signal that tells of them would end this process.
fn lease(file: &File) {
    // SAFETY: ignoring a signal runs nothing.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    // A process that is just being started has a copy of the descriptor for a moment.
    for _ in 0..1000 {
        // SAFETY: it takes numbers, and no pointer.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) } == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("no lease: {}", std::io::Error::last_os_error());
}

fn start(program: &Program) -> Process {
    let null = null();
    program.start([null.as_fd(); 3], &Abort::default()).unwrap()
}

const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";
