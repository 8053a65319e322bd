//! Sessions of version 2: each has a task that accepts its streams, and each stream
//! one that reads the request and serves it.

mod claim;
mod exec;
mod files;
mod jobs;
mod launch;
mod readiness;
mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bmstools_proto::v2::message::{Answer, Failure, FailureCode, Request};
use bmstools_session::{Handle, RecvStream, SendStream, Session, SessionError};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::config::Config;
use crate::exec::Executor;
use crate::keys::Keys;
use crate::session::Outbox;

pub(crate) use self::launch::intercept;
pub(crate) use self::launch::starter::Starter;

/// What all sessions share.
pub(crate) struct Shared {
    /// The settings.
    pub(crate) config: Config,
    /// Who is authorised.
    pub(crate) keys: Keys,
    /// Since when the agent serves.
    pub(crate) started: Instant,
    /// What counts commands, those of version 1 as well.
    pub(crate) executor: Arc<Executor>,
    /// What starts commands.
    pub(crate) starter: Starter,
    /// The way to the frame loop.
    pub(crate) outbox: Outbox,
    /// Lives as long as any session's task.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

/// Serves the sessions that operators open, until the frame loop has ended.
pub(crate) async fn run(shared: Arc<Shared>, handle: Handle) {
    let sweeping = tokio::spawn(files::sweep(files::journal(&shared)));
    while let Some(session) = handle.accept().await {
        tokio::spawn(serve(Arc::clone(&shared), session));
    }
    sweeping.abort();
}

async fn serve(shared: Arc<Shared>, session: Session) {
    let _alive = shared.alive.clone();
    let (peer, key) = (session.peer(), session.peer_key());
    // The handshake may have begun before the key was removed.
    if !shared.keys.is_authorized(key).await {
        warn!(%peer, key = key.fingerprint(), "refused: the key is not authorised any more");
        session.close(NOT_AUTHORIZED, "the key is not authorised any more").await;
        return;
    }
    debug!(%peer, key = key.fingerprint(), software = session.peer_software(), "established");
    loop {
        match session.accept_stream().await {
            Ok((send, recv)) => {
                tokio::spawn(answer(Arc::clone(&shared), session.clone(), send, recv));
            }
            Err(reason) => {
                debug!(peer = %session.peer(), %reason, "ended");
                return;
            }
        }
    }
}

/// Reads a stream's request and serves it.
async fn answer(shared: Arc<Shared>, session: Session, mut send: SendStream, mut recv: RecvStream) {
    let _alive = shared.alive.clone();
    match recv.receive().await {
        Ok(Some(Request::Exec(request))) => {
            exec::serve(shared, session, request, send, recv).await;
        }
        Ok(Some(Request::Job(request))) => {
            jobs::serve(shared, session, request, send, recv).await;
        }
        Ok(Some(Request::Push(request))) => {
            files::serve_push(shared, session, request, send, recv).await;
        }
        Ok(Some(Request::Pull(request))) => {
            files::serve_pull(session, request, send, recv).await;
        }
        Ok(Some(Request::Status(request))) => status::serve(&shared, request, send).await,
        Ok(Some(Request::Ping(request))) => status::pong(request, send, recv).await,
        Ok(Some(Request::Measure(request))) => status::measure(request, send, recv).await,
        Ok(Some(_)) | Err(SessionError::Malformed(_)) => refuse(&mut send, unknown()).await,
        Ok(None) => {}
        Err(reason) => debug!(peer = %session.peer(), %reason, "a request did not arrive"),
    }
}

/// Answers with a failure and nothing else.
async fn refuse(send: &mut SendStream, failure: Failure) {
    // Where it cannot be sent, nobody waits for it.
    let _ = send.send_last(&Answer::<()>::Failed(failure)).await;
}

fn unknown() -> Failure {
    failure(
        FailureCode::Unsupported,
        format!(
            "bmstools-agent {} does not know this request: is it older than bmstools?",
            env!("CARGO_PKG_VERSION")
        ),
    )
}

fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into() }
}

/// The code of a close that says so (docs/protocol-v2.md).
const NOT_AUTHORIZED: u32 = 5;
