//! Commands with their streams, over version 2.

mod channels;
pub(crate) mod leader;
mod pump;

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bmstools_proto::v2::message::exec::{Control, Exec, Exited, Started};
use bmstools_proto::v2::message::{Answer, Failure, FailureCode};
use bmstools_session::{RecvStream, SendStream, Session};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use self::channels::{Pipes, Terminal};
use self::leader::Leader;
use super::claim::Claim;
use super::launch::{Program, cannot};
use super::{Shared, failure, jobs, refuse};

/// Runs a command for as long as the operator keeps its direction of the request's
/// stream open.
///
/// The command leads a session of its own. When the operator goes, its process group is
/// ended with SIGHUP, and after two seconds with SIGKILL. Processes that have left the
/// group live on, and so do those that a command leaves behind when it ends by itself;
/// what they write after that is not waited for.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    session: Session,
    request: Exec,
    mut send: SendStream,
    recv: RecvStream,
) {
    send.set_priority(CONTROL_PRIORITY);
    if request.detach {
        match jobs::start(&shared, request).await {
            // Nobody waits for it where this fails.
            Ok(started) => drop(send.send_last(&Answer::Done(started)).await),
            Err(failure) => refuse(&mut send, failure).await,
        }
        return;
    }
    let slot = match shared.executor.slot() {
        Ok(slot) => slot,
        Err(message) => return refuse(&mut send, failure(FailureCode::Limit, message)).await,
    };
    match start(&shared, &session, request).await {
        Ok(running) => running.attend(send, recv).await,
        Err(failure) => refuse(&mut send, failure).await,
    }
    drop(slot);
}

/// A command that has just been started. Killed with its group when dropped.
struct Running {
    leader: Leader,
    channels: Channels,
    streams: Streams,
    time: Option<Duration>,
}

/// The agent's ends of what a command has open.
enum Channels {
    Pipes(Pipes),
    Terminal(Arc<Terminal>),
}

/// The operator's streams for them.
struct Streams {
    data: Claim,
    errors: Claim,
}

impl Running {
    /// Serves the command's operator up to its end.
    async fn attend(self, mut send: SendStream, mut recv: RecvStream) {
        let Self { leader, channels, streams, time } = self;
        let started = Started { pid: leader.pid(), job: None };
        let deadline = time.map(|time| Instant::now() + time);
        if send.send(&Answer::Done(started)).await.is_err() {
            drop(channels);
            return leader.hang_up().await;
        }
        let (ended, see_end) = watch::channel(false);
        let mut pumps = match pump(channels, streams, see_end).await {
            Ok(pumps) => pumps,
            Err(failure) => {
                debug!(failure.message, "a command's streams did not come");
                return leader.hang_up().await;
            }
        };
        let Some(timed_out) = until_end(&leader, &pumps, deadline, &mut recv).await else {
            debug!(pid = leader.pid(), "a command's operator has gone");
            // Closes the terminal, which hangs up whatever is on it.
            drop(pumps);
            return leader.hang_up().await;
        };
        if timed_out {
            leader.signal(Signal::KILL);
        }
        let mut exited = exited(leader.reap(), timed_out);
        ended.send_replace(true);
        let Some(held) = pumps.drain(&mut recv).await else { return };
        if held {
            exited.why = Some(HELD.into());
        }
        // Nobody waits for it where this fails.
        let _ = send.send_last(&exited).await;
    }
}

/// What moves bytes between a command and its operator. Stops when dropped.
struct Pumps {
    terminal: Option<Arc<Terminal>>,
    _input: JoinSet<()>,
    outputs: JoinSet<bool>,
}

