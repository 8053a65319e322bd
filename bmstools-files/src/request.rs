//! Pushes and pulls from both sides.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bmstools_proto::v2::message::files::{Accepted, Pull, Push, PutOptions, ToReceiver, ToSender};
use bmstools_proto::v2::message::{Failure, FailureCode, Request};
use bmstools_session::{RecvStream, SendStream, Session, SessionError};
use tokio::task::spawn_blocking;

use crate::failure::{TransferError, failure, violation};
use crate::name::{self, Shown};
use crate::progress::Progress;
use crate::receive::{Receiver, receive, refuse, thread};
use crate::send::{Source, send, tell};
use crate::summary::Summary;

/// Sends `source` to `destination`, an absolute path at the agent.
///
/// # Errors
///
/// Where it did not arrive.
pub async fn push(
    session: &Session,
    source: Source,
    destination: Vec<u8>,
    options: PutOptions,
    progress: Arc<Progress>,
) -> Result<Summary, TransferError> {
    let offer = source.offer().clone();
    progress.begin(offer.bytes, offer.entries);
    let (mut control, mut answers) = session.open_stream().await?;
    control.send(&Request::Push(Push { destination, offer, options })).await?;
    let accepted = accepted(&mut answers).await?;
    let mut summary = send(session, control, answers, source, accepted.check, progress).await?;
    summary.path = accepted.path;
    Ok(summary)
}

/// Answers a push.
///
/// # Errors
///
/// Where it did not arrive; the operator has been told.
pub async fn serve_push(
    session: &Session,
    mut control: SendStream,
    data: RecvStream,
    request: Push,
    receiver: Receiver,
) -> Result<Summary, TransferError> {
    let Push { destination, offer, options } = request;
    if let Err(failure) = check_absolute(&destination) {
        refuse(&mut control, &failure).await;
        return Err(failure.into());
    }
    receive(session, control, data, destination, offer, options, receiver).await
}

/// Fetches what is at an absolute path of the agent to `destination`.
///
/// # Errors
///
/// Where it did not arrive.
pub async fn pull(
    session: &Session,
    request: Pull,
    destination: &Path,
    options: PutOptions,
    receiver: Receiver,
) -> Result<Summary, TransferError> {
    let name = name::last(&request.source).to_vec();
    let recursive = request.recursive;
    let (mut control, mut data) = session.open_stream().await?;
    control.send(&Request::Pull(request)).await?;
    let mut offer = match data.receive().await? {
        Some(ToReceiver::Offer(offer)) => offer,
        Some(ToReceiver::Refused(failure)) => return Err(failure.into()),
        Some(_) => return Err(violation("no offer").into()),
        None => return Err(SessionError::Truncated.into()),
    };
    // The agent does not choose what is written here.
    offer.name = name;
    if offer.directory && !recursive {
        return Err(violation("a directory that was not asked for").into());
    }
    let destination = destination.as_os_str().as_bytes().to_vec();
    receive(session, control, data, destination, offer, options, receiver).await
}

/// Answers a pull.
///
/// # Errors
///
/// Where it did not arrive; the operator has been told.
pub async fn serve_pull(
    session: &Session,
    mut control: SendStream,
    mut answers: RecvStream,
    request: Pull,
) -> Result<Summary, TransferError> {
    let Pull { source: path, recursive } = request;
    let source = spawn_blocking(move || {
        check_absolute(&path)?;
        Source::open(&PathBuf::from(OsStr::from_bytes(&path)), recursive)
    });
    let source = match source.await.map_err(thread)? {
        Ok(source) => source,
        Err(failure) => {
            tell(&mut control, &failure).await;
            return Err(failure.into());
        }
    };
    control.send(&ToReceiver::Offer(source.offer().clone())).await?;
    let accepted = accepted(&mut answers).await?;
    send(session, control, answers, source, accepted.check, Arc::default()).await
}

async fn accepted(answers: &mut RecvStream) -> Result<Accepted, TransferError> {
    match answers.receive().await? {
        Some(ToSender::Accepted(accepted)) => Ok(accepted),
        Some(ToSender::Refused(failure)) => Err(failure.into()),
        Some(_) => Err(violation("no answer").into()),
        None => Err(SessionError::Truncated.into()),
    }
}

fn check_absolute(path: &[u8]) -> Result<(), Failure> {
    if path.starts_with(b"/") && !path.contains(&0) {
        return Ok(());
    }
    let message = format!("`{}` is not an absolute path", Shown(path));
    Err(failure(FailureCode::Invalid, message))
}
