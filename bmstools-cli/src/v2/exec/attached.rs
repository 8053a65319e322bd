//! A command that we stay with.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bmstools_proto::v2::message::exec::{Control, Exec, Exited, Started};
use bmstools_proto::v2::message::{Answer, Request};
use bmstools_session::{RecvStream, SendStream};
use serde_json::Value;
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::input::{self, End};
use super::outcome;
use super::output::{self, Kept, Which};
use crate::output::Failure;
use crate::signals::Signal;
use crate::v2::Host;
use crate::v2::tty::{self, Raw};

/// Runs `request` with our standard input, output and error.
pub(crate) async fn run(host: &Host, mut request: Exec, with_input: bool) -> Result<u8, Failure> {
    let terminal = request.tty.is_some();
    let others = Others::catch().context("cannot catch signals")?;
    let (mut control, mut answers) = open(host, CONTROL_PRIORITY).await?;
    let priority = if terminal { TERMINAL_PRIORITY } else { DATA_PRIORITY };
    let (input, output) = open(host, priority).await?;
    let (mut to_errors, errors) = open(host, priority).await?;
    request.output = Some(input.id());
    request.errors = Some(to_errors.id());
    control.send(&Request::Exec(request)).await.context("cannot ask the agent")?;
    // What comes before the command runs is for it as well.
    let mut early = None;
    let answer = loop {
        tokio::select! {
            answer = answers.receive::<Answer<Started>>() => {
                break answer.context("the session broke")?;
            }
            signal = host.signal() => {
                if terminal || signal == Signal::Hangup || early.replace(signal).is_some() {
                    return Err(Failure::Interrupted(signal));
                }
            }
        }
    };
    if let Err(code) = outcome::started(host, answer)? {
        return Ok(code);
    }
    // The agent has them: this opens both.
    to_errors.finish();
    let mut session = Attached {
        host,
        control,
        raw: if terminal && with_input { Raw::enter()? } else { None },
        terminal,
        interrupted: None,
        deadline: None,
    };
    if let Some(signal) = early {
        session.signalled(signal).await?;
    }
    let escape = session.raw.is_some();
    let input = async {
        match with_input {
            true => input::pass_on(input, escape).await,
            false => end(input),
        }
    };
    let outputs = async {
        let stdout = output::pass_on(host, Which::Stdout, output);
        let stderr = output::pass_on(host, Which::Stderr, errors);
        tokio::try_join!(stdout, stderr)
    };
    let ended = session.until_end(others, answers, input, outputs).await;
    // The terminal is ours again before anything is said on it.
    drop(session);
    let (exited, kept) = match ended? {
        Ended::Exited(exited, kept) => (exited, kept),
        Ended::Escaped => {
            outcome::tell(host, "the session was ended; so the agent ends the command")?;
            return Ok(crate::output::EXIT_FAILURE);
        }
        Ended::Signalled(number) => {
            outcome::tell(host, &format!("interrupted by signal {number}"))?;
            return Ok(number.saturating_add(128));
        }
    };
    finish(host, &exited, &kept)
}

fn finish(host: &Host, exited: &Exited, (stdout, stderr): &(Kept, Kept)) -> Result<u8, Failure> {
    outcome::explain(host, exited, "the command")?;
    if host.json() {
        let mut object = outcome::to_json(exited);
        object.insert("stdout".into(), stdout.text().into());
        object.insert("stderr".into(), stderr.text().into());
        object.insert("stdout_cut".into(), stdout.cut().into());
        object.insert("stderr_cut".into(), stderr.cut().into());
        host.result(Value::Object(object), "")?;
    }
    Ok(outcome::exit_code(exited))
}

async fn open(host: &Host, priority: u8) -> Result<(SendStream, RecvStream), Failure> {
    let opened = host.session().open_stream().await;
    let (send, recv) = opened.context("cannot open a stream")?;
    send.set_priority(priority);
    Ok((send, recv))
}

/// An empty input.
fn end(mut input: SendStream) -> End {
    input.finish();
    End::Input
}

