//! Makes challenges, one after the other and off the frame loop: however many
//! sessions ask, they take one core at most. The thread is theirs alone, so that
//! nobody is kept out where a hanging file system holds those for files.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bmstools_proto::agent::{Challenge, SessionId};
use rand::rngs::OsRng;
use tokio::sync::mpsc;

use crate::keys::KeyDir;
use crate::session::{Message, Outbox};

/// A session wants a challenge, for the `attempt`th time.
pub(crate) struct Wanted {
    /// The session.
    pub(crate) session: SessionId,
    /// How often it asked before.
    pub(crate) attempt: usize,
}

/// Answers everything from `wanted`, until the frame loop has ended. Blocks.
pub(crate) fn run(keys: &KeyDir, mut wanted: mpsc::Receiver<Wanted>, outbox: &Outbox) {
    while let Some(Wanted { session, attempt }) = wanted.blocking_recv() {
        let make = || {
            let key = keys.for_attempt(attempt)?;
            Some((Challenge::new(&key, &mut OsRng), key.fingerprint()))
        };
        // The next session's challenge must come all the same.
        let challenge = catch_unwind(AssertUnwindSafe(make)).unwrap_or_default();
        outbox.send_blocking(Message::Challenge(session, challenge));
    }
}
