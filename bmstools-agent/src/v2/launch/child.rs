//! The helper that becomes a command.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use bmstools_proto::v2::message::{Answer, Failure, FailureCode};
use rustix::fs::{FileType, Gid, Mode, Uid, fchmod, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Signal, ioctl_tiocsctty, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin};

use super::account::Account;
use super::{Program, cannot, socket, take_socket};
use crate::v2::failure;

/// Becomes the command that the socket at standard input brings.
pub(crate) fn main() -> ExitCode {
    let Ok(socket) = take_socket() else { return ExitCode::FAILURE };
    let Ok((program, descriptors)) = socket::receive::<Program>(&socket) else {
        return ExitCode::FAILURE;
    };
    let failed = match prepare(&program, descriptors) {
        Ok(mut command) => {
            if socket::answer(&socket, &Answer::Done(())).is_err() {
                return ExitCode::FAILURE;
            }
            // Returns where it failed only: a second answer takes the first back.
            refusal(&program, &command.exec())
        }
        Err(failed) => failed,
    };
    // Where this fails, nobody waits for it any more.
    let _ = socket::answer(&socket, &Answer::<()>::Failed(failed));
    ExitCode::FAILURE
}

/// Does everything that comes before the command.
fn prepare(program: &Program, descriptors: Vec<OwnedFd>) -> Result<Command, Failure> {
    let fails = |error: Errno| cannot("begin a session for the command", &error.into());
    setsid().map_err(fails)?;
    let account = Account::find(program.user.as_deref())?;
    let [input, output, errors] = <[OwnedFd; 3]>::try_from(descriptors)
        .map_err(|_| failure(FailureCode::Other, "the command came without descriptors"))?;
    if program.user.is_some() {
        for descriptor in [&input, &output, &errors] {
            hand_over(descriptor, &account).map_err(|error| cannot("hand a pipe over", &error))?;
        }
    }
    dup2_stdin(&input).map_err(fails)?;
    dup2_stdout(&output).map_err(fails)?;
    dup2_stderr(&errors).map_err(fails)?;
    if program.term.is_some() {
        ioctl_tiocsctty(stdin()).map_err(fails)?;
    }
    if program.user.is_some() {
        account.become_user()?;
    }
    // After that: becoming another user takes it back.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(fails)?;
    let cwd = program.cwd.as_ref().map_or(OsStr::new("/"), |cwd| OsStr::from_bytes(cwd));
    std::env::set_current_dir(cwd)
        .map_err(|error| cannot(&format!("run in the directory {}", cwd.display()), &error))?;
    let mut command = command(program, &account);
    command.env_clear();
    for (name, value) in account.environment() {
        command.env(name, os(value));
    }
    if let Some(term) = &program.term {
        command.env("TERM", os(term.to_vec()));
    }
    for variable in &program.env {
        command.env(os(variable.name.to_vec()), os(variable.value.to_vec()));
    }
    Ok(command)
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

fn command(program: &Program, account: &Account) -> Command {
    let mut arguments = program.argv.iter().map(|argument| os(argument.to_vec()));
    match arguments.next() {
        Some(line) if program.shell => {
            let mut command = Command::new(shell());
            command.arg("-c").arg(line).args(arguments);
            command
        }
        Some(name) => {
            let mut command = Command::new(name);
            command.args(arguments);
            command
        }
        None => {
            // A dash in front of its name tells a shell that this is a login.
            let shell = account.shell();
            let mut name = OsString::from("-");
            name.push(shell.file_name().unwrap_or(shell.as_os_str()));
            let mut command = Command::new(shell);
            command.arg0(name);
            command
        }
    }
}

/// The shell for command lines.
fn shell() -> &'static Path {
    let bash = Path::new("/bin/bash");
    if bash.exists() { bash } else { Path::new("/bin/sh") }
}

/// Why the system did not let a command run.
fn refusal(program: &Program, error: &io::Error) -> Failure {
    use io::ErrorKind;
    let name = match program.argv.first() {
        Some(_) if program.shell => shell().as_os_str(),
        Some(name) => OsStr::from_bytes(name),
        None => OsStr::new("the login shell"),
    };
    let shown = name.display();
    let is_there = || name.as_bytes().contains(&b'/') && Path::new(name).exists();
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

fn os(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}
