//! An operator of version 2 inside this process: what the command line, which opens
//! one session a call, cannot show.

use std::fs;
use std::iter;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bmstools_common::Mac;
use bmstools_common::maps::Rate;
use bmstools_link::{KeyClaim, Mode, Options};
use bmstools_proto::v2::Config;
use bmstools_proto::v2::identity::Identity;
use bmstools_proto::v2::message::exec::{Exec, Exited, Started};
use bmstools_proto::v2::message::{Answer, Request};
use bmstools_session::{Handle, HubThread, Session, Target, spawn};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::cores::{self, SENDER};
use super::stage::Stage;
use crate::testbed::AGENT_MAC;
use crate::{interrupt, wire};

/// An interface in use. All of its work is done on the sender's core.
pub(crate) struct Operator {
    runtime: Runtime,
    handle: Handle,
    _thread: HubThread,
    mac: Mac,
    mtu: usize,
    identity: Identity,
    claims: Vec<KeyClaim>,
}

impl Operator {
    /// Opens an interface of the sender's host.
    ///
    /// # Errors
    ///
    /// Where it cannot be used.
    pub(crate) fn open(stage: &Stage, interface: &str, mode: Mode) -> Result<Self> {
        let unlimited = Rate { interval_ns: 0, burst: 0 };
        let options = Options {
            interface: interface.to_owned(),
            mode,
            zero_copy: false,
            opens_per_source: unlimited,
            opens_global: unlimited,
            accepts_opens: false,
        };
        let ports = stage.sender().enter(|| bmstools_link::open(&options))??;
        stage.settle()?;
        let mtu = ports.iter().map(|port| port.info().mtu).min().context("no port")?;
        let mtu = mtu.min(LONGEST_FRAME);
        let mac = ports.first().context("no port")?.info().mac;
        let config = Config { mtu, keep_alive: true, ..Config::default() };
        let pem = fs::read_to_string(stage.private_key())?;
        let identity = Identity::from_pem(&pem).context("cannot read the operator's key")?;
        cores::on(SENDER, || {
            let runtime = Builder::new_current_thread().enable_time().build()?;
            let (handle, thread) = spawn(ports, config, rand::random())?;
            Ok(Self { runtime, handle, _thread: thread, mac, mtu, identity, claims: Vec::new() })
        })
    }

    /// Opens a session with the agent; also how long that took.
    ///
    /// # Errors
    ///
    /// Where the agent does not answer or refuses.
    pub(crate) fn connect(&mut self, stage: &Stage) -> Result<(Session, Duration)> {
        let (mac, keys) = (self.mac, iter::repeat_with(rand::random));
        let claim = stage.sender().enter(|| KeyClaim::first_free(mac, keys))??;
        let target = Target {
            peer: wire::peer(AGENT_MAC, None)?,
            port: 0,
            mtu: self.mtu,
            key: claim.key(),
            identity: self.identity.clone(),
            expected: self.identity.public_key(),
        };
        // An agent may remember a session for some time after its end.
        self.claims.push(claim);
        let started = Instant::now();
        let session = self.run(async { Ok(self.handle.connect(target).await?) })?;
        Ok((session, started.elapsed()))
    }

    /// Does `work` on the sender's core.
    ///
    /// # Errors
    ///
    /// That of `work`, or where it takes minutes, and where a signal came.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done =
            cores::on(SENDER, || self.runtime.block_on(async { Ok(timeout(LIMIT, work).await) }))?;
        interrupt::check()?;
        match done {
            Ok(done) => done,
            Err(_) => bail!("not done within {} s", LIMIT.as_secs()),
        }
    }
}

/// Runs `true` with its output and its errors, as `bmstools exec` does; how long that
/// took.
///
/// # Errors
///
/// Where the session fails or the command does.
pub(crate) async fn exec_true(session: &Session) -> Result<Duration> {
    let started = Instant::now();
    let (mut control, mut answers) = session.open_stream().await?;
    control.set_priority(CONTROL_PRIORITY);
    let (mut input, mut output) = session.open_stream().await?;
    let (mut nothing, mut errors) = session.open_stream().await?;
    let request = Exec {
        argv: vec![b"true".to_vec().into()],
        output: Some(input.id()),
        errors: Some(nothing.id()),
        ..Exec::default()
    };
    control.send(&Request::Exec(request)).await?;
    match answers.receive::<Answer<Started>>().await? {
        Some(Answer::Done(_)) => {}
        Some(Answer::Failed(failure)) => bail!("the agent refused: {}", failure.message),
        None => bail!("the agent gave no answer"),
    }
    // The agent has them: this opens both.
    nothing.finish();
    input.finish();
    while output.read().await?.is_some() {}
    while errors.read().await?.is_some() {}
    let exited: Exited = answers.receive().await?.context("the agent did not tell the end")?;
    ensure!(exited.code == Some(0), "it ended with {exited:?}");
    Ok(started.elapsed())
}

/// Pushes a file on a session.
///
/// # Errors
///
/// Where it does not arrive.
pub(crate) async fn push(session: &Session, source: &Path, destination: &Path) -> Result<()> {
    let path = source.to_owned();
    let source = tokio::task::spawn_blocking(move || bmstools_files::Source::open(&path, false));
    let source = source.await?.map_err(|failure| anyhow::anyhow!(failure.message))?;
    let destination = destination.as_os_str().as_encoded_bytes().to_vec();
    let (options, progress) = Default::default();
    bmstools_files::push(session, source, destination, options, progress).await?;
    Ok(())
}

/// Bytes behind the Ethernet header that one buffer of a ring holds.
const LONGEST_FRAME: usize = 3498;
/// As the command line has it.
const CONTROL_PRIORITY: u8 = 240;
const LIMIT: Duration = Duration::from_secs(120);
