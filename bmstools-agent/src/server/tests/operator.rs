//! An operator for tests: the real client, driven by the real loop.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bmstools_common::Mac;
use bmstools_common::ethernet::{Peer, Vlan};
use bmstools_link::memory::MemoryPort;
use bmstools_link::{Handler, Outgoing, Port, Waker};
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::operator::{Client, Event, Request};
use bmstools_proto::response::Response;
use bmstools_proto::{Config, Dialect};

/// A session with an agent.
pub(super) struct Operator {
    pub(super) client: Client,
    ports: Vec<Box<dyn Port>>,
    waker: Waker,
}

impl Operator {
    /// Begins to open a session through `port`.
    pub(super) fn open(mut port: MemoryPort, agent: Mac, key: &str) -> Self {
        let peer = Peer { mac: agent, vlan: Vlan::NONE };
        let key = PrivateKey::from_pem(key).unwrap();
        let config = Config::default();
        let client = Client::new(config, Dialect::V1, peer, key, [2; 32], Instant::now());
        port.insert_session(client.session_key(), Dialect::V1.into()).unwrap();
        Self { client, ports: vec![Box::new(port)], waker: Waker::new().unwrap() }
    }

    /// Opens a session and authenticates.
    pub(super) fn connect(port: MemoryPort, agent: Mac, key: &str) -> Self {
        let mut operator = Self::open(port, agent, key);
        assert!(matches!(operator.next(), Event::Opened));
        assert!(matches!(operator.next(), Event::Authenticated));
        operator
    }

    /// Sends a request and waits for its response.
    pub(super) fn ask(&mut self, request: Request) -> Response {
        self.client.request(Instant::now(), request);
        match self.next() {
            Event::Response(response) => response,
            event => panic!("no response but {event:?}"),
        }
    }

    /// Ends the session; what came of it.
    pub(super) fn end(&mut self) -> Event {
        self.client.end(Instant::now());
        self.next()
    }

    /// Waits for the next event.
    pub(super) fn next(&mut self) -> Event {
        let mut event = None;
        self.run_until(|client| {
            event = client.poll_event();
            event.is_some()
        });
        event.unwrap()
    }

    /// Moves frames until `done`.
    pub(super) fn run_until(&mut self, done: impl FnMut(&mut Client) -> bool) {
        let begun = Instant::now();
        let mut turns = Turns { client: &mut self.client, done, begun, over: false };
        bmstools_link::run(&mut self.ports, &mut turns, &self.waker).unwrap();
    }
}

struct Turns<'a, F> {
    client: &'a mut Client,
    done: F,
    begun: Instant,
    /// Whether `done` is: the last acknowledgements have one more turn to leave.
    over: bool,
}

impl<F: FnMut(&mut Client) -> bool> Handler for Turns<'_, F> {
    fn receive(&mut self, now: Instant, _port: usize, peer: Peer, frame: &mut [u8]) {
        self.client.handle_frame(now, peer, frame);
    }

    fn turn(&mut self, now: Instant, _ports: &mut [Box<dyn Port>]) -> ControlFlow<()> {
        if self.over {
            return ControlFlow::Break(());
        }
        assert!(now.saturating_duration_since(self.begun) < PATIENCE, "nothing happens");
        if self.client.poll_timeout(now).is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        self.over = (self.done)(self.client);
        ControlFlow::Continue(())
    }

    fn transmit(&mut self, now: Instant, _port: usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let (peer, len) = self.client.poll_transmit(now, buffer)?;
        Some(Outgoing { peer, len })
    }

    fn deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let again = if self.over { now } else { now + Duration::from_millis(10) };
        self.client.poll_timeout(now).map_or(again, |due| due.min(again)).into()
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
