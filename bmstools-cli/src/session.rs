//! One session with an agent: a thread that moves frames, and the handle to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bmstools_link::{KeyClaim, Port, Waker};
use bmstools_proto::operator::{Client, Request, SessionError};
use bmstools_proto::response::Response;
use tokio::sync::mpsc::{self, Receiver, Sender};

use self::driver::Driver;

mod driver;

/// A session. Dropping it stops the thread and closes the link, without a word to
/// the agent where [`end`](Self::end) was not called.
#[derive(Debug)]
pub(crate) struct Session {
    commands: Option<Sender<Command>>,
    notices: Receiver<Notice>,
    waker: Waker,
    stats: Arc<Stats>,
    thread: Option<JoinHandle<()>>,
    started: Instant,
    opened: bool,
    awaiting: bool,
    link: String,
    mtu: usize,
    /// Goes last: no other session may have the key while this one lives.
    _claim: KeyClaim,
}

/// How long the agent took to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// From the first frame to the answered open.
    pub(crate) open: Duration,
    /// From there to the successful authentication.
    pub(crate) authenticate: Duration,
}

/// What the frame thread shows of its client.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Bytes that the next data request may carry.
    max_data: AtomicU64,
    /// Bytes acknowledged of the request under way.
    acknowledged: AtomicU64,
    /// Frames sent again.
    retransmitted: AtomicU64,
}

enum Command {
    Request(Request),
    End,
}

enum Notice {
    Opened(Instant),
    Authenticated(Instant),
    Response(Response),
    Ended(Instant),
    Failed(SessionError),
    Broken(anyhow::Error),
}

impl Session {
    /// Starts a session of `client`, whose key is claimed, on `ports`, which must let
    /// its frames through.
    /// They carry `mtu` bytes behind the Ethernet header at most.
    ///
    /// # Errors
    ///
    /// Where the process can have no more threads or file descriptors.
    pub(crate) fn start(
        client: Client,
        claim: KeyClaim,
        ports: Vec<Box<dyn Port>>,
        mtu: usize,
    ) -> Result<Self> {
        let modes: Vec<&str> = ports.iter().map(|port| port.info().mode.as_str()).collect();
        let link = modes.join("; ");
        let (commands, commands_rx) = mpsc::channel(CHANNEL);
        let (notices_tx, notices) = mpsc::channel(CHANNEL);
        let waker = Waker::new().context("cannot make a waker")?;
        let stats = Arc::new(Stats::default());
        let driver = Driver::new(client, commands_rx, notices_tx, Arc::clone(&stats), ports.len());
        let thread_waker = waker.clone();
        let started = Instant::now();
        let thread = thread::Builder::new()
            .name("frames".into())
            .spawn(move || driver.run(ports, &thread_waker))
            .context("cannot start the frame thread")?;
        Ok(Self {
            commands: Some(commands),
            notices,
            waker,
            stats,
            thread: Some(thread),
            started,
            opened: false,
            awaiting: false,
            link,
            mtu,
            _claim: claim,
        })
    }

    /// Waits until the session is open and authenticated.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub(crate) async fn authenticated(&mut self) -> Result<Opening> {
        let mut opened = self.started;
        loop {
            match self.notice().await? {
                Notice::Opened(at) => {
                    self.opened = true;
                    opened = at;
                }
                Notice::Authenticated(at) => {
                    self.opened = true;
                    return Ok(Opening { open: opened - self.started, authenticate: at - opened });
                }
                other => bail!("the session began with {}", other.name()),
            }
        }
    }

    /// Sends a request. [`response`](Self::response) must follow before the next.
    ///
    /// # Errors
    ///
    /// Where a response is still awaited.
    pub(crate) fn submit(&mut self, request: Request) -> Result<()> {
        if self.awaiting {
            bail!("a request is under way already");
        }
        self.awaiting = true;
        self.command(Command::Request(request));
        Ok(())
    }

    /// The response to the request under way. Giving up waiting loses nothing: it
    /// may be called again.
    ///
    /// # Errors
    ///
    /// Where the session fails first.
    pub(crate) async fn response(&mut self) -> Result<Response> {
        match self.notice().await? {
            Notice::Response(response) => {
                self.awaiting = false;
                Ok(response)
            }
            other => bail!("a request was answered by {}", other.name()),
        }
    }

    /// Whether the agent ever answered.
    pub(crate) fn is_opened(&self) -> bool {
        self.opened
    }

    /// Whether a response is still to come.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.awaiting
    }

    /// Ends the session and waits for the agent's confirmation. Returns when it
    /// came, and what the agent could not complete.
    ///
    /// # Errors
    ///
    /// Where the session fails first.
    pub(crate) async fn end(&mut self) -> Result<(Instant, Option<Response>)> {
        let abandoned = self.awaiting;
        self.command(Command::End);
        let mut failure = None;
        loop {
            match self.notice().await? {
                Notice::Ended(at) => return Ok((at, failure)),
                Notice::Response(response) if !abandoned => failure = Some(response),
                _ => {}
            }
        }
    }

    /// How frames move at this end, for people.
    pub(crate) fn link(&self) -> &str {
        &self.link
    }

    /// Bytes behind the Ethernet header of a frame at most.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// What the frame thread shows.
    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    fn command(&self, command: Command) {
        // Where the thread is gone, the next notice says why.
        if let Some(commands) = &self.commands {
            let _ = commands.try_send(command);
        }
        self.waker.wake();
    }

    async fn notice(&mut self) -> Result<Notice> {
        match self.notices.recv().await {
            Some(Notice::Failed(error)) => Err(error.into()),
            Some(Notice::Broken(error)) => Err(error),
            Some(notice) => Ok(notice),
            None => Err(anyhow!("the frame thread stopped; please report this")),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.commands = None;
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Stats {
    /// Bytes that the next data request may carry at most.
    pub(crate) fn max_data(&self) -> usize {
        usize::try_from(self.max_data.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Bytes of the request under way that the agent acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Frames sent again so far.
    pub(crate) fn retransmitted(&self) -> u64 {
        self.retransmitted.load(Ordering::Relaxed)
    }

    fn update(&self, client: &Client) {
        self.max_data.store(client.max_data() as u64, Ordering::Relaxed);
        self.acknowledged.store(client.acknowledged() as u64, Ordering::Relaxed);
        self.retransmitted.store(client.retransmitted(), Ordering::Relaxed);
    }
}

impl Notice {
    fn name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "an answer to the open",
            Self::Authenticated(_) => "an authentication",
            Self::Response(_) => "a response",
            Self::Ended(_) => "its end",
            Self::Failed(_) | Self::Broken(_) => "a failure",
        }
    }
}

/// More than are ever under way: an opening, one response, an end, a failure.
const CHANNEL: usize = 8;
