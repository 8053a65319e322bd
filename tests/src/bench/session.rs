//! An operator's session inside this process: what the command line, which opens
//! one session a call, cannot show.

use std::iter;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bmstools_common::ethernet::Peer;
use bmstools_common::header::Dialect;
use bmstools_common::maps::Rate;
use bmstools_link::{Handler, KeyClaim, Mode, Options, Outgoing, Port, Waker, run};
use bmstools_proto::Config;
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::operator::{Client, Event, Request};
use bmstools_proto::response::{Code, Response};

use super::cores::{self, SENDER};
use super::stage::Stage;
use crate::testbed::AGENT_MAC;
use crate::{interrupt, nic, wire};

/// An authenticated session, on the sender's core while it works.
pub(crate) struct Session {
    ports: Vec<Box<dyn Port>>,
    waker: Waker,
    wait: Wait,
    _claim: KeyClaim,
}

impl Session {
    /// Opens a session of the documented dialect and authenticates.
    ///
    /// # Errors
    ///
    /// Where the agent does not answer or refuses.
    pub(crate) fn open(stage: &Stage, mode: Mode) -> Result<Self> {
        let key = read_key(&stage.private_key())?;
        let peer = wire::peer(AGENT_MAC, None)?;
        let unlimited = Rate { interval_ns: 0, burst: 0 };
        let options = Options {
            interface: nic::NAME.to_owned(),
            mode,
            zero_copy: false,
            opens_per_source: unlimited,
            opens_global: unlimited,
            accepts_opens: false,
        };
        let mut ports = stage.sender().enter(|| bmstools_link::open(&options))??;
        let mtu = ports.iter().map(|port| port.info().mtu).min().context("no port")?;
        let config = Config::default();
        let config = Config { mtu: mtu.min(config.mtu), ..config };
        let mac = ports.first().context("no port")?.info().mac;
        let keys = iter::repeat_with(rand::random);
        let claim = stage.sender().enter(|| KeyClaim::first_free(mac, keys))??;
        let (session_key, seed, now) = (claim.key(), rand::random(), Instant::now());
        let client =
            Client::with_session_key(config, Dialect::V1, peer, key, session_key, seed, now);
        for port in &mut ports {
            port.insert_session(client.session_key(), Dialect::V1.into())?;
        }
        let wait = Wait { client, peer, event: None, deadline: Instant::now() };
        let mut session = Self { ports, waker: Waker::new()?, wait, _claim: claim };
        loop {
            match session.event()? {
                (Event::Opened, _) => {}
                (Event::Authenticated, _) => return Ok(session),
                (event, _) => bail!("the session began with {event:?}"),
            }
        }
    }

    /// Sends a request and waits for its response. Returns how long that took.
    ///
    /// # Errors
    ///
    /// Where the session fails or the response is no success.
    pub(crate) fn request(&mut self, request: Request) -> Result<(Response, Duration)> {
        let started = Instant::now();
        self.wait.client.request(started, request);
        match self.event()? {
            (Event::Response(response), at) if response.code == Code::Success => {
                Ok((response, at - started))
            }
            (event, _) => bail!("a request was answered by {event:?}"),
        }
    }

    /// Bytes that one data request may carry.
    pub(crate) fn max_data(&self) -> usize {
        self.wait.client.max_data()
    }

    /// Ends the session and waits for the agent's confirmation.
    ///
    /// # Errors
    ///
    /// Where the session fails.
    pub(crate) fn end(mut self) -> Result<()> {
        self.wait.client.end(Instant::now());
        loop {
            match self.event()? {
                (Event::Ended, _) => return Ok(()),
                (Event::Response(response), _) if response.code == Code::Success => {}
                (event, _) => bail!("the session ended with {event:?}"),
            }
        }
    }

    /// The next event, and when it came.
    fn event(&mut self) -> Result<(Event, Instant)> {
        self.wait.deadline = Instant::now() + LIMIT;
        let Self { ports, waker, wait, .. } = self;
        cores::on(SENDER, || Ok(run(ports, wait, waker)?))?;
        interrupt::check()?;
        match self.wait.event.take() {
            Some((Event::Failed(error), _)) => Err(error.into()),
            Some(event) => Ok(event),
            None => bail!("nothing came within {} s", LIMIT.as_secs()),
        }
    }
}

/// Runs the link until something happened and its acknowledgement is sent.
struct Wait {
    client: Client,
    peer: Peer,
    event: Option<(Event, Instant)>,
    deadline: Instant,
}

impl Handler for Wait {
    fn receive(&mut self, now: Instant, _: usize, peer: Peer, frame: &mut [u8]) {
        if peer == self.peer {
            self.client.handle_frame(now, peer, frame);
        }
    }

    fn turn(&mut self, now: Instant, _: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        if self.event.is_some() || now >= self.deadline || interrupt::happened() {
            return ControlFlow::Break(());
        }
        if self.client.poll_timeout(now).is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        self.event = self.client.poll_event().map(|event| (event, now));
        ControlFlow::Continue(())
    }

    fn transmit(&mut self, now: Instant, _: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let (peer, len) = self.client.poll_transmit(now, buffer)?;
        Some(Outgoing { peer, len })
    }

    fn deadline(&self) -> Option<Instant> {
        if self.event.is_some() {
            return Some(Instant::now());
        }
        let due = self.client.poll_timeout(Instant::now());
        Some(due.map_or(self.deadline, |due| due.min(self.deadline)))
    }
}

fn read_key(path: &Path) -> Result<PrivateKey> {
    let pem = std::fs::read_to_string(path)?;
    PrivateKey::from_pem(&pem).context("cannot read the operator's key")
}

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(20);
