//! One question and its answer on a stream of its own.

use anyhow::{Result, anyhow};
use bmstools_proto::v2::message::{Answer, Failure, Request};
use bmstools_session::{RecvStream, SendStream, Session};
use minicbor::Decode;

/// Opens a stream and asks on it.
///
/// # Errors
///
/// Where the session ends.
pub(super) async fn ask(session: &Session, request: &Request) -> Result<(SendStream, RecvStream)> {
    let (mut send, recv) = session.open_stream().await?;
    send.send(request).await?;
    Ok((send, recv))
}

/// The next answer on a stream.
///
/// # Errors
///
/// Where the session ends, or the agent refuses.
pub(super) async fn answer<T: for<'b> Decode<'b, ()>>(recv: &mut RecvStream) -> Result<T> {
    match recv.receive().await? {
        Some(Answer::Done(answer)) => Ok(answer),
        Some(Answer::Failed(failure)) => Err(refused(&failure)),
        None => Err(anyhow!("the agent gave no answer")),
    }
}

/// The agent's refusal, in its own words.
pub(super) fn refused(failure: &Failure) -> anyhow::Error {
    anyhow!("the agent refused: {}", failure.message)
}
