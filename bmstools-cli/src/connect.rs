//! From the command line to an authenticated session.

use std::iter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bmstools_common::Peer;
use bmstools_common::maps::Rate;
use bmstools_link::{KeyClaim, LinkError, Mode, Options, Port};
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::operator::Client;
use bmstools_proto::{Config, Dialect};
use tracing::{debug, info};

use crate::args::Common;
use crate::output::Failure;
use crate::session::{Opening, Session};
use crate::signals::Signals;
use crate::stop::{self, Outcome};
use crate::{inventory, keyfile};

/// Everything that opening a session takes, checked.
#[derive(Debug)]
pub(crate) struct Connector {
    peer: Peer,
    pub(crate) dialect: Dialect,
    interface: String,
    mode: Mode,
    key: PathBuf,
    timeout: Duration,
}

impl Connector {
    /// Reads what `common` says of the connection.
    ///
    /// # Errors
    ///
    /// Where something is missing or contradicts itself.
    pub(crate) fn new(common: &Common, dialect: Dialect) -> Result<Self, Failure> {
        let mut entries = inventory::targets(common)?;
        let (Some(entry), true) = (entries.pop(), entries.is_empty()) else {
            return Err(Failure::Usage(format!(
                "version 1 works on one server at a time, and -t names {}",
                entries.len() + 1
            )));
        };
        let target = &entry.target;
        if dialect == Dialect::V1Deployed && !target.is_tagged() {
            return Err(Failure::Usage(format!(
                "v1-deployed always tags its frames: name the server's VLAN, as in {}@100",
                target.peer().mac
            )));
        }
        Ok(Self {
            peer: target.peer(),
            dialect,
            interface: entry.interface(common.iface.as_deref())?,
            mode: common.link.into(),
            key: keyfile::path(common.key.as_deref().or(entry.key.as_deref())),
            timeout: common.connect_timeout,
        })
    }

    /// Opens a session and authenticates.
    ///
    /// # Errors
    ///
    /// Where the key or the interface cannot be used, the agent does not answer in
    /// time or refuses, or a signal comes.
    pub(crate) async fn connect(
        &self,
        signals: &mut Signals,
    ) -> Result<(Session, Opening), Failure> {
        // The key first: it fails without having touched the network.
        let key = keyfile::load(&self.key)?;
        debug!(key = key.public_key().fingerprint(), "authenticating with");
        let mut session = self.start(key)?;
        match stop::wait(session.authenticated(), Some(self.timeout), signals).await {
            Outcome::Done(opening) => Ok((session, opening?)),
            Outcome::Signal(signal) => {
                stop::end(session, signals).await;
                Err(Failure::Interrupted(signal))
            }
            Outcome::TimedOut => {
                let failure = Failure::Other(self.too_late(session.is_opened()));
                stop::end(session, signals).await;
                Err(failure)
            }
        }
    }

    fn start(&self, key: PrivateKey) -> anyhow::Result<Session> {
        let options = Options {
            interface: self.interface.clone(),
            mode: self.mode,
            zero_copy: false,
            opens_per_source: OPENS,
            opens_global: OPENS,
            accepts_opens: false,
        };
        let mut ports = bmstools_link::open(&options)?;
        for port in &ports {
            let info = port.info();
            info!(interface = info.interface, mac = %info.mac, mtu = info.mtu, mode = info.mode,
                "link open");
        }
        let mtu = ports.iter().map(|port| port.info().mtu).min().context("no port to send by")?;
        let claim = claim_key(&ports)?;
        let config = Config::default();
        let mtu = mtu.min(config.mtu);
        // Its own limit must not come before the one that was asked for.
        let config = Config { mtu, open_timeout: self.timeout + AFTERWARDS, ..config };
        let (peer, seed, now) = (self.peer, rand::random(), Instant::now());
        let client =
            Client::with_session_key(config, self.dialect, peer, key, claim.key(), seed, now);
        insert(&mut ports, &client, self.dialect)?;
        Session::start(client, claim, ports, mtu)
    }

    fn too_late(&self, opened: bool) -> anyhow::Error {
        let (peer, timeout) = (self.peer, self.timeout.as_secs_f64());
        if opened {
            anyhow::anyhow!(
                "{peer} answered but did not finish the authentication within {timeout} s: \
                 allow it more with --connect-timeout"
            )
        } else {
            anyhow::anyhow!(
                "no answer from {peer} through {} within {timeout} s: is the agent running, \
                 is the MAC address right, and does this interface lead to its VLAN?",
                self.interface
            )
        }
    }
}

/// Claims a session key that no other operator uses at the ports' address.
fn claim_key(ports: &[Box<dyn Port>]) -> anyhow::Result<KeyClaim> {
    let mac = ports.first().context("no port to send by")?.info().mac;
    KeyClaim::first_free(mac, iter::repeat_with(rand::random)).context("cannot claim a session key")
}

/// Lets the session's frames through on every port, before the first is sent.
fn insert(ports: &mut [Box<dyn Port>], client: &Client, dialect: Dialect) -> Result<(), LinkError> {
    ports.iter_mut().try_for_each(|port| port.insert_session(client.session_key(), dialect.into()))
}

/// Nobody opens sessions with an operator: enough for strays.
const OPENS: Rate = Rate { interval_ns: 1_000_000, burst: 16 };
/// Lets the command's own time limit decide, whose error says more.
const AFTERWARDS: Duration = Duration::from_secs(1);
