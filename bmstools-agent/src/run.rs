//! Puts the agent together, runs it and takes it apart.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bmstools_link::{Options, Port, Waker};
use bmstools_proto::agent::Endpoint;
use bmstools_session::Hub;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::claim::Claim;
use crate::config::Config;
use crate::exec::Executor;
use crate::file::Scripts;
use crate::keys::{Keeper, KeyDir, MAX_KEYS};
use crate::server::{Groups, Server, V2};
use crate::session::{Outbox, Shared};
use crate::signals::{Signals, notify};
use crate::{auth, v2};

/// Serves until a signal ends it.
///
/// An interface that vanishes ends the agent with an error, whatever the others
/// do: the service manager starts it again, and one that has lost half of its
/// interfaces would look healthy.
///
/// # Errors
///
/// Where keys, interfaces or the system stand in the way, or an interface breaks.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let dir = KeyDir::new(&config.auth_dir);
    dir.check(config.protocols)?;
    umask(rustix::fs::Mode::from_bits_truncate(0o022));
    raise_file_limit(config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let waker = Waker::new().context("cannot make a waker")?;
    // Room for what every session may have to say at once.
    let (outbox, inbox) = Outbox::new(waker.clone(), 2 * config.sessions.max + 16);
    let signals = {
        let _runtime = runtime.enter();
        Signals::new().context("cannot catch signals")?
    };
    let keys = Keeper::start(dir.clone(), config.protocols)?;
    runtime.spawn(signals.run(keys.clone(), outbox.clone()));
    let claims = claim(config)?;
    let (mut ports, groups) = open_ports(config)?;
    let (wanted, asked) = mpsc::channel(config.sessions.max);
    let challenges = outbox.clone();
    thread::Builder::new()
        .name("challenges".into())
        .spawn(move || auth::run(&dir, asked, &challenges))
        .context("cannot start threads")?;
    let (alive, tasks) = mpsc::channel(1);
    let executor = Executor::new(config.exec.clone());
    let v2 = config.protocols.v2.then(|| start_v2(config, &ports, &groups, &waker));
    if let Some((_, handle)) = &v2 {
        keys.serve(handle.clone());
        let shared = v2::Shared {
            config: config.clone(),
            keys,
            started: Instant::now(),
            executor: Arc::clone(&executor),
            starter: v2::Starter::new(config.exec.max_commands),
            outbox: outbox.clone(),
            alive: alive.clone(),
        };
        runtime.spawn(v2::run(shared.into(), handle.clone()));
    }
    let mut server = Server {
        v1: config.protocols.v1,
        v2: v2.map(V2::new),
        ignored: 0,
        endpoint: Endpoint::new(protocol(config, &ports), rand::random()),
        groups,
        inbox,
        wanted,
        runtime: runtime.handle().clone(),
        shared: Shared { executor, scripts: Scripts::default().into(), outbox, alive }.into(),
        sessions: HashMap::new(),
        stopping: None,
    };
    info!("ready");
    notify(NotifyState::Ready);
    let ran = bmstools_link::run(&mut ports, &mut server, &waker);
    server.counted(&ports).log();
    // Breaks every session that is left: its commands die, its files go.
    drop(server);
    drop(ports);
    drop(claims);
    wait_for(&runtime, tasks);
    runtime.shutdown_timeout(LAST_TIME);
    ran.context("a network interface failed")?;
    info!("ended");
    Ok(())
}

fn claim(config: &Config) -> anyhow::Result<Vec<Claim>> {
    let claim = |interface: &String| {
        Claim::on(interface).with_context(|| format!("cannot serve {interface}"))
    };
    config.interfaces.iter().map(claim).collect()
}

