//! An agent and operators in virtual time, over a link that misbehaves as told.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test takes in the whole module and uses its part"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::{Mac, Peer, Vlan};
use bmstools_proto::agent::{self, Challenge, EndReason, Endpoint, SessionId};
use bmstools_proto::keys::{PrivateKey, PublicKey};
use bmstools_proto::operator::{self, Client, SessionError};
use bmstools_proto::response::{Code, ExecData, Response};
use bmstools_proto::{Config, Dialect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const AGENT: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);
pub const OPERATOR: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 2]);

/// The shortest key, since tests authenticate often.
pub static KEY: LazyLock<PrivateKey> = LazyLock::new(|| key(7));

pub fn key(seed: u64) -> PrivateKey {
    PrivateKey::generate(1024, &mut StdRng::seed_from_u64(seed)).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
pub fn start() -> Instant {
    Instant::now()
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How a link misbehaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: f64,
    pub duplication: f64,
    pub corruption: f64,
    /// Part of the frames that wait up to ten times the delay.
    pub reordering: f64,
    pub delay: Duration,
}

impl Weather {
    pub const FINE: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        corruption: 0.0,
        reordering: 0.0,
        delay: Duration::from_micros(50),
    };
}

/// When a frame arrives, its number, its receiver and its bytes.
type UnderWay = (Instant, u64, To, Vec<u8>);

/// Frames under way, from both ends, to be delivered in order of time.
pub struct Air {
    pub weather: Weather,
    pub rng: StdRng,
    frames: BinaryHeap<Reverse<UnderWay>>,
    serial: u64,
    pub sent: u64,
    /// Every frame that was sent, if wanted.
    pub log: Option<Vec<(To, Vec<u8>)>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum To {
    Agent(usize),
    Operator(usize),
}

impl Air {
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            rng: StdRng::seed_from_u64(seed),
            frames: BinaryHeap::new(),
            serial: 0,
            sent: 0,
            log: None,
        }
    }

    pub fn send(&mut self, now: Instant, to: To, frame: &[u8]) {
        self.sent += 1;
        if let Some(log) = &mut self.log {
            log.push((to, frame.to_vec()));
        }
        if self.rng.gen_bool(self.weather.loss) {
            return;
        }
        let copies = 1 + usize::from(self.rng.gen_bool(self.weather.duplication));
        for _ in 0..copies {
            let mut frame = frame.to_vec();
            if self.rng.gen_bool(self.weather.corruption) {
                for _ in 0..self.rng.gen_range(1..4) {
                    let at = self.rng.gen_range(0..frame.len().min(40));
                    frame[at] = self.rng.r#gen();
                }
            }
            let late = self.rng.gen_bool(self.weather.reordering);
            let factor = if late { self.rng.gen_range(1.0..10.0) } else { 1.0 };
            self.serial += 1;
            let at = now + self.weather.delay.mul_f64(factor);
            self.frames.push(Reverse((at, self.serial, to, frame)));
        }
    }

    pub fn next_at(&self) -> Option<Instant> {
        self.frames.peek().map(|Reverse((at, ..))| *at)
    }

    pub fn pop_due(&mut self, now: Instant) -> Option<(To, Vec<u8>)> {
        if self.next_at()? > now {
            return None;
        }
        self.frames.pop().map(|Reverse((_, _, to, frame))| (to, frame))
    }
}

/// What stands around an agent's endpoint: commands that echo, files in memory.
pub struct Host {
    pub endpoint: Endpoint,
    pub keys: Vec<PublicKey>,
    rng: StdRng,
    /// How long a command takes.
    pub command_time: Duration,
    pub commands: Vec<Vec<u8>>,
    answers: BinaryHeap<Reverse<(Instant, SessionId, Vec<u8>)>>,
    open_files: BTreeMap<SessionId, Vec<u8>>,
    pub files: BTreeMap<Vec<u8>, Vec<u8>>,
    pub ended: Vec<(SessionId, EndReason)>,
    pub drained: usize,
    pub peak_sessions: usize,
}