/// Begins to move bytes, once the operator has opened its streams.
async fn pump(
    channels: Channels,
    streams: Streams,
    ended: watch::Receiver<bool>,
) -> Result<Pumps, Failure> {
    let (mut input, mut outputs) = (JoinSet::new(), JoinSet::new());
    let is_terminal = matches!(channels, Channels::Terminal(_));
    let priority = if is_terminal { TERMINAL_PRIORITY } else { DATA_PRIORITY };
    let (data, from_operator) = streams.data.opened(priority).await?;
    let (mut errors, _) = streams.errors.opened(priority).await?;
    let terminal = match channels {
        Channels::Pipes(pipes) => {
            input.spawn(pump::to_pipe(from_operator, pipes.input));
            outputs.spawn(pump::from_pipe(pipes.output, data, ended.clone()));
            outputs.spawn(pump::from_pipe(pipes.errors, errors, ended));
            None
        }
        Channels::Terminal(terminal) => {
            errors.finish();
            input.spawn(pump::to_terminal(from_operator, Arc::clone(&terminal)));
            outputs.spawn(pump::from_terminal(Arc::clone(&terminal), data, ended));
            Some(terminal)
        }
    };
    Ok(Pumps { terminal, _input: input, outputs })
}

impl Pumps {
    /// Waits until what the command wrote is on its way; `None` where the operator has
    /// gone. Whether somebody may still write.
    async fn drain(&mut self, recv: &mut RecvStream) -> Option<bool> {
        let mut held = false;
        loop {
            tokio::select! {
                output = self.outputs.join_next() => match output {
                    Some(output) => held |= output.unwrap_or_default(),
                    None => return Some(held),
                },
                control = recv.receive::<Control>() => if !matches!(control, Ok(Some(_))) {
                    return None;
                },
            }
        }
    }

    /// Sends a signal to whom a terminal's user would send it.
    fn signal(&self, leader: &Leader, number: u8) {
        let Some(signal) = Signal::from_named_raw(number.into()) else { return };
        match self.terminal.as_ref().and_then(|terminal| terminal.foreground()) {
            Some(group) => leader::signal_group(group, signal),
            None => leader.signal(signal),
        }
    }
}

/// Obeys the operator until the command has ended; `None` where the operator has gone.
/// Whether the command's time was over.
async fn until_end(
    leader: &Leader,
    pumps: &Pumps,
    mut deadline: Option<Instant>,
    recv: &mut RecvStream,
) -> Option<bool> {
    let mut timed_out = false;
    loop {
        tokio::select! {
            () = leader.ended() => return Some(timed_out),
            control = recv.receive() => match control {
                Ok(Some(Control::Signal(number))) => pumps.signal(leader, number),
                Ok(Some(Control::Resize(size))) => {
                    if let Some(terminal) = &pumps.terminal {
                        terminal.resize(size);
                    }
                }
                _ => return None,
            },
            () = until(deadline) => {
                if timed_out {
                    leader.signal(Signal::KILL);
                    deadline = None;
                } else {
                    leader.signal(Signal::TERM);
                    leader.signal(Signal::CONT);
                    deadline = Some(Instant::now() + KILL_AFTER);
                }
                timed_out = true;
            }
        }
    }
}

async fn start(shared: &Shared, session: &Session, request: Exec) -> Result<Running, Failure> {
    check(&request)?;
    let streams = Streams {
        data: Claim::on(session, request.output).await?,
        errors: Claim::on(session, request.errors).await?,
    };
    let time = request.timeout.map(Duration::from_millis);
    let fails = |error: std::io::Error| cannot("make the command's streams", &error);
    let (channels, ends) = match &request.tty {
        Some(tty) => {
            let (terminal, ends) = Terminal::new(tty.size).map_err(fails)?;
            (Channels::Terminal(Arc::new(terminal)), ends)
        }
        None => {
            let (pipes, ends) = Pipes::new().map_err(fails)?;
            (Channels::Pipes(pipes), ends)
        }
    };
    let leader = tokio::select! {
        leader = shared.starter.start(Program::from(request), ends) => leader?,
        reason = session.closed() => return Err(failure(FailureCode::Other, reason.to_string())),
    };
    Ok(Running { leader, channels, streams, time })
}

