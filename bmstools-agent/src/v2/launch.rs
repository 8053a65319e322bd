//! Commands start from threads of their own, and what keeps a job from a helper: this
//! program again under a hidden name.
//!
//! A socket is the helper's standard input. It brings what to keep, and takes back why
//! that failed or what runs.

pub(crate) mod account;
pub(crate) mod socket;
pub(crate) mod start;
pub(crate) mod starter;

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

/// What to run.
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
    (arguments.next()? == KEEPER && arguments.next().is_none()).then(keeper::main)
}

/// The socket that a helper has as its standard input, elsewhere, and nothing else open
/// but the three standard descriptors: what started the agent may have left more, which
/// is none of a job's business.
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

/// A helper that has been started and waits for its task.
pub(crate) fn helper() -> Result<(Child, UnixStream), Failure> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| cannot("make a socket", &error))?;
    let child = Command::new(THIS_PROGRAM)
        .arg0(OsString::from("bmstools-agent"))
        .arg(KEEPER)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| cannot(&format!("start {THIS_PROGRAM}"), &error))?;
    Ok((child, ours))
}

/// Lets a helper begin, and waits for its answer.
///
/// # Errors
///
/// Where it failed; its words. It has ended then, or is about to.
pub(crate) async fn begin<T>(socket: UnixStream, task: &impl Encode<()>) -> Result<T, Failure>
where
    T: for<'b> Decode<'b, ()>,
{
    let exchange = async {
        let task = socket::message(task)?;
        socket.set_nonblocking(true)?;
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        socket.write_all(&task).await?;
        let mut answer = Vec::new();
        socket.take(socket::LONGEST as u64).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer = timeout(START_LIMIT, exchange).await.map_err(|_| too_slow())?;
    let answer = answer.map_err(|error: io::Error| cannot("hand a command over", &error))?;
    if answer.is_empty() {
        return Err(killed());
    }
    match minicbor::decode(&answer) {
        Ok(Answer::Done(answer)) => Ok(answer),
        Ok(Answer::Failed(failure)) => Err(failure),
        Err(error) => Err(failure(FailureCode::Other, format!("a helper answered {error}"))),
    }
}

/// The failure of what did not start in time.
fn too_slow() -> Failure {
    let message = format!("the command did not start within {} s", START_LIMIT.as_secs());
    failure(FailureCode::TimedOut, message)
}

/// The failure of what was ended before it began.
fn killed() -> Failure {
    failure(FailureCode::Other, "the command was killed while it was being started")
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

/// The helper that keeps a job.
const KEEPER: &str = "__keep-job";
/// This program, even where its file has been replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Time for looking up users, mostly.
const START_LIMIT: Duration = Duration::from_secs(30);
