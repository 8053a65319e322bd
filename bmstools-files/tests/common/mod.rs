//! An agent that serves pushes and pulls and an operator, on a link in memory.

#![allow(dead_code, unreachable_pub, reason = "no test needs all of it")]
#![allow(clippy::unwrap_used, reason = "these are tests, though not functions of them")]

#[path = "../../../tests/src/tree.rs"]
pub mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bmstools_common::{Mac, Peer, Vlan};
use bmstools_files::{Journal, Progress, Receiver, Source, Summary, TransferError};
use bmstools_link::memory;
use bmstools_proto::v2::Config;
use bmstools_proto::v2::identity::{Identity, KeyType, generate};
use bmstools_proto::v2::message::files::{Pull, PutOptions};
use bmstools_proto::v2::message::{FailureCode, Request};
use bmstools_session::{Handle, HubThread, Session, Target, spawn};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use tempfile::TempDir;

pub const AGENT: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub const OPERATOR: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

/// Everything that a test would wait for comes within this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What `future` gives, unless it hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

pub struct World {
    pub operator: Handle,
    pub dir: TempDir,
    agent_key: Identity,
    operator_key: Identity,
    agent: Handle,
    _threads: [HubThread; 2],
    next_key: AtomicU16,
    server: tokio::task::JoinHandle<()>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let config =
            Config { max_frames_in_flight: 512, give_up: Duration::from_secs(3), ..config };
        let (a, b) = memory::pair(AGENT, OPERATOR, config.mtu).unwrap();
        let (agent, agent_thread) = spawn(vec![Box::new(a)], config.clone(), [1; 32]).unwrap();
        let (operator, operator_thread) = spawn(vec![Box::new(b)], config, [2; 32]).unwrap();
        let (agent_key, operator_key) = (new_key(), new_key());
        agent.accept_with(Some((agent_key.clone(), [operator_key.public_key()].into())));
        let dir = tempfile::tempdir().unwrap();
        let server = tokio::spawn(serve(agent.clone(), dir.path().join("journal")));
        Self {
            operator,
            dir,
            agent_key,
            operator_key,
            agent,
            _threads: [agent_thread, operator_thread],
            next_key: AtomicU16::new(1),
            server,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn session(&self) -> Session {
        let target = Target {
            peer: Peer { mac: AGENT, vlan: Vlan::NONE },
            port: 0,
            mtu: 1500,
            key: self.next_key.fetch_add(1, Ordering::Relaxed),
            identity: self.operator_key.clone(),
            expected: self.agent_key.public_key(),
        };
        soon(self.operator.connect(target)).await.unwrap()
    }

    pub async fn push(&self, from: &Path, to: &str) -> Result<Summary, TransferError> {
        self.push_with(from, to, PutOptions::default()).await
    }

    pub async fn push_with(
        &self,
        from: &Path,
        to: &str,
        options: PutOptions,
    ) -> Result<Summary, TransferError> {
        let session = self.session().await;
        let source = Source::open(from, true)?;
        let to = bytes(&self.path(to));
        soon(bmstools_files::push(&session, source, to, options, Arc::default())).await
    }

    pub async fn pull(&self, from: &Path, to: &str) -> Result<Summary, TransferError> {
        self.pull_with(from, to, PutOptions::default()).await
    }

    pub async fn pull_with(
        &self,
        from: &Path,
        to: &str,
        options: PutOptions,
    ) -> Result<Summary, TransferError> {
        let session = self.session().await;
        let request = Pull { source: bytes(from), recursive: true };
        let receiver = Receiver {
            journal: Some(Journal::new(self.path("journal"))),
            who: [1].into(),
            progress: Arc::new(Progress::default()),
        };
        soon(bmstools_files::pull(&session, request, &self.path(to), options, receiver)).await
    }

    /// Fails where anything unfinished is left.
    pub fn assert_clean(&self) {
        let left = tree::unfinished(self.dir.path()).unwrap();
        assert!(left.is_empty(), "left: {left:?}");
        let notes = std::fs::read_dir(self.path("journal")).map_or(0, Iterator::count);
        assert_eq!(notes, 0, "notes are left");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub fn new_key() -> Identity {
    Identity::from_pem(&generate(KeyType::Ed25519).unwrap()).unwrap()
}

/// What the agent does.
async fn serve(agent: Handle, journal: PathBuf) {
    while let Some(session) = agent.accept().await {
        let journal = Journal::new(journal.clone());
        tokio::spawn(async move {
            while let Ok((send, mut recv)) = session.accept_stream().await {
                let receiver = Receiver {
                    journal: Some(journal.clone()),
                    who: session.peer_key().spki().into(),
                    progress: Arc::default(),
                };
                let session = session.clone();
                tokio::spawn(async move {
                    let result = match recv.receive().await {
                        Ok(Some(Request::Push(push))) => {
                            bmstools_files::serve_push(&session, send, recv, push, receiver).await
                        }
                        Ok(Some(Request::Pull(pull))) => {
                            bmstools_files::serve_pull(&session, send, recv, pull).await
                        }
                        other => panic!("{other:?}"),
                    };
                    eprintln!("the agent: {result:?}");
                });
            }
        });
    }
}

pub fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().to_owned().into_encoded_bytes()
}

/// The code of an explicit failure.
pub fn code(result: Result<Summary, TransferError>) -> (FailureCode, String) {
    match result {
        Err(TransferError::Failed(failure)) => (failure.code, failure.message),
        other => panic!("{other:?}"),
    }
}

pub fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Fails with the first difference.
pub fn assert_same(left: &Path, right: &Path) {
    tree::require_same(left, right).unwrap();
}

pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, tree::Entry> {
    tree::snapshot(root).unwrap()
}

pub fn unfinished(root: &Path) -> Vec<PathBuf> {
    tree::unfinished(root).unwrap()
}
