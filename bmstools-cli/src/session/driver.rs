//! What the frame thread runs: the protocol's client between link and session.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmstools_common::Peer;
use bmstools_link::{Handler, Outgoing, Port, Waker};
use bmstools_proto::operator::{Client, Event};
use tokio::sync::mpsc::{Receiver, Sender, error::TryRecvError};
use tracing::debug;

use super::{Command, Notice, Stats};

/// What the frame thread owns.
pub(super) struct Driver {
    client: Client,
    commands: Receiver<Command>,
    notices: Sender<Notice>,
    stats: Arc<Stats>,
    /// The port to send through: of a bond's slaves, the one that was heard last.
    port: usize,
    ports: usize,
    heard: bool,
    /// Set when nothing follows: the time by which the last acks must be out.
    closing: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        commands: Receiver<Command>,
        notices: Sender<Notice>,
        stats: Arc<Stats>,
        ports: usize,
    ) -> Self {
        Self { client, commands, notices, stats, port: 0, ports, heard: false, closing: None }
    }

    /// Moves frames until the session is over or nobody waits for it any more.
    pub(super) fn run(mut self, mut ports: Vec<Box<dyn Port>>, waker: &Waker) {
        let result = bmstools_link::run(&mut ports, &mut self, waker);
        debug!(retransmitted = self.client.retransmitted(),
            round_trip = ?self.client.round_trip_time(), "session over");
        if let Err(error) = result {
            let error = anyhow::Error::new(error).context("the network interface failed");
            let _ = self.notices.try_send(Notice::Broken(error));
        }
    }

    /// Hands on what happened; breaks where nobody listens any more.
    fn notify(&mut self, now: Instant) -> ControlFlow<()> {
        while let Some(event) = self.client.poll_event() {
            debug!(event = event_name(&event), "session");
            let notice = match event {
                Event::Opened => Notice::Opened(now),
                Event::Authenticated => Notice::Authenticated(now),
                Event::Response(response) => Notice::Response(response),
                Event::Ended => Notice::Ended(now),
                Event::Failed(error) => Notice::Failed(error),
            };
            if matches!(notice, Notice::Ended(_) | Notice::Failed(_)) {
                self.closing = Some(now + LAST_ACKS);
            }
            self.stats.update(&self.client);
            // Requests alternate with responses, so the channel always has room.
            if self.notices.try_send(notice).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

impl Handler for Driver {
    fn receive(&mut self, now: Instant, port: usize, peer: Peer, frame: &mut [u8]) {
        self.heard = true;
        self.port = port;
        self.client.handle_frame(now, peer, frame);
    }

    fn turn(&mut self, now: Instant, _ports: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        if self.client.poll_timeout(now).is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        self.notify(now)?;
        if let Some(by) = self.closing {
            return if by <= now { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        loop {
            match self.commands.try_recv() {
                Ok(Command::Request(request)) => self.client.request(now, request),
                Ok(Command::End) => self.client.end(now),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
            }
        }
        self.stats.update(&self.client);
        self.notify(now)
    }

    fn transmit(&mut self, now: Instant, port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        if port != self.port {
            return None;
        }
        let (peer, len) = self.client.poll_transmit(now, buffer)?;
        if !self.heard {
            // Nobody knows yet which of a bond's slaves leads to the agent.
            self.port = (port + 1) % self.ports;
        }
        Some(Outgoing { peer, len })
    }

    fn deadline(&self) -> Option<Instant> {
        match (self.client.poll_timeout(Instant::now()), self.closing) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Opened => "opened",
        Event::Authenticated => "authenticated",
        Event::Response(_) => "response",
        Event::Ended => "ended",
        Event::Failed(_) => "failed",
    }
}

/// How long the acks of the agent's last frames may take to leave.
const LAST_ACKS: Duration = Duration::from_millis(1);
