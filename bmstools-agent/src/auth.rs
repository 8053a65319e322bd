//! Makes challenges, one after the other and off the frame loop: however many
//! sessions ask, they take one core at most.

use bmstools_proto::agent::{Challenge, SessionId};
use rand::rngs::OsRng;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::keys::KeyDir;
use crate::session::{Message, Outbox};

/// A session wants a challenge, for the `attempt`th time.
pub(crate) struct Wanted {
    /// The session.
    pub(crate) session: SessionId,
    /// How often it asked before.
    pub(crate) attempt: usize,
}

/// Answers everything from `wanted`, until the frame loop has ended.
pub(crate) async fn run(keys: KeyDir, mut wanted: mpsc::Receiver<Wanted>, outbox: Outbox) {
    while let Some(Wanted { session, attempt }) = wanted.recv().await {
        let keys = keys.clone();
        let made = spawn_blocking(move || {
            let key = keys.for_attempt(attempt)?;
            Some((Challenge::new(&key, &mut OsRng), key.fingerprint()))
        });
        let challenge = made.await.unwrap_or_default();
        outbox.send(Message::Challenge(session, challenge)).await;
    }
}