/// A command under way.
struct Attached<'a> {
    host: &'a Host,
    control: SendStream,
    raw: Option<Raw>,
    terminal: bool,
    interrupted: Option<Signal>,
    deadline: Option<Instant>,
}

/// How it went.
enum Ended {
    Exited(Exited, (Kept, Kept)),
    /// The user gave the escape.
    Escaped,
    /// A signal ended it that has no name among ours.
    Signalled(u8),
}

impl Attached<'_> {
    async fn until_end(
        &mut self,
        mut others: Others,
        mut answers: RecvStream,
        input: impl Future<Output = End>,
        outputs: impl Future<Output = anyhow::Result<(Kept, Kept)>>,
    ) -> Result<Ended, Failure> {
        let (mut input, mut outputs) = (pin!(input), pin!(outputs));
        let (mut input_ended, mut exited, mut kept) = (false, None, None);
        loop {
            if let (Some(_), Some(_)) = (&exited, &kept)
                && let (Some(exited), Some(kept)) = (exited.take(), kept.take())
            {
                return Ok(Ended::Exited(exited, kept));
            }
            tokio::select! {
                end = &mut input, if !input_ended => match end {
                    End::Input => input_ended = true,
                    End::Escape => return Ok(Ended::Escaped),
                },
                result = &mut outputs, if kept.is_none() => kept = Some(result?),
                message = answers.receive::<Exited>(), if exited.is_none() => {
                    let message = message.context("the command's end is not known")?;
                    exited = Some(message.ok_or_else(|| {
                        anyhow!("the agent ended the command's stream without saying how it ended")
                    })?);
                }
                signal = self.host.signal() => self.signalled(signal).await?,
                event = others.next() => match event {
                    Other::Resized => self.tell(Control::Resize(tty::size())).await,
                    Other::Continued => {
                        if let Some(raw) = &self.raw {
                            raw.set()?;
                            self.tell(Control::Resize(tty::size())).await;
                        }
                    }
                    Other::Signal(number) if self.terminal => return Ok(Ended::Signalled(number)),
                    Other::Signal(number) => self.tell(Control::Signal(number)).await,
                },
                () = until(self.deadline) => {
                    return Err(Failure::Interrupted(self.interrupted.unwrap_or(Signal::Hangup)));
                }
            }
        }
    }

    /// Hands a signal on to the command. A second one ends us; and so does the first
    /// where there is a terminal, whose user has other ways to send one.
    async fn signalled(&mut self, signal: Signal) -> Result<(), Failure> {
        if self.terminal || self.interrupted.is_some() {
            return Err(Failure::Interrupted(signal));
        }
        self.interrupted = Some(signal);
        if signal == Signal::Hangup {
            self.deadline = Some(Instant::now() + HANGUP_TIME);
        }
        self.tell(Control::Signal(number(signal))).await;
        Ok(())
    }

    async fn tell(&mut self, control: Control) {
        // Where the session has ended, the answers' end says why.
        let _ = self.control.send(&control).await;
    }
}

fn number(signal: Signal) -> u8 {
    signal.exit_code() - 128
}

/// Signals that mean something to a command, but do not ask every command to stop.
struct Others {
    resized: Caught,
    continued: Caught,
    quit: Caught,
    user1: Caught,
    user2: Caught,
}

/// One of them.
enum Other {
    Resized,
    Continued,
    Signal(u8),
}

impl Others {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            continued: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Other {
        let signal = tokio::select! {
            _ = self.resized.recv() => return Other::Resized,
            _ = self.continued.recv() => return Other::Continued,
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.user1.recv() => SignalKind::user_defined1(),
            _ = self.user2.recv() => SignalKind::user_defined2(),
        };
        Other::Signal(u8::try_from(signal.as_raw_value()).unwrap_or_default())
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Before everything else: Ctrl-C and window sizes must not wait for data.
const CONTROL_PRIORITY: u8 = 240;
/// What the user types at a prompt.
const TERMINAL_PRIORITY: u8 = 224;
/// Before files.
const DATA_PRIORITY: u8 = 160;
/// Time for a command to end after our terminal was closed: nobody sees it any more.
const HANGUP_TIME: Duration = Duration::from_secs(5);