impl Host {
    pub fn new(config: Config, keys: Vec<PublicKey>, seed: u64) -> Self {
        Self {
            endpoint: Endpoint::new(config, [seed as u8; 32]),
            keys,
            rng: StdRng::seed_from_u64(seed),
            command_time: ms(1),
            commands: Vec::new(),
            answers: BinaryHeap::new(),
            open_files: BTreeMap::new(),
            files: BTreeMap::new(),
            ended: Vec::new(),
            drained: 0,
            peak_sessions: 0,
        }
    }

    pub fn turn(&mut self, now: Instant) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.take(now, event);
        }
        while let Some(Reverse((at, ..))) = self.answers.peek()
            && *at <= now
        {
            let Some(Reverse((_, session, command))) = self.answers.pop() else { return };
            self.endpoint.respond(now, session, echo(&command));
        }
        self.peak_sessions = self.peak_sessions.max(self.endpoint.session_count());
    }

    fn take(&mut self, now: Instant, event: agent::Event) {
        match event {
            agent::Event::Opened { session, .. } => self.endpoint.accept(now, session),
            agent::Event::ChallengeWanted { session, attempt } => match self.keys.get(attempt) {
                Some(key) => {
                    let challenge = Challenge::new(key, &mut self.rng);
                    self.endpoint.challenge(now, session, challenge);
                }
                None => self.endpoint.no_challenge(now, session),
            },
            agent::Event::Authenticated { .. } => {}
            agent::Event::Request { session, request } => self.serve(now, session, request),
            agent::Event::Ended { session, reason } => {
                self.ended.push((session, reason));
                self.open_files.remove(&session);
                self.endpoint.finish(now, session, None);
            }
            agent::Event::Drained { .. } => self.drained += 1,
        }
    }

    fn serve(&mut self, now: Instant, session: SessionId, request: agent::Request) {
        let response = match request {
            agent::Request::Exec { command } => {
                self.commands.push(command.clone());
                self.answers.push(Reverse((now + self.command_time, session, command)));
                return;
            }
            agent::Request::File { path } if path.is_empty() => {
                Response::error(Code::ParameterError, "no path")
            }
            agent::Request::File { path } => {
                self.files.insert(path.clone(), Vec::new());
                self.open_files.insert(session, path);
                Response::success()
            }
            agent::Request::Data { data } => match self.open_files.get(&session) {
                Some(path) => {
                    self.files.entry(path.clone()).or_default().extend_from_slice(&data);
                    Response::success()
                }
                None => Response::error(Code::LogicError, "no file"),
            },
        };
        self.endpoint.respond(now, session, response);
    }

    pub fn next_at(&self) -> Option<Instant> {
        let answer = self.answers.peek().map(|Reverse((at, ..))| *at);
        [answer, self.endpoint.poll_timeout()].into_iter().flatten().min()
    }
}

pub fn echo(command: &[u8]) -> Response {
    let stdout = String::from_utf8_lossy(command).into_owned();
    let data = ExecData { code: 0, stdout, stderr: String::new() };
    Response { data: Some(data), ..Response::success() }
}

/// An operator that works through a list of requests and then ends.
pub struct Worker {
    pub client: Client,
    pub peer: Peer,
    pub todo: VecDeque<operator::Request>,
    pub responses: Vec<Response>,
    pub outcome: Option<Result<(), SessionError>>,
    pub opened_at: Option<Instant>,
    pub finished_at: Option<Instant>,
    ending: bool,
}

impl Worker {
    pub fn new(client: Client, peer: Peer, todo: Vec<operator::Request>) -> Self {
        let todo = todo.into();
        let (responses, outcome) = (Vec::new(), None);
        let (opened_at, finished_at) = (None, None);
        Self { client, peer, todo, responses, outcome, opened_at, finished_at, ending: false }
    }

    fn turn(&mut self, now: Instant) {
        if self.client.poll_timeout(now).is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                operator::Event::Opened => self.opened_at = Some(now),
                operator::Event::Authenticated => self.next(now),
                operator::Event::Response(response) => {
                    self.responses.push(response);
                    self.next(now);
                }
                operator::Event::Ended => self.finish(now, Ok(())),
                operator::Event::Failed(error) => self.finish(now, Err(error)),
            }
        }
    }

    fn next(&mut self, now: Instant) {
        match self.todo.pop_front() {
            Some(request) => self.client.request(now, request),
            None if !self.ending => {
                self.ending = true;
                self.client.end(now);
            }
            None => {}
        }
    }

    fn finish(&mut self, now: Instant, outcome: Result<(), SessionError>) {
        self.outcome = Some(outcome);
        self.finished_at = Some(now);
    }
}

