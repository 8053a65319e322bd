//! Pushes and pulls (docs/protocol-v2.md, "Files").

use std::sync::Arc;
use std::time::Duration;

use bmstools_files::{Journal, LIFETIME, Progress, Receiver, Summary, TransferError};
use bmstools_proto::v2::message::files::{Pull, Push};
use bmstools_session::{RecvStream, SendStream, Session};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use super::Shared;

/// Receives files.
pub(crate) async fn serve_push(
    shared: Arc<Shared>,
    session: Session,
    request: Push,
    send: SendStream,
    recv: RecvStream,
) {
    let receiver = Receiver {
        journal: Some(journal(&shared)),
        who: session.peer_key().spki().into(),
        progress: Arc::new(Progress::default()),
    };
    let result = bmstools_files::serve_push(&session, send, recv, request, receiver).await;
    log(&session, "push", result);
}

/// Sends files.
pub(crate) async fn serve_pull(
    session: Session,
    request: Pull,
    send: SendStream,
    recv: RecvStream,
) {
    let result = bmstools_files::serve_pull(&session, send, recv, request).await;
    log(&session, "pull", result);
}

/// Removes what transfers left unfinished and nobody took up again, in time.
pub(crate) async fn sweep(journal: Journal) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let journal = journal.clone();
        // A sweep that breaks off is made up for by the next.
        let _ = spawn_blocking(move || journal.sweep(LIFETIME)).await;
    }
}

/// Where unfinished files are noted.
pub(crate) fn journal(shared: &Shared) -> Journal {
    Journal::new(shared.config.files.journal.clone())
}

fn log(session: &Session, what: &str, result: Result<Summary, TransferError>) {
    let peer = session.peer();
    match result {
        Ok(Summary { entries, bytes, failed, .. }) => {
            debug!(%peer, entries, bytes, failed, "{what} done");
        }
        Err(error) if error.is_interruption() => info!(%peer, %error, "{what} broke off"),
        Err(error) => info!(%peer, %error, "{what} failed"),
    }
}

/// Often enough for files that are a day old.
const SWEEP: Duration = Duration::from_secs(3600);
