//! Waiting for work that a signal or a time limit may cut short.

use std::future::{Future, pending};
use std::time::Duration;

use bmstools_proto::operator::Request;
use bmstools_proto::response::Code;
use tokio::time::sleep;
use tracing::debug;

use crate::session::Session;
use crate::signals::{Signal, Signals};

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// The work is done.
    Done(T),
    /// A signal came first.
    Signal(Signal),
    /// The limit passed first.
    TimedOut,
}

/// Waits for `work`, no longer than `limit` and until a signal comes.
pub(crate) async fn wait<T>(
    work: impl Future<Output = T>,
    limit: Option<Duration>,
    signals: &mut Signals,
) -> Outcome<T> {
    let limit = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        done = work => Outcome::Done(done),
        signal = signals.next() => Outcome::Signal(signal),
        () = limit => Outcome::TimedOut,
    }
}

/// Ends a session early: the agent kills its command. Waits a moment for the
/// confirmation; another signal ends that too.
pub(crate) async fn end(mut session: Session, signals: &mut Signals) {
    if session.is_opened() {
        let _ = wait(session.end(), Some(GRACE), signals).await;
    }
}

/// Ends a session whose file is not complete, such that the agent drops the file.
///
/// In v1 an end says that the file is complete. So the agent is told first to begin
/// another file, at a path that it must refuse. Where it does not, the session is
/// left to time out there, which drops the file too.
pub(crate) async fn abandon_file(mut session: Session, signals: &mut Signals) {
    let told = async {
        if session.is_awaiting() {
            session.response().await?;
        }
        session.submit(Request::File(Vec::new()))?;
        let refused = session.response().await?.code == Code::ParameterError;
        if refused {
            session.end().await?;
        }
        anyhow::Ok(refused)
    };
    let outcome = wait(told, Some(GRACE), signals).await;
    debug!(?outcome, "file abandoned");
}

/// How long an agent may take to confirm an early end.
const GRACE: Duration = Duration::from_secs(2);