/// One agent, any number of operators, and the air between them.
pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub air: Air,
    pub host: Host,
    pub workers: Vec<Worker>,
    pub vlan: Vlan,
}

impl World {
    pub fn new(weather: Weather, seed: u64) -> Self {
        let now = start();
        Self {
            now,
            start: now,
            air: Air::new(weather, seed),
            host: Host::new(Config::default(), vec![KEY.public_key()], seed),
            workers: Vec::new(),
            vlan: Vlan::NONE,
        }
    }

    /// Adds an operator with `key` that will ask for `todo`.
    pub fn add(
        &mut self,
        dialect: Dialect,
        key: &PrivateKey,
        todo: Vec<operator::Request>,
    ) -> &mut Worker {
        self.add_with(Config::default(), dialect, key, todo)
    }

    pub fn add_with(
        &mut self,
        config: Config,
        dialect: Dialect,
        key: &PrivateKey,
        todo: Vec<operator::Request>,
    ) -> &mut Worker {
        let peer = Peer { mac: AGENT, vlan: self.vlan };
        let seed = [self.workers.len() as u8 + 1; 32];
        let client = Client::new(config, dialect, peer, key.clone(), seed, self.now);
        self.workers.push(Worker::new(client, peer, todo));
        self.workers.last_mut().unwrap()
    }

    /// Runs until every operator is done or `limit` has passed.
    pub fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.workers.iter().any(|worker| worker.outcome.is_none()) && self.now < end {
            self.step(end);
        }
    }

    /// Does everything that is due, then goes on to when something is, or to `end`.
    fn step(&mut self, end: Instant) {
        while let Some((to, mut frame)) = self.air.pop_due(self.now) {
            match to {
                To::Agent(worker) => {
                    let _ = worker;
                    let peer = Peer { mac: OPERATOR, vlan: self.vlan };
                    self.host.endpoint.handle_frame(self.now, 0, peer, &mut frame);
                }
                To::Operator(_) => {
                    // As the medium would: every operator of the host sees it.
                    for worker in &mut self.workers {
                        worker.client.handle_frame(self.now, worker.peer, &mut frame.clone());
                    }
                }
            }
        }
        self.host.turn(self.now);
        for worker in &mut self.workers {
            worker.turn(self.now);
        }
        self.transmit();
        let next = [self.air.next_at(), self.host.next_at()]
            .into_iter()
            .chain(self.workers.iter().map(|worker| worker.client.poll_timeout(self.now)))
            .flatten()
            .min();
        // Time always passes, so that a timer that is not served shows as a hang
        // of the run's limit and not of the test.
        let least = self.now + Duration::from_micros(1);
        self.now = next.map_or(end, |next| next.max(least).min(end));
    }

    fn transmit(&mut self) {
        let mut buffer = [0; 1500];
        while let Some((_, len)) = self.host.endpoint.poll_transmit(self.now, 0, &mut buffer) {
            self.air.send(self.now, To::Operator(0), &buffer[..len]);
        }
        for (index, worker) in self.workers.iter_mut().enumerate() {
            while let Some((_, len)) = worker.client.poll_transmit(self.now, &mut buffer) {
                self.air.send(self.now, To::Agent(index), &buffer[..len]);
            }
        }
    }

    /// Lets `duration` pass.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step(end);
        }
    }
}

/// Requests that push `bytes` to `path` in chunks of `chunk`.
pub fn push(path: &str, bytes: &[u8], chunk: usize) -> Vec<operator::Request> {
    let mut requests = vec![operator::Request::File(path.into())];
    requests.extend(bytes.chunks(chunk).map(|chunk| operator::Request::Data(chunk.to_vec())));
    requests
}

pub fn random_bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}
