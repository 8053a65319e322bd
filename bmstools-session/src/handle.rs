//! A hub, as tasks see it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bmstools_common::ethernet::Peer;
use bmstools_proto::v2::identity::{Identity, PublicKey};
use bmstools_proto::v2::{CloseReason, Connect, Stats};
use tokio::sync::{Notify, oneshot};

use crate::command::Command;
use crate::hub::code;
use crate::queue::Queue;
use crate::session::Session;
use crate::sync::lock;

/// Everybody else's side of a hub. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Listener>);

/// Keeps the hub accepting sessions.
struct Listener(Arc<Common>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.refuse();
    }
}

/// How to open a session (see [`bmstools_proto::v2::Connect`]). The session key is
/// chosen and claimed by the caller, and released by it once the session is over.
#[derive(Clone, Debug)]
pub struct Target {
    /// With whom.
    pub peer: Peer,
    /// Through which port.
    pub port: usize,
    /// Bytes behind the Ethernet header that this port carries at most.
    pub mtu: usize,
    /// This side's session key: nobody else on the interface may use it.
    pub key: u16,
    /// Who this side is.
    pub identity: Identity,
    /// Whom the other side must prove to be.
    pub expected: PublicKey,
}

impl From<Target> for Connect {
    fn from(target: Target) -> Self {
        let Target { peer, port, mtu, key, identity, expected } = target;
        Self { peer, port, mtu, key, identity, expected }
    }
}

impl Handle {
    pub(crate) fn new(common: Arc<Common>) -> Self {
        Self(Arc::new(Listener(common)))
    }

    fn common(&self) -> &Common {
        &self.0.0
    }

    /// Answers opens from here on as `identity` for holders of `authorized` keys; `None`
    /// answers none. Sessions that there are stay.
    pub fn accept_with(&self, identity: Option<(Identity, Arc<[PublicKey]>)>) {
        self.common().queue.push(Command::Accept(identity));
    }

    /// The next session that a peer opened and that is established; `None` once the hub
    /// is gone or shut down. Cancel-safe.
    pub async fn accept(&self) -> Option<Session> {
        let common = self.common();
        loop {
            let mut arrived = pin!(common.arrived.notified());
            arrived.as_mut().enable();
            {
                let mut accepted = lock(&common.accepted);
                if let Some(session) = accepted.sessions.pop_front() {
                    return Some(session);
                }
                if accepted.is_closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// Opens a session; ready once it is established. Dropped before, the attempt is
    /// given up.
    ///
    /// # Errors
    ///
    /// Why there is no session.
    pub async fn connect(&self, target: Target) -> Result<Session, CloseReason> {
        let common = self.common();
        let (reply, connected) = oneshot::channel();
        let attempt = common.attempts.fetch_add(1, Ordering::Relaxed);
        common.queue.push(Command::Connect { target: Box::new(target), attempt, reply });
        let mut pending = Attempt { queue: &common.queue, attempt: Some(attempt) };
        let result = connected.await.unwrap_or_else(|_| Err(common.reason()));
        pending.attempt = None;
        result
    }

    /// Closes every session (code 2), accepts no more, and makes
    /// [`Hub::turn`](crate::Hub::turn) break once all are drained or `within` has
    /// passed. Ready then.
    pub async fn shut_down(&self, within: Duration) {
        let (done, is_done) = oneshot::channel();
        let reason = "the agent is ending";
        self.common().queue.push(Command::ShutDown { code: code::ENDING, reason, within, done });
        // An error says that the hub is gone: shut down as well.
        let _ = is_done.await;
    }

    /// Counts of all sessions; the last ones where the hub is gone.
    pub async fn stats(&self) -> Stats {
        let (reply, stats) = oneshot::channel();
        self.common().queue.push(Command::Stats(reply));
        match stats.await {
            Ok(stats) => stats,
            Err(_) => *lock(&self.common().last_stats),
        }
    }

    /// Sessions that are established or in their handshake.
    pub fn session_count(&self) -> usize {
        self.common().session_count.load(Ordering::Relaxed)
    }
}

/// An attempt to connect that somebody waits for.
struct Attempt<'a> {
    queue: &'a Queue,
    attempt: Option<u64>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt {
            self.queue.push(Command::Abandon(attempt));
        }
    }
}

/// What the hub and its handles share.
pub(crate) struct Common {
    pub(crate) queue: Arc<Queue>,
    accepted: Mutex<Accepted>,
    arrived: Notify,
    attempts: AtomicU64,
    session_count: AtomicUsize,
    last_stats: Mutex<Stats>,
    /// Why the hub is gone, where it was not shut down.
    reason: OnceLock<CloseReason>,
}

/// Sessions that nobody has. The endpoint's limit on sessions bounds it.
#[derive(Default)]
struct Accepted {
    sessions: VecDeque<Session>,
    is_closed: bool,
}

impl Common {
    pub(crate) fn new(queue: Queue) -> Self {
        Self {
            queue: Arc::new(queue),
            accepted: Mutex::default(),
            arrived: Notify::new(),
            attempts: AtomicU64::new(0),
            session_count: AtomicUsize::new(0),
            last_stats: Mutex::default(),
            reason: OnceLock::new(),
        }
    }

    /// Puts a session where it can be accepted, or drops it where nobody does that.
    pub(crate) fn arrived(&self, session: Session) {
        let mut accepted = lock(&self.accepted);
        if accepted.is_closed {
            drop(accepted);
            drop(session);
            return;
        }
        accepted.sessions.push_back(session);
        drop(accepted);
        self.arrived.notify_waiters();
    }

    /// From here on nobody accepts.
    pub(crate) fn refuse(&self) {
        let mut accepted = lock(&self.accepted);
        accepted.is_closed = true;
        let sessions = std::mem::take(&mut accepted.sessions);
        drop(accepted);
        drop(sessions);
        self.arrived.notify_waiters();
    }

    pub(crate) fn set_session_count(&self, count: usize) {
        self.session_count.store(count, Ordering::Relaxed);
    }

    /// Why the hub will be gone.
    pub(crate) fn set_reason(&self, reason: &CloseReason) {
        // The first is the reason of the others.
        let _ = self.reason.set(reason.clone());
    }

    fn reason(&self) -> CloseReason {
        self.reason.get().cloned().unwrap_or(CloseReason::Local)
    }

    /// The hub is gone.
    pub(crate) fn close(&self, stats: Stats) {
        *lock(&self.last_stats) = stats;
        self.set_session_count(0);
        self.queue.close();
        self.refuse();
    }
}
