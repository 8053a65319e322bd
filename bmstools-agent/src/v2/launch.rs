//! Programs start through a helper, this program again under a hidden name: it
//! becomes the command only after it has a session, a terminal, a user and a directory.
//!
//! A socket is the helper's standard input. It brings what to run and the descriptors
//! to run it with, and takes back why that failed. It is closed when the helper becomes
//! the command, which says that it did.

pub(crate) mod account;
pub(crate) mod child;
pub(crate) mod socket;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use bmstools_proto::v2::message::exec::{Exec, Variable};
use bmstools_proto::v2::message::{Answer, Failure, FailureCode};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::stdin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::jobs::keeper;
use crate::v2::failure;

/// What a helper becomes.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Program {
    /// As in a request.
    #[n(0)]
    pub(crate) argv: Vec<ByteVec>,
    /// As in a request.
    #[n(1)]
    pub(crate) shell: bool,
    /// What comes on top of the account's environment.
    #[n(2)]
    pub(crate) env: Vec<Variable>,
    /// Where to run; `/` where there is none.
    #[n(3)]
    pub(crate) cwd: Option<ByteVec>,
    /// As whom to run.
    #[n(4)]
    pub(crate) user: Option<String>,
    /// `TERM`, where its standard input is a terminal.
    #[n(5)]
    pub(crate) term: Option<ByteVec>,
}

impl From<Exec> for Program {
    fn from(request: Exec) -> Self {
        let Exec { argv, shell, env, cwd, user, tty, .. } = request;
        Self { argv, shell, env, cwd, user, term: tty.map(|tty| tty.term) }
    }
}

/// Does a helper's work, where the command line asks for it.
pub(crate) fn intercept() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next()?;
    if name == CHILD && arguments.next().is_none() {
        return Some(child::main());
    }
    (name == KEEPER && arguments.next().is_none()).then(keeper::main)
}

/// The socket that a helper has as its standard input, elsewhere, and nothing else open
/// but the three standard descriptors: what started the agent may have left more, which
/// is none of a command's business.
///
/// # Errors
///
/// Where it is no helper.
pub(crate) fn take_socket() -> io::Result<UnixStream> {
    let socket = UnixStream::from(fcntl_dupfd_cloexec(stdin(), 3)?);
    socket.peer_addr()?;
    let entries = fs::read_dir("/proc/self/fd")?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    // Collected first: the directory is closed then, which is open as long as it is read.
    for number in numbers.collect::<Vec<_>>() {
        if number > 2 && number != socket.as_raw_fd() {
            let _ = nix::unistd::close(number);
        }
    }
    Ok(socket)
}

/// A helper that has been started and waits for its task. It is not in a process group
/// of its own yet.
///
/// A command is killed when the thread that calls this ends.
pub(crate) fn helper(name: &str) -> Result<(Child, UnixStream), Failure> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| cannot("make a socket", &error))?;
    let child = Command::new(THIS_PROGRAM)
        .arg0(OsString::from("bmstools-agent"))
        .arg(name)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| cannot(&format!("start {THIS_PROGRAM}"), &error))?;
    Ok((child, ours))
}

/// Lets a helper begin, and waits until it has become the command or failed.
///
/// # Errors
///
/// Where it failed; its words. It has ended then, or is about to.
pub(crate) async fn begin<T>(
    socket: UnixStream,
    task: &impl Encode<()>,
    descriptors: Vec<OwnedFd>,
) -> Result<T, Failure>
where
    T: for<'b> Decode<'b, ()>,
{
    let exchange = async {
        socket.set_nonblocking(true)?;
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        let body = socket::announce(&socket, task, &descriptors)?;
        // Before anybody looks whether the command still holds its own.
        drop(descriptors);
        socket.write_all(&body).await?;
        let mut answers = Vec::new();
        socket.take(socket::LONGEST as u64).read_to_end(&mut answers).await?;
        Ok(answers)
    };
    let answers = timeout(START_LIMIT, exchange).await.unwrap_or_else(|error| Err(error.into()));
    answered(answers)
}

/// As [`begin`], outside of a runtime. Blocks.
///
/// # Errors
///
/// As [`begin`].
pub(crate) fn begin_blocking<T>(
    socket: &UnixStream,
    task: &impl Encode<()>,
    descriptors: &[OwnedFd],
) -> Result<T, Failure>
where
    T: for<'b> Decode<'b, ()>,
{
    let exchange = || {
        socket.set_read_timeout(Some(START_LIMIT))?;
        socket.set_write_timeout(Some(START_LIMIT))?;
        socket::send(socket, task, descriptors)?;
        socket::receive_all(socket)
    };
    answered(exchange())
}

/// What a helper's answers say.
fn answered<T>(answers: io::Result<Vec<u8>>) -> Result<T, Failure>
where
    T: for<'b> Decode<'b, ()>,
{
    let answers = answers.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => failure(
            FailureCode::TimedOut,
            format!("the command did not start within {} s", START_LIMIT.as_secs()),
        ),
        _ => cannot("hand a command over", &error),
    })?;
    let mut decoder = minicbor::Decoder::new(&answers);
    let mut done = None;
    while decoder.position() < answers.len() {
        match decoder.decode::<Answer<T>>() {
            Ok(Answer::Done(answer)) => done = Some(answer),
            Ok(Answer::Failed(failure)) => return Err(failure),
            Err(error) => {
                return Err(failure(FailureCode::Other, format!("a helper answered {error}")));
            }
        }
    }
    done.ok_or_else(|| {
        failure(FailureCode::Other, "the command was killed while it was being started")
    })
}

/// The failure of something that the system did not let be done.
pub(crate) fn cannot(what: &str, error: &io::Error) -> Failure {
    use io::ErrorKind;
    let code = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => FailureCode::NotFound,
        ErrorKind::PermissionDenied => FailureCode::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FailureCode::NoSpace,
        ErrorKind::AlreadyExists => FailureCode::Exists,
        _ => FailureCode::Other,
    };
    failure(code, format!("cannot {what}: {error}"))
}

/// The helper that becomes a command.
pub(crate) const CHILD: &str = "__command";
/// The helper that keeps a job.
pub(crate) const KEEPER: &str = "__keep-job";
/// This program, even where its file has been replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Time for looking up users, mostly.
const START_LIMIT: Duration = Duration::from_secs(30);