fn open_ports(config: &Config) -> anyhow::Result<(Vec<Box<dyn Port>>, Groups)> {
    let mut ports = Vec::new();
    let mut sizes = Vec::new();
    for interface in &config.interfaces {
        let opened = bmstools_link::open(&Options {
            interface: interface.clone(),
            mode: config.link.into(),
            zero_copy: config.zero_copy,
            opens_per_source: config.opens.per_source,
            opens_global: config.opens.global,
            accepts_opens: true,
        })
        .with_context(|| format!("cannot serve {interface}"))?;
        for port in &opened {
            let about = port.info();
            info!(interface = about.interface, mac = %about.mac, mtu = about.mtu, mode = about.mode, "serving");
        }
        sizes.push(opened.len());
        ports.extend(opened);
    }
    Ok((ports, Groups::new(sizes)))
}

/// The protocol's limits. Frames fit every port: a session may move from one to
/// another in the middle of a message.
fn protocol(config: &Config, ports: &[Box<dyn Port>]) -> bmstools_proto::Config {
    let defaults = bmstools_proto::Config::default();
    let mtu = ports.iter().map(|port| port.info().mtu).fold(defaults.mtu, usize::min);
    bmstools_proto::Config {
        mtu,
        max_sessions: config.sessions.max,
        max_challenges: MAX_KEYS,
        // A stranger's session does not last longer than an operator's.
        auth_timeout: defaults.auth_timeout.min(config.sessions.idle_timeout),
        idle_timeout: config.sessions.idle_timeout,
        deployed_answer_delay: config.sessions.deployed_answer_delay,
        ..defaults
    }
}

/// Version 2 on these ports.
fn start_v2(
    config: &Config,
    ports: &[Box<dyn Port>],
    groups: &Groups,
    waker: &Waker,
) -> (Hub, bmstools_session::Handle) {
    let defaults = bmstools_proto::v2::Config::default();
    let protocol = bmstools_proto::v2::Config {
        mtu: ports.iter().map(|port| port.info().mtu).fold(LONGEST_FRAME, usize::min),
        max_sessions: config.sessions.max,
        handshake_timeout: defaults.handshake_timeout.min(config.sessions.idle_timeout),
        idle_timeout: config.sessions.idle_timeout,
        ..defaults
    };
    let groups = groups.ranges().to_vec();
    Hub::new(protocol, groups, waker.clone(), rand::random(), Instant::now())
}

/// Makes sure that commands and files within their limits get their descriptors.
fn raise_file_limit(config: &Config) {
    let needed = (FILES_PER_COMMAND * config.exec.max_commands
        + FILES_PER_SESSION * config.sessions.max
        + FILES_OTHERWISE) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(current) = current.filter(|current| *current < needed) else { return };
    let possible = maximum.map_or(needed, |maximum| maximum.min(needed));
    let wanted = Rlimit { current: Some(possible), maximum };
    if possible < needed || setrlimit(Resource::Nofile, wanted).is_err() {
        warn!(
            "the limits in the configuration may need {needed} file descriptors, but {} are allowed; raise LimitNOFILE",
            possible.max(current)
        );
    }
}

/// Waits for sessions' tasks to end: commands killed, temporary files gone.
fn wait_for(runtime: &Runtime, mut tasks: mpsc::Receiver<Infallible>) {
    let ended = runtime.block_on(async { tokio::time::timeout(LAST_TIME, tasks.recv()).await });
    if ended.is_err() {
        warn!("some sessions' work did not end in {LAST_TIME:?} and is left behind");
    }
}

/// Bytes behind the Ethernet header that one buffer of a ring holds.
const LONGEST_FRAME: usize = 3498;
/// Threads for files. Each file has one in use at most.
const BLOCKING_THREADS: usize = 256;
/// Time for sessions' tasks to end.
const LAST_TIME: Duration = Duration::from_secs(5);
/// Three pipes and their other ends while it starts, and its pidfd.
const FILES_PER_COMMAND: usize = 7;
/// A file, its directory, and the directory once more for a hidden name.
const FILES_PER_SESSION: usize = 3;
/// Sockets, maps, programs, key files.
const FILES_OTHERWISE: usize = 1024;