/// Refuses what can be no command.
pub(crate) fn check(request: &Exec) -> Result<(), Failure> {
    let texts = request.argv.iter().chain(&request.cwd);
    let values = request.env.iter().map(|variable| &variable.value);
    let term = request.tty.iter().map(|tty| &tty.term);
    if texts.chain(values).chain(term).any(|bytes| bytes.contains(&0)) {
        return Err(invalid("a zero byte cannot be part of an argument, a variable or a path"));
    }
    let bad = |name: &[u8]| name.is_empty() || name.contains(&b'=') || name.contains(&0);
    if let Some(variable) = request.env.iter().find(|variable| bad(&variable.name)) {
        let name = String::from_utf8_lossy(&variable.name);
        return Err(invalid(&format!("a variable of the environment cannot be called {name:?}")));
    }
    if request.argv.is_empty() && request.tty.is_none() {
        return Err(invalid("there is no command to run"));
    }
    if request.argv.first().is_some_and(|name| name.is_empty()) && !request.shell {
        return Err(failure(FailureCode::NoCommand, "the command's name is empty"));
    }
    Ok(())
}

fn invalid(message: &str) -> Failure {
    failure(FailureCode::Invalid, message)
}

/// How a process ended.
pub(crate) fn exited(status: std::io::Result<ExitStatus>, timed_out: bool) -> Exited {
    let Ok(status) = status else {
        let why = Some("the system did not say how the command ended".into());
        return Exited { timed_out, why, ..Exited::default() };
    };
    Exited {
        code: status.code().and_then(|code| u8::try_from(code).ok()),
        signal: status.signal().and_then(|signal| u8::try_from(signal).ok()),
        core: status.core_dumped(),
        timed_out,
        why: None,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Before everything else: what steers a command must not wait for what it writes.
pub(crate) const CONTROL_PRIORITY: u8 = 240;
/// What somebody waits for at a prompt.
const TERMINAL_PRIORITY: u8 = 224;
/// Before files.
pub(crate) const DATA_PRIORITY: u8 = 160;
/// Time for a command to end after its time was over.
pub(crate) const KILL_AFTER: Duration = Duration::from_secs(5);
const HELD: &str = "a background process still holds the output, which was not waited for";

#[cfg(test)]
mod tests {
    use bmstools_proto::v2::message::exec::Variable;

    use super::*;

    fn request(argv: &[&[u8]]) -> Exec {
        let argv = argv.iter().map(|argument| argument.to_vec().into()).collect();
        Exec { argv, ..Exec::default() }
    }

    #[test]
    fn what_the_system_cannot_pass_on_is_refused() {
        check(&request(&[b"a", b"", b"\xff\n="])).unwrap();
        check(&request(&[])).unwrap_err();
        assert_eq!(check(&request(&[b""])).unwrap_err().code, FailureCode::NoCommand);
        check(&request(&[b"a", b"b\0c"])).unwrap_err();
        check(&Exec { cwd: Some(b"/a\0".to_vec().into()), ..request(&[b"a"]) }).unwrap_err();
        for (name, value) in [(&b""[..], &b"x"[..]), (b"a=b", b"x"), (b"a\0", b"x"), (b"a", b"\0")]
        {
            let variable = Variable { name: name.to_vec().into(), value: value.to_vec().into() };
            check(&Exec { env: vec![variable], ..request(&[b"a"]) }).unwrap_err();
        }
    }

    #[test]
    fn a_status_is_a_code_or_a_signal_and_says_whether_a_core_was_left() {
        let exited = |raw| exited(Ok(ExitStatus::from_raw(raw)), false);
        assert_eq!((exited(3 << 8).code, exited(3 << 8).signal), (Some(3), None));
        let dumped = exited(0x80 | 11);
        assert_eq!((dumped.code, dumped.signal, dumped.core), (None, Some(11), true));
    }
}
