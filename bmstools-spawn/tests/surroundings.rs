//! What a program finds when it begins.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use bmstools_spawn::{Abort, Program};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use self::common::{line, null, run, shell};

#[test]
fn an_exit_code_and_a_signal_come_back() {
    assert_eq!(run(&shell("exit 7")).unwrap().status.code(), Some(7));
    assert_eq!(run(&shell("kill -USR1 $$")).unwrap().status.signal(), Some(10));
}

#[test]
fn it_leads_a_session_and_a_group_in_the_root_directory() {
    let done = run(&shell("cut -d ' ' -f 5,6 /proc/$$/stat; pwd; echo $$")).unwrap();
    let pid = done.pid;
    assert_eq!(done.output, format!("{pid} {pid}\n/\n{pid}\n"));
}

#[test]
fn arguments_environment_and_directory_are_as_given() {
    let mut program = Program::new("sh");
    program.arg0("-name").args(["-c", "echo \"$0|$1|$A|$(pwd)\"", "zero", "a b"]);
    program.environment([("PATH", "/bin"), ("A", "\u{e9}=\n")]).directory("/usr");
    assert_eq!(run(&program).unwrap().output, "zero|a b|\u{e9}=\n|/usr\n");
    let mut program = Program::new("/usr/bin/env");
    program.environment([("Z", "1"), ("A", "")]);
    assert_eq!(run(&program).unwrap().output, "Z=1\nA=\n");
    let mut program = Program::new("/bin/cat");
    program.arg0("-other").args(["/proc/self/cmdline"]);
    assert_eq!(run(&program).unwrap().output, "-other\0/proc/self/cmdline\0");
}

#[test]
fn every_signal_does_what_it_does_by_default_and_none_is_blocked() {
    let all = u64::MAX;
    let own = || fs::read_to_string("/proc/thread-self/status").unwrap();
    // SAFETY: the mask is of that size, and this thread's alone; ignoring a signal runs
    // nothing.
    unsafe {
        let size = size_of_val(&all);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, 0, size);
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
        libc::signal(libc::SIGRTMAX(), libc::SIG_IGN);
    }
    let before = own();
    assert_ne!(line(&before, "SigBlk"), NONE);
    assert_ne!(line(&before, "SigIgn"), NONE);
    let mut cat = Program::new("/bin/cat");
    let done = run(cat.args(["/proc/self/status"])).unwrap();
    for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(line(&done.output, set), NONE, "{set}");
    }
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(line(&own(), set), line(&before, set), "the caller's {set} has changed");
    }
}

#[test]
fn nothing_but_three_descriptors_is_open() {
    // Not for programs, and for programs.
    let _pipes = (pipe_with(PipeFlags::CLOEXEC), pipe_with(PipeFlags::empty()).unwrap());
    let mut ls = Program::new("/bin/ls");
    // The last one is that of the directory.
    assert_eq!(run(ls.args(["/proc/self/fd"])).unwrap().output, "0\n1\n2\n3\n");
}

#[test]
fn descriptors_may_have_any_numbers() {
    let link = |pid: &str, number: i32| fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let given = [output.as_fd(), errors.as_fd(), input.as_fd()];
    let mut sleep = Program::new("/bin/sleep");
    let mut process = sleep.args(["1000"]).start(given, &Abort::default()).unwrap();
    let pid = process.pid().as_raw_nonzero().to_string();
    for (number, given) in (0..).zip(given) {
        assert_eq!(link(&pid, number), link("self", given.as_raw_fd()));
    }
    kill_process(process.pid(), Signal::KILL).unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(9));
    assert_eq!(process.try_wait().unwrap().unwrap().signal(), Some(9));
}

#[test]
fn standard_input_becomes_the_terminal() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    let mut shell = shell("read line; echo \"got $line\" > /dev/tty");
    let mut process = shell.terminal().start([slave.as_fd(); 3], &Abort::default()).unwrap();
    drop(slave);
    let mut master = fs::File::from(master);
    master.write_all(b"it\n").unwrap();
    let mut seen = Vec::new();
    // Its end is an error.
    let _ = master.read_to_end(&mut seen);
    assert!(process.wait().unwrap().success());
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("got it"), "{seen:?}");
}

#[test]
fn a_name_without_a_slash_is_looked_for_in_the_programs_own_path() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("1"), place.path().join("2"));
    fs::create_dir(&first).unwrap();
    fs::create_dir(&second).unwrap();
    write(&first.join("tool"), "#!/bin/sh\necho first\n", 0o644);
    write(&second.join("tool"), "#!/bin/sh\necho second\n", 0o755);
    let path = format!("/no/such:/etc/passwd:{}:{}", first.display(), second.display());
    let mut tool = Program::new("tool");
    tool.environment([("PATH", "/bin"), ("PATH", &path)]);
    // Past what is missing, what is no directory and what may not be executed.
    assert_eq!(run(&tool).unwrap().output, "second\n");
    tool.environment([("PATH", "")]).directory(&second);
    assert_eq!(run(&tool).unwrap().output, "second\n");
}

#[test]
fn a_script_without_a_first_line_is_the_shells() {
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("script");
    write(&script, "echo \"$0 $1 $2\"\n", 0o755);
    let shown = format!("{} a b c\n", script.display());
    assert_eq!(run(Program::new(&script).args(["a", "b c"])).unwrap().output, shown);
    let mut found = Program::new("script");
    found.args(["a", "b c"]).environment([("PATH", place.path())]);
    assert_eq!(run(&found).unwrap().output, shown);
    assert_eq!(run(&Program::new(&script)).unwrap().output, format!("{}  \n", script.display()));
}

#[test]
fn a_process_lives_on_when_it_is_dropped() {
    let (mut reader, writer) = io::pipe().unwrap();
    let (null, abort) = (null(), Abort::default());
    let given = [null.as_fd(), writer.as_fd(), null.as_fd()];
    shell("sleep 0.2; echo end").start(given, &abort).unwrap();
    drop(writer);
    abort.abort();
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert_eq!(output, "end\n");
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const NONE: &str = "0000000000000000";
