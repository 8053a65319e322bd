//! One session, as tasks see it.

mod streams;

use std::pin::pin;
use std::sync::{Arc, Mutex};

use bmstools_common::ethernet::Peer;
use bmstools_proto::v2::identity::PublicKey;
use bmstools_proto::v2::{CloseReason, SessionId, SessionStats};
use tokio::sync::{Notify, oneshot};

use self::streams::Opened;
use crate::command::{Command, SessionCommand};
use crate::error::SessionError;
use crate::hub::code;
use crate::queue::Queue;
use crate::stream::{Halves, RecvStream, SendStream};
use crate::sync::lock;

/// One session. Cheap to clone. Dropping the last clone of one, streams included,
/// closes it (code 0): what has not been acknowledged by then may be lost.
#[derive(Clone)]
pub struct Session(Arc<Alive>);

/// Keeps a session open.
pub(crate) struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.command(SessionCommand::Close { code: code::DONE, reason: String::new() });
    }
}

/// What the tasks and the hub share of a session.
pub(crate) struct Shared {
    queue: Arc<Queue>,
    id: SessionId,
    peer: Peer,
    peer_key: PublicKey,
    peer_software: String,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    ended: Option<CloseReason>,
    is_drained: bool,
    opened: Opened,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Alive(shared)))
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// The peer's address.
    pub fn peer(&self) -> Peer {
        self.shared().peer
    }

    /// The key that the peer has proven to hold.
    pub fn peer_key(&self) -> &PublicKey {
        &self.shared().peer_key
    }

    /// What the peer says that it runs.
    pub fn peer_software(&self) -> &str {
        &self.shared().peer_software
    }

    /// Opens a stream. Waits while the peer's limit is reached. The peer hears of it
    /// with the first write or its end.
    ///
    /// # Errors
    ///
    /// Where the session is over.
    pub async fn open_stream(&self) -> Result<(SendStream, RecvStream), SessionError> {
        let (reply, opened) = oneshot::channel();
        self.shared().command(SessionCommand::Open(reply));
        match opened.await {
            Ok(halves) => Ok(halves.into_streams(&self.0)),
            Err(_) => Err(SessionError::Ended(self.shared().end_reason())),
        }
    }

    /// The next stream that the peer opened and used, in order. Streams that nobody has accepted
    /// when the session ends are gone. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Where the session is over.
    pub async fn accept_stream(&self) -> Result<(SendStream, RecvStream), SessionError> {
        let halves = self.shared().wait_until(|state| state.next(Opened::accept)).await?;
        Ok(halves.into_streams(&self.0))
    }

    /// The peer's stream of this number (named in a message), whether it has been
    /// opened yet or not. From the call on, `accept_stream` does not give it, but up to
    /// then it may, once the peer has used it: where one side accepts all streams, the
    /// other waits for an answer before it uses a stream that it named. Cancel-safe: a
    /// stream not taken is to be accepted after all.
    ///
    /// # Errors
    ///
    /// Where the session is over, or the stream cannot be the peer's or was given away
    /// before.
    pub fn take_stream(
        &self,
        id: u32,
    ) -> impl Future<Output = Result<(SendStream, RecvStream), SessionError>> + Send + '_ {
        let shared = self.shared();
        let reserved = lock(&shared.state).opened.reserve(id).map(|()| Reserved { shared, id });
        async move {
            let reserved = reserved?;
            let halves = shared.wait_until(|state| state.next(|all| all.take(reserved.id))).await?;
            Ok(halves.into_streams(&self.0))
        }
    }

    /// Counts of this session; `None` where it is over.
    pub async fn stats(&self) -> Option<SessionStats> {
        let (reply, stats) = oneshot::channel();
        self.shared().command(SessionCommand::Stats(reply));
        stats.await.ok()
    }

    /// Limits what this session sends.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.shared().command(SessionCommand::Rate(bytes_per_second));
    }

    /// Says goodbye, with a code of docs/protocol-v2.md and a reason for people; ready
    /// when the peer has confirmed or does not answer.
    pub async fn close(&self, code: u32, reason: &str) {
        self.shared().command(SessionCommand::Close { code, reason: reason.into() });
        self.shared().wait_until(|state| state.is_drained.then_some(())).await;
    }

    /// Ready when the session is over.
    pub async fn closed(&self) -> CloseReason {
        self.shared().wait_until(|state| state.ended.clone()).await
    }
}

/// A stream that somebody waits for.
struct Reserved<'a> {
    shared: &'a Shared,
    id: u32,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let came = lock(&self.shared.state).opened.release(self.id);
        if came {
            self.shared.changed.notify_waiters();
        }
    }
}

impl State {
    /// What `find` finds, unless the session is over.
    fn next(
        &mut self,
        find: impl FnOnce(&mut Opened) -> Option<Halves>,
    ) -> Option<Result<Halves, SessionError>> {
        if let Some(reason) = &self.ended {
            return Some(Err(SessionError::Ended(reason.clone())));
        }
        find(&mut self.opened).map(Ok)
    }
}

/// What a session is, once it is established.
pub(crate) struct Established {
    pub(crate) id: SessionId,
    pub(crate) peer: Peer,
    pub(crate) peer_key: PublicKey,
    pub(crate) peer_software: String,
    /// Whether the peer opened the session.
    pub(crate) is_accepted: bool,
}

impl Shared {
    pub(crate) fn new(queue: Arc<Queue>, about: Established) -> Self {
        let opened = Opened::new(if about.is_accepted { 0 } else { 1 });
        Self {
            queue,
            id: about.id,
            peer: about.peer,
            peer_key: about.peer_key,
            peer_software: about.peer_software,
            state: Mutex::new(State { ended: None, is_drained: false, opened }),
            changed: Notify::new(),
        }
    }

    fn command(&self, command: SessionCommand) {
        self.queue.push(Command::Session(self.id, command));
    }

    fn end_reason(&self) -> CloseReason {
        lock(&self.state).ended.clone().unwrap_or(CloseReason::Local)
    }

    /// Looks again whenever something changes.
    async fn wait_until<T>(&self, mut find: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = find(&mut lock(&self.state)) {
                return found;
            }
            changed.await;
        }
    }

    // The hub's side.

    /// The peer opened a stream.
    pub(crate) fn stream_opened(&self, id: u32, halves: Halves) {
        lock(&self.state).opened.insert(id, halves);
        self.changed.notify_waiters();
    }

    /// The peer used a stream that it had opened.
    pub(crate) fn stream_used(&self, id: u32) {
        lock(&self.state).opened.used(id);
        self.changed.notify_waiters();
    }

    /// The session is over.
    pub(crate) fn end(&self, reason: CloseReason) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        let gone = state.opened.clear();
        drop(state);
        drop(gone);
        self.changed.notify_waiters();
    }

    /// The peer has confirmed the end, or will not.
    pub(crate) fn drained(&self) {
        lock(&self.state).is_drained = true;
        self.changed.notify_waiters();
    }
}
