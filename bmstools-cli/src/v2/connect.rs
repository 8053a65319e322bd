//! From a target to an established session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bmstools_common::Mac;
use bmstools_common::ethernet::Peer;
use bmstools_common::maps::Rate;
use bmstools_link::{KeyClaim, Mode, Options};
use bmstools_proto::v2::identity::{Identity, PublicKey};
use bmstools_proto::v2::{CloseReason, Config};
use bmstools_session::{Handle, HubThread, Session, Target};
use tokio::task::JoinSet;
use tracing::{debug, info};

/// An interface in use, with the hub that drives it.
pub(crate) struct Link {
    name: String,
    handle: Handle,
    _thread: HubThread,
    /// Address, bytes of a frame at most, of each of its ports.
    ports: Vec<(Mac, usize)>,
    mode: String,
    /// Session keys in use. They are kept to the end: an agent may remember a session
    /// for some time.
    claims: Mutex<Vec<KeyClaim>>,
}

/// Whom to reach and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where.
    pub(crate) peer: Peer,
    /// As whom.
    pub(crate) identity: Identity,
    /// The file of that key, for errors.
    pub(crate) key_file: String,
    /// The agent's key.
    pub(crate) expected: PublicKey,
    /// Where that is from, for errors.
    pub(crate) expected_from: String,
}

/// Interfaces by name, each opened once.
pub(crate) struct Links {
    mode: Mode,
    timeout: Duration,
    open: HashMap<String, Result<Arc<Link>, String>>,
}

impl Links {
    /// None yet. Sessions must be established within `timeout`.
    pub(crate) fn new(mode: Mode, timeout: Duration) -> Self {
        Self { mode, timeout, open: HashMap::new() }
    }

    /// The interface `name`, opened.
    ///
    /// # Errors
    ///
    /// Where it cannot be used.
    pub(crate) fn open(&mut self, name: &str) -> Result<Arc<Link>> {
        let (mode, timeout) = (self.mode, self.timeout);
        let link = self.open.entry(name.to_owned()).or_insert_with(|| {
            Link::open(name, mode, timeout).map(Arc::new).map_err(|error| format!("{error:#}"))
        });
        link.clone().map_err(|error| anyhow!("{error}"))
    }

    /// Closes what is open and gives the goodbyes a moment to arrive.
    pub(crate) async fn close(self) {
        for link in self.open.into_values().flatten() {
            link.handle.shut_down(GOODBYE).await;
        }
    }
}

impl Link {
    fn open(name: &str, mode: Mode, timeout: Duration) -> Result<Self> {
        let ports = bmstools_link::open(&Options {
            interface: name.to_owned(),
            mode,
            zero_copy: false,
            accepts_opens: false,
            opens_per_source: OPENS,
            opens_global: OPENS,
        })?;
        let mut modes = Vec::new();
        let mut about = Vec::new();
        for port in &ports {
            let port = port.info();
            info!(interface = port.interface, mac = %port.mac, mtu = port.mtu, mode = port.mode,
                "link open");
            modes.push(port.mode.clone());
            about.push((port.mac, port.mtu.min(LONGEST_FRAME)));
        }
        let config = Config {
            mtu: about.iter().map(|(_, mtu)| *mtu).min().context("no port to send by")?,
            handshake_timeout: timeout,
            idle_timeout: IDLE,
            keep_alive: true,
            ..Config::default()
        };
        let (handle, thread) = bmstools_session::spawn(ports, config, rand::random())
            .context("cannot start the frame thread")?;
        Ok(Self {
            name: name.to_owned(),
            handle,
            _thread: thread,
            ports: about,
            mode: modes.join("; "),
            claims: Mutex::default(),
        })
    }

    /// How frames move, for people.
    pub(crate) fn mode(&self) -> &str {
        &self.mode
    }

