//! From a request to a process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use bmstools_proto::v2::message::{Failure, FailureCode};
use bmstools_spawn::{Abort, Process, Step};
use rustix::fs::{FileType, Gid, Mode, Uid, fchmod, fchown, fstat};

use super::account::Account;
use super::{Program, cannot, killed};
use crate::v2::failure;

/// Starts a command with its standard input, output and error. It leads a session of its
/// own, and is killed when the thread ends that calls this.
///
/// Blocks for as long as the name service, or a file system, makes it wait.
///
/// # Errors
///
/// Where there is no such user, directory or command, or the system refuses.
pub(crate) fn start(
    program: &Program,
    ends: &[OwnedFd; 3],
    abort: &Abort,
) -> Result<Process, Failure> {
    let account = Account::find(program.user.as_deref())?;
    let mut command = command(program, &account);
    if program.user.is_some() {
        for end in ends {
            hand_over(end, &account).map_err(|error| cannot("hand a pipe over", &error))?;
        }
        command.user(account.user()?);
    }
    if program.term.is_some() {
        command.terminal();
    }
    command.environment(environment(program, &account)).directory(directory(program));
    command
        .start(ends.each_ref().map(AsFd::as_fd), abort)
        .map_err(|failed| refusal(program, &account, &failed))
}

/// Lets the user open its own pipes and terminal by their names in `/dev`.
fn hand_over(descriptor: impl AsFd, account: &Account) -> io::Result<()> {
    let owner = Some(Uid::from_raw(account.uid().as_raw()));
    if rustix::termios::isatty(&descriptor) {
        // It stays in the group `tty`, whose members may write to it.
        fchown(&descriptor, owner, None)?;
        fchmod(&descriptor, Mode::RUSR | Mode::WUSR | Mode::WGRP)?;
    } else if FileType::from_raw_mode(fstat(&descriptor)?.st_mode) == FileType::Fifo {
        fchown(&descriptor, owner, Some(Gid::from_raw(account.gid().as_raw())))?;
    }
    Ok(())
}

fn command(program: &Program, account: &Account) -> bmstools_spawn::Program {
    let mut arguments = program.argv.iter().map(|argument| os(argument));
    match arguments.next() {
        Some(line) if program.shell => {
            let mut command = bmstools_spawn::Program::new(shell());
            command.args([OsString::from("-c"), line]).args(arguments);
            command
        }
        Some(name) => {
            let mut command = bmstools_spawn::Program::new(name);
            command.args(arguments);
            command
        }
        None => {
            // A dash in front of its name tells a shell that this is a login.
            let shell = account.shell();
            let mut name = OsString::from("-");
            name.push(shell.file_name().unwrap_or(shell.as_os_str()));
            let mut command = bmstools_spawn::Program::new(shell);
            command.arg0(name);
            command
        }
    }
}

/// The account's environment, the terminal's name and what was asked for, the last of
/// which counts.
fn environment(program: &Program, account: &Account) -> BTreeMap<OsString, OsString> {
    let own = account.environment().map(|(name, value)| (name.into(), OsString::from_vec(value)));
    let term = program.term.as_ref().map(|term| ("TERM".into(), os(term)));
    let wanted = program.env.iter().map(|variable| (os(&variable.name), os(&variable.value)));
    own.into_iter().chain(term).chain(wanted).collect()
}

/// Where the command is to run. A name that is not absolute begins at `/`.
fn directory(program: &Program) -> PathBuf {
    match &program.cwd {
        // There is no directory without a name.
        Some(cwd) if cwd.is_empty() => PathBuf::new(),
        Some(cwd) => Path::new("/").join(OsStr::from_bytes(cwd)),
        None => "/".into(),
    }
}

/// The shell for command lines.
fn shell() -> &'static Path {
    let bash = Path::new("/bin/bash");
    if bash.exists() { bash } else { Path::new("/bin/sh") }
}

/// Why the system did not let a command run.
fn refusal(program: &Program, account: &Account, failed: &bmstools_spawn::Failure) -> Failure {
    let error = &failed.error;
    match failed.step {
        Step::Execute => not_run(program, error),
        Step::Directory => {
            let cwd = OsStr::from_bytes(program.cwd.as_ref().map_or(b"/", |cwd| cwd));
            cannot(&format!("run in the directory {}", cwd.display()), error)
        }
        Step::User => cannot(&format!("become the user {}", account.name()), error),
        Step::Prepare | Step::Process => cannot("start the command", error),
        Step::Aborted => killed(),
        _ => cannot("begin a session for the command", error),
    }
}

/// Why a command did not become what it should be.
fn not_run(program: &Program, error: &io::Error) -> Failure {
    use io::ErrorKind;
    let name = match program.argv.first() {
        Some(_) if program.shell => shell().as_os_str(),
        Some(name) => OsStr::from_bytes(name),
        None => OsStr::new("the login shell"),
    };
    let shown = name.display();
    let is_there = || name.as_bytes().contains(&b'/') && directory(program).join(name).exists();
    match error.kind() {
        ErrorKind::NotFound if is_there() => failure(
            FailureCode::NotRunnable,
            format!("{shown}: the interpreter or loader that it names is missing"),
        ),
        ErrorKind::NotFound => failure(FailureCode::NoCommand, format!("{shown}: no such command")),
        ErrorKind::ArgumentListTooLong => failure(
            FailureCode::NotRunnable,
            format!("{shown}: the arguments and the environment are too long for this system"),
        ),
        _ => failure(FailureCode::NotRunnable, format!("{shown}: {error}")),
    }
}

fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}
