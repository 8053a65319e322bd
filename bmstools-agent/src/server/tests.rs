//! The server behind a link in memory, with the real protocol at both ends.

mod operator;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use bmstools_common::Mac;
use bmstools_common::header::Dialect;
use bmstools_link::Waker;
use bmstools_link::memory::{MemoryPort, pair};
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::operator::{Event as Told, Request};
use bmstools_proto::response::Code;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::operator::Operator;
use super::*;
use crate::auth;
use crate::config::Config;
use crate::exec::Executor;
use crate::keys::KeyDir;
use crate::session::Outbox;

const AGENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OPERATOR: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// An agent that serves one operator's port, and a directory for files and keys.
struct Fixture {
    dir: TempDir,
    key: String,
    outbox: Outbox,
    runtime: Runtime,
    tasks: mpsc::Receiver<Infallible>,
    served: Option<JoinHandle<usize>>,
    port: Option<MemoryPort>,
}

/// A server, what wakes it, the way to it, and what lives as long as its work.
fn server(
    runtime: &Runtime,
    keys: &Path,
    groups: Groups,
) -> (Server, Waker, Outbox, mpsc::Receiver<Infallible>) {
    let waker = Waker::new().unwrap();
    let (outbox, inbox) = Outbox::new(waker.clone(), 64);
    let (wanted, asked) = mpsc::channel(8);
    let (alive, tasks) = mpsc::channel(1);
    let (keys, challenges) = (KeyDir::new(keys), outbox.clone());
    thread::spawn(move || auth::run(&keys, asked, &challenges));
    let shared = Shared {
        executor: Executor::new(Config::parse("").unwrap().exec),
        scripts: Arc::default(),
        outbox: outbox.clone(),
        alive,
    };
    let server = Server {
        endpoint: Endpoint::new(bmstools_proto::Config::default(), [1; 32]),
        v1: true,
        v2: None,
        ignored: 0,
        groups,
        inbox,
        wanted,
        runtime: runtime.handle().clone(),
        shared: Arc::new(shared),
        sessions: HashMap::new(),
        stopping: None,
    };
    (server, waker, outbox, tasks)
}

impl Fixture {
    fn new() -> Self {
        Self::on(Runtime::new().unwrap())
    }

    fn on(runtime: Runtime) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(1024, &mut rand::rngs::OsRng).unwrap();
        fs::write(dir.path().join("public.pem"), key.public_key().to_pem()).unwrap();
        let (mut server, waker, outbox, tasks) = server(&runtime, dir.path(), Groups::new([1]));
        let (here, there) = pair(AGENT, OPERATOR, 1500).unwrap();
        let served = thread::spawn(move || {
            let mut ports: Vec<Box<dyn Port>> = vec![Box::new(here)];
            bmstools_link::run(&mut ports, &mut server, &waker).unwrap();
            server.endpoint.session_count()
        });
        let (served, port) = (Some(served), Some(there));
        Self { dir, key: key.to_pem().to_string(), outbox, runtime, tasks, served, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An operator that has authenticated.
    fn operator(&mut self) -> Operator {
        Operator::connect(self.port.take().unwrap(), AGENT, &self.key)
    }

    /// Stops the server; how many sessions it left behind.
    fn stop(&mut self) -> usize {
        self.runtime.block_on(self.outbox.send(Message::Stop));
        self.served.take().unwrap().join().unwrap()
    }

    /// Waits until all of the sessions' work is over.
    fn settled(&mut self) {
        let tasks = &mut self.tasks;
        let over = async { tokio::time::timeout(Duration::from_secs(10), tasks.recv()).await };
        assert!(self.runtime.block_on(over).unwrap().is_none());
    }
}

fn exec(command: impl Into<String>) -> Request {
    Request::Exec(command.into().into_bytes())
}

fn file(path: &Path) -> Request {
    Request::File(path.to_str().unwrap().into())
}

fn push(operator: &mut Operator, path: &Path, data: &[u8]) {
    assert_eq!(operator.ask(file(path)).code, Code::Success);
    assert_eq!(operator.ask(Request::Data(data.to_vec())).code, Code::Success);
}

fn gone(path: &Path) {
    let begun = Instant::now();
    while path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} stays", path.display());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_is_run_and_its_outcome_comes_back() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let data = operator.ask(exec("echo out; echo err >&2; exit 3")).data.unwrap();
    assert_eq!((data.code, &data.stdout[..], &data.stderr[..]), (3, "out\n", "err\n"));
    assert!(matches!(operator.end(), Told::Ended));
    assert_eq!(f.stop(), 0);
}

#[test]
fn commands_run_where_every_thread_for_files_hangs() {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build();
    let mut f = Fixture::on(threads.unwrap());
    let (release, hanging) = std::sync::mpsc::channel::<()>();
    f.runtime.spawn_blocking(move || hanging.recv());
    let mut operator = f.operator();
    assert_eq!(operator.ask(exec("echo served")).data.unwrap().stdout, "served\n");
    assert!(matches!(operator.end(), Told::Ended));
    drop(release);
    assert_eq!(f.stop(), 0);
}

#[test]
fn a_pushed_script_runs_in_its_session_and_is_gone_after_it() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let script = f.path("x__cds_bms_tools.sh");
    push(&mut operator, &script, b"echo this script was pushed through the link\n");
    let data = operator.ask(exec(format!("bash {}", script.display()))).data.unwrap();
    assert_eq!(data.stdout, "this script was pushed through the link\n");
    assert!(script.exists());
    assert!(matches!(operator.end(), Told::Ended));
    assert!(!script.exists());
}