    /// Opens a session; also how long that took.
    ///
    /// # Errors
    ///
    /// Where the agent does not answer, is another one, or refuses.
    pub(crate) async fn connect(&self, wanted: &Wanted) -> Result<(Session, Duration)> {
        let started = Instant::now();
        match self.establish(wanted).await? {
            Ok(session) => Ok((session, started.elapsed())),
            Err(reason) => Err(self.explain(wanted, reason)),
        }
    }

    /// Opens a session; the inner error is the agent's, or its silence.
    ///
    /// # Errors
    ///
    /// Where that cannot be tried.
    pub(super) async fn establish(&self, wanted: &Wanted) -> Result<Result<Session, CloseReason>> {
        debug!(peer = %wanted.peer, key = wanted.identity.public_key().fingerprint(), "connecting");
        // Nobody knows which of a bond's slaves leads to the agent: whichever is first.
        let mut attempts = JoinSet::new();
        for port in 0..self.ports.len() {
            let (handle, target) = (self.handle.clone(), self.target(port, wanted)?);
            attempts.spawn(async move { handle.connect(target).await });
        }
        let mut failure = CloseReason::Local;
        while let Some(attempt) = attempts.join_next().await {
            match attempt.context("connecting broke off")? {
                Ok(session) => return Ok(Ok(session)),
                // What was heard says more than silence.
                Err(CloseReason::NoAnswer(_)) if failure != CloseReason::Local => {}
                Err(reason) => failure = reason,
            }
        }
        Ok(Err(failure))
    }

    fn target(&self, port: usize, wanted: &Wanted) -> Result<Target> {
        let (mac, mtu) = self.ports.get(port).copied().context("no port to send by")?;
        let candidates = std::iter::repeat_with(rand::random);
        let claim = KeyClaim::first_free(mac, candidates).context("cannot claim a session key")?;
        let key = claim.key();
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
        Ok(Target {
            peer: wanted.peer,
            port,
            mtu: wanted.peer.vlan.payload_room(mtu),
            key,
            identity: wanted.identity.clone(),
            expected: wanted.expected.clone(),
        })
    }

    /// Why there is no session, and what to do.
    pub(super) fn explain(&self, wanted: &Wanted, reason: CloseReason) -> anyhow::Error {
        let Wanted { peer, key_file, expected_from, .. } = wanted;
        match reason {
            CloseReason::NoAnswer(after) => anyhow!(
                "no answer from {peer} through {} within {:.1} s: is the agent running, is the \
                 MAC address right, and does this interface lead to its VLAN? An agent that \
                 speaks v1 only does not answer this either: try --proto v1",
                self.name,
                after.as_secs_f64()
            ),
            CloseReason::WrongKey { actual, expected } => anyhow!(
                "the agent at {peer} has the key {actual}, but {expected} was expected \
                 ({expected_from}): if that agent is the right one, name its public.pem with \
                 --agent-key; if not, somebody else answers in its place"
            ),
            CloseReason::NotAuthorized(_) | CloseReason::Peer { code: NOT_AUTHORIZED, .. } => {
                anyhow!(
                    "the agent at {peer} does not accept the key {} ({key_file}): put its public \
                     half into authorized_keys.d on the server, or name another with --key",
                    wanted.identity.public_key().fingerprint()
                )
            }
            reason => anyhow!("no session with {peer}: {reason}"),
        }
    }
}

/// Nobody opens sessions with an operator: enough for strays.
const OPENS: Rate = Rate { interval_ns: 1_000_000, burst: 16 };
/// Bytes behind the Ethernet header that one buffer of a ring holds.
const LONGEST_FRAME: usize = 3498;
/// Time after which an agent forgets an operator that has vanished; a third of it is
/// the time between signs of life.
const IDLE: Duration = Duration::from_secs(30);
/// How long agents may take to confirm a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// The code of a close that says so (docs/protocol-v2.md).
pub(crate) const NOT_AUTHORIZED: u32 = 5;
