//! An agent and an operator, each with a hub on a thread of its own, on a link in memory.

#![allow(dead_code, unreachable_pub, reason = "no test needs all of it")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bmstools_common::{Mac, Peer, Vlan};
use bmstools_link::memory;
use bmstools_proto::v2::identity::{Identity, KeyType, generate};
use bmstools_proto::v2::{CloseReason, Config};
use bmstools_session::{Handle, HubThread, RecvStream, SendStream, Session, Target, spawn};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

pub const AGENT: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub const OPERATOR: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

pub static AGENT_KEY: LazyLock<Identity> = LazyLock::new(new_key);
pub static OPERATOR_KEY: LazyLock<Identity> = LazyLock::new(new_key);

pub fn new_key() -> Identity {
    Identity::from_pem(&generate(KeyType::Ed25519).unwrap()).unwrap()
}

/// Everything that a test would wait for comes within this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What `future` gives, unless it hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

pub struct World {
    pub agent: Handle,
    pub operator: Handle,
    pub agent_thread: Option<HubThread>,
    pub operator_thread: Option<HubThread>,
    next_key: AtomicU16,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world in which both sides are configured so.
    pub fn with(configure: impl Fn(&mut Config)) -> Self {
        // The link in memory holds 1024 frames.
        let mut config = Config { max_frames_in_flight: 512, ..Config::default() };
        configure(&mut config);
        let (a, b) = memory::pair(AGENT, OPERATOR, config.mtu).unwrap();
        let (agent, agent_thread) = spawn(vec![Box::new(a)], config.clone(), [1; 32]).unwrap();
        let (operator, operator_thread) = spawn(vec![Box::new(b)], config, [2; 32]).unwrap();
        agent.accept_with(Some((AGENT_KEY.clone(), [OPERATOR_KEY.public_key()].into())));
        Self {
            agent,
            operator,
            agent_thread: Some(agent_thread),
            operator_thread: Some(operator_thread),
            next_key: AtomicU16::new(1),
        }
    }

    /// The agent, with a session key that nobody has.
    pub fn target(&self) -> Target {
        target(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    /// A session: the operator's end and the agent's.
    pub async fn session(&self) -> (Session, Session) {
        let connected = soon(self.operator.connect(self.target())).await.unwrap();
        let accepted = soon(self.agent.accept()).await.unwrap();
        (connected, accepted)
    }

    /// A session with a stream that the operator opened and that the agent accepted.
    pub async fn stream(&self) -> (Ends, Ends) {
        let (connected, accepted) = self.session().await;
        let (mut send, recv) = soon(connected.open_stream()).await.unwrap();
        send.write(Bytes::from_static(b"!")).await.unwrap();
        let (their_send, mut their_recv) = soon(accepted.accept_stream()).await.unwrap();
        assert_eq!(soon(their_recv.read()).await.unwrap().unwrap(), "!");
        let ours = Ends { session: connected, send, recv };
        (ours, Ends { session: accepted, send: their_send, recv: their_recv })
    }
}

/// The agent, with this session key at the operator's end.
pub fn target(key: u16) -> Target {
    Target {
        peer: Peer { mac: AGENT, vlan: Vlan::NONE },
        port: 0,
        mtu: 1500,
        key,
        identity: OPERATOR_KEY.clone(),
        expected: AGENT_KEY.public_key(),
    }
}

/// One end of a stream.
pub struct Ends {
    pub session: Session,
    pub send: SendStream,
    pub recv: RecvStream,
}

/// Bytes that no bug makes by chance.
pub fn random(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// All of an ordered stream.
pub async fn read_all(recv: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = soon(recv.read()).await.unwrap() {
        all.extend_from_slice(&data);
    }
    all
}

/// The peer's goodbye.
pub fn goodbye(code: u32, reason: &str) -> CloseReason {
    CloseReason::Peer { code, reason: reason.into() }
}
