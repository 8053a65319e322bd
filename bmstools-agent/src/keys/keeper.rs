//! Keeps version 2's keys as the files are, on a thread of its own: a hanging file
//! system must not hold up anything else.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use bmstools_proto::v2::identity::PublicKey;
use bmstools_session::Handle;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{Credentials, KeyDir, Stamp};
use crate::config::Protocols;

/// The way to the thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys(mpsc::Sender<Asked>);

enum Asked {
    /// Whether a key is authorised by a file that is there at this moment.
    Authorized(PublicKey, oneshot::Sender<bool>),
    /// Check all files, and take what is there.
    Check,
    /// Tell this hub whom to serve, from here on.
    Serve(Handle, mpsc::Sender<()>),
}

impl Keys {
    /// Whether `key` is authorised at this moment.
    pub(crate) async fn is_authorized(&self, key: &PublicKey) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked::Authorized(key.clone(), answer)).is_ok()
            && answered.await.unwrap_or_default()
    }

    /// Has all files checked and taken. The log tells how they are.
    pub(crate) fn check(&self) {
        // It only goes away with the whole agent.
        let _ = self.0.send(Asked::Check);
    }

    /// Has `hub` told whom to serve, from here on. Returns once it has been.
    pub(crate) fn serve(&self, hub: Handle) {
        let (done, told) = mpsc::channel();
        if self.0.send(Asked::Serve(hub, done)).is_ok() {
            let _ = told.recv();
        }
    }
}

/// What the thread owns.
pub(crate) struct Keeper {
    dir: KeyDir,
    protocols: Protocols,
    hub: Option<Handle>,
    stamp: Stamp,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system allows no more threads.
    pub(crate) fn start(dir: KeyDir, protocols: Protocols) -> anyhow::Result<Keys> {
        let (keys, asked) = mpsc::channel();
        let keeper = Self { dir, protocols, hub: None, stamp: Stamp::new() };
        std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || keeper.run(&asked))
            .context("cannot start threads")?;
        Ok(Keys(keys))
    }

    fn run(mut self, asked: &mpsc::Receiver<Asked>) {
        loop {
            match asked.recv_timeout(LOOK_EVERY) {
                Ok(Asked::Authorized(key, answer)) => {
                    let _ = answer.send(self.dir.is_authorized(&key));
                }
                Ok(Asked::Check) => {
                    if let Err(error) = self.dir.check(self.protocols) {
                        error!("the keys are not in order: {error:#}");
                    }
                    // Whatever is wrong has been told.
                    let _ = self.take();
                }
                Ok(Asked::Serve(hub, done)) => {
                    self.hub = Some(hub);
                    let _ = self.take();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes what is there where anything has changed.
    fn look(&mut self) {
        if self.hub.is_none() || self.dir.stamp() == self.stamp {
            return;
        }
        match self.take() {
            Ok(keys) => info!(keys, "the key files have changed"),
            Err(error) => warn!("the key files have changed, and v2 is not served: {error:#}"),
        }
    }

    /// Tells the hub what the files say; how many keys those are.
    fn take(&mut self) -> anyhow::Result<usize> {
        let Some(hub) = &self.hub else { return Ok(0) };
        self.stamp = self.dir.stamp();
        match self.dir.credentials() {
            Ok(Credentials { identity, authorized }) => {
                let keys = authorized.len();
                hub.accept_with(Some((identity, authorized.into())));
                Ok(keys)
            }
            Err(error) => {
                hub.accept_with(None);
                Err(error)
            }
        }
    }
}

/// How long a new key may take to be known. A removed one is out at once: a session
/// asks again when it is established.
const LOOK_EVERY: Duration = Duration::from_secs(1);