#[test]
fn a_file_is_in_place_when_the_end_is_confirmed() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let path = f.path("big");
    let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    push(&mut operator, &path, &data);
    assert_eq!(operator.ask(Request::Data(data.clone())).code, Code::Success);
    assert!(!path.exists());
    assert!(matches!(operator.end(), Told::Ended));
    assert!(fs::read(&path).unwrap() == [&data[..], &data].concat());
}

#[test]
fn a_file_that_cannot_be_put_in_place_is_reported_at_the_end() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let path = f.path("taken");
    push(&mut operator, &path, &[7; 100]);
    fs::write(&path, "somebody else's").unwrap();
    operator.client.end(Instant::now());
    let Told::Response(failure) = operator.next() else { panic!("no failure was reported") };
    assert_eq!(failure.code, Code::ParameterError);
    assert!(matches!(operator.next(), Told::Ended));
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
}

#[test]
fn a_file_that_cannot_be_put_in_place_fails_the_command_after_it() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let (path, flag) = (f.path("taken"), f.path("flag"));
    push(&mut operator, &path, &[7; 100]);
    fs::write(&path, "somebody else's").unwrap();
    let answer = operator.ask(exec(format!("touch {}", flag.display())));
    assert_eq!(answer.code, Code::ParameterError);
    assert!(!flag.exists());
    assert_eq!(operator.ask(exec("true")).code, Code::Success);
}

#[test]
fn an_operator_that_ends_its_session_kills_its_command() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let flag = f.path("flag");
    let command = format!("trap '' TERM HUP; touch {}; sleep 60 & wait; rm {0}", flag.display());
    operator.client.request(Instant::now(), exec(command));
    operator.run_until(|_| flag.exists());
    assert!(matches!(operator.end(), Told::Ended));
    assert_eq!(f.stop(), 0);
    f.settled();
    assert!(flag.exists());
}

#[test]
fn stopping_tells_operators_and_leaves_nothing_behind() {
    let mut f = Fixture::new();
    let mut operator = f.operator();
    let (script, half) = (f.path("x__cds_bms_tools"), f.path("half"));
    push(&mut operator, &script, &[7; 100]);
    push(&mut operator, &half, &[7; 100]);
    assert!(script.exists());
    let stopped = thread::spawn(move || (f.stop(), f));
    assert!(matches!(operator.next(), Told::Failed(_)));
    let (left, mut f) = stopped.join().unwrap();
    assert_eq!(left, 0);
    f.settled();
    gone(&script);
    assert!(!half.exists());
    assert_eq!(fs::read_dir(f.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_key_that_was_taken_away_gets_no_session() {
    let mut f = Fixture::new();
    fs::remove_file(f.path("public.pem")).unwrap();
    let port = f.port.take().unwrap();
    let mut operator = Operator::open(port, AGENT, &f.key);
    assert!(matches!(operator.next(), Told::Opened));
    assert!(matches!(operator.next(), Told::Failed(_)));
}

#[test]
fn groups_of_ports_are_told_apart() {
    let groups = Groups::new([1, 3, 2]);
    let of: Vec<_> = (0..6).map(|port| groups.of(port)).collect();
    assert_eq!(of, [0..1, 1..4, 1..4, 1..4, 4..6, 4..6]);
}

#[test]
fn a_session_is_let_through_at_all_ports_of_its_interface_or_none() {
    // The tables hold as many sessions: one port is full, its neighbour is not.
    let (mut full, _a) = pair(AGENT, OPERATOR, 1500).unwrap();
    let (free, _b) = pair(AGENT, OPERATOR, 1500).unwrap();
    let peer = Peer { mac: OPERATOR, vlan: bmstools_common::Vlan::NONE };
    let taken = (1..=u16::MAX)
        .take_while(|key| {
            full.insert_session(SessionKey::v1(peer, *key), Dialect::V1.into()).is_ok()
        })
        .count();
    assert_eq!(taken as u32, bmstools_common::maps::SESSIONS_CAPACITY);
    let runtime = Runtime::new().unwrap();
    let (server, ..) = server(&runtime, Path::new("/"), Groups::new([2]));
    let mut ports: Vec<Box<dyn Port>> = vec![Box::new(free), Box::new(full)];
    let key = SessionKey::v1(peer, u16::MAX);
    assert!(!server.let_through(0, key, Framing::V1(Dialect::V1), &mut ports));
    ports[1].remove_session(SessionKey::v1(peer, 1));
    assert!(server.let_through(0, key, Framing::V1(Dialect::V1), &mut ports));
}

#[test]
fn frames_of_a_version_that_is_not_spoken_are_counted_and_ignored() {
    let runtime = Runtime::new().unwrap();
    let (mut server, ..) = server(&runtime, Path::new("/"), Groups::new([1]));
    let peer = Peer { mac: OPERATOR, vlan: bmstools_common::Vlan::NONE };
    let now = Instant::now();
    let open = |version: u8| {
        let mut frame = [0; 64];
        // An open of version 1 from key 7: one fragment, the first.
        (frame[0], frame[3], frame[11]) = (version, 7, 1);
        frame
    };
    server.receive(now, 0, peer, &mut open(2));
    assert_eq!((server.ignored, server.endpoint.stats().received), (1, 0));
    server.receive(now, 0, peer, &mut open(1));
    assert_eq!((server.ignored, server.endpoint.stats().received), (1, 1));
    server.v1 = false;
    server.receive(now, 0, peer, &mut open(1));
    assert_eq!((server.ignored, server.endpoint.stats().received), (2, 1));
}
