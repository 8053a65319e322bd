//! The sending side of a transfer.

mod large;
mod read;
mod source;
mod tree;
mod walk;
mod window;

use std::sync::Arc;
use std::time::Duration;

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::files::{
    Done, Failed, Finished, Have, Problem, ToReceiver, ToSender,
};
use bmstools_session::{RecvStream, SendStream, Session, SessionError};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use self::large::Outgoing;
use self::tree::Item;
use self::window::{Files, Heard, Window};
use crate::failure::{TransferError, violation};
use crate::pool::Pool;
use crate::progress::Progress;
use crate::summary::Summary;
use crate::wire::one;

pub use self::source::Source;
pub(crate) use self::source::{space_of, space_of_tree};

/// What all parts of a transfer that goes out share.
pub(crate) struct Shared {
    progress: Arc<Progress>,
    window: Window,
    files: Files,
    pool: Arc<Pool>,
    summary: std::sync::Mutex<Summary>,
}

impl Shared {
    fn summary(&self) -> std::sync::MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Sends the source to a receiver that has accepted it and, where `check` says so, may
/// have some of it.
///
/// # Errors
///
/// Where it did not arrive.
pub(crate) async fn send(
    session: &Session,
    mut control: SendStream,
    mut answers: RecvStream,
    source: Source,
    check: bool,
    progress: Arc<Progress>,
) -> Result<Summary, TransferError> {
    let shared = Arc::new(Shared {
        progress,
        window: Window::default(),
        files: Files::default(),
        pool: Arc::default(),
        summary: std::sync::Mutex::default(),
    });
    let (out, queue) = mpsc::channel(MAX_QUEUED);
    let (wanted, urgent) = mpsc::unbounded_channel();
    let (items, found) = mpsc::channel(MAX_ITEMS);
    let _closing = Closing(Arc::clone(&shared));
    {
        let shared = Arc::clone(&shared);
        spawn_blocking(move || tree::read(&source, check, &shared, &items));
    }
    control.set_priority(CONTROL_PRIORITY);
    let mut listening = Box::pin(listen(&mut answers, &shared, wanted));
    let worked = {
        let writing = write(&mut control, queue, urgent);
        let forwarding = forward(session, &shared, found, out);
        tokio::select! {
            biased;
            heard = &mut listening => return summed_up(&shared, heard?),
            worked = async { tokio::try_join!(writing, forwarding) } => worked,
        }
    };
    match worked {
        Ok(_) => summed_up(&shared, listening.await?),
        Err(TransferError::Failed(failure)) => {
            tell(&mut control, &failure).await;
            Err(failure.into())
        }
        // The receiver may have said why it does not want any more.
        Err(error) => match timeout(GRACE, listening).await {
            Ok(Err(said @ TransferError::Failed(_))) => Err(said),
            _ => Err(error),
        },
    }
}

/// Says that nothing more will be sent, and why.
pub(crate) async fn tell(control: &mut SendStream, failure: &Failure) {
    // Where it cannot be sent, nobody waits for it.
    if control.send(&ToReceiver::Refused(failure.clone())).await.is_ok() {
        control.finish();
        let _ = timeout(GRACE, control.acknowledged()).await;
    }
}

fn summed_up(shared: &Shared, finished: Finished) -> Result<Summary, TransferError> {
    let mut summary = shared.summary().clone();
    summary.entries = finished.entries;
    summary.resumed = finished.resumed;
    for failure in finished.failures {
        summary.fail(failure);
    }
    Ok(summary)
}

/// Wakes the threads of a transfer that is over.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.window.close();
    }
}

/// Writes what is queued, what was asked for first; up to the empty piece, the end.
async fn write(
    control: &mut SendStream,
    mut queue: mpsc::Receiver<Bytes>,
    mut urgent: mpsc::UnboundedReceiver<Bytes>,
) -> Result<(), TransferError> {
    loop {
        let piece = tokio::select! {
            biased;
            Some(piece) = urgent.recv() => piece,
            piece = queue.recv() => match piece {
                Some(piece) => piece,
                None => break,
            },
        };
        control.write(piece).await?;
    }
    control.write(one(&ToReceiver::End)?).await?;
    control.finish();
    Ok(())
}

/// Hands on what the reading thread finds, and starts a task for each large file.
async fn forward(
    session: &Session,
    shared: &Arc<Shared>,
    mut found: mpsc::Receiver<Item>,
    out: mpsc::Sender<Bytes>,
) -> Result<(), TransferError> {
    let mut tasks = JoinSet::new();
    let places = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    let gone = || TransferError::from(SessionError::Truncated);
    loop {
        let item = tokio::select! {
            Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                done.map_err(crate::receive::thread)??;
                continue;
            }
            item = found.recv() => item,
        };
        match item {
            None => break,
            Some(Item::Failed(error)) => return Err(error),
            Some(Item::Batch(batch)) => out.send(batch).await.map_err(|_| gone())?,
            Some(Item::Large(file)) => {
                let place = tokio::select! {
                    place = Arc::clone(&places).acquire_owned() => place.map_err(|_| gone())?,
                    failed = failed(&mut tasks) => return Err(failed),
                };
                let (stream, back) = session.open_stream().await?;
                let heard = shared.files.add(file.entry);
                let message = one(&ToReceiver::Large(file.message(stream.id())))?;
                out.send(message).await.map_err(|_| gone())?;
                let going = Outgoing {
                    shared: Arc::clone(shared),
                    out: out.clone(),
                    file,
                    stream,
                    _back: back,
                    heard,
                };
                tasks.spawn(async move {
                    let result = going.run().await;
                    drop(place);
                    result
                });
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(crate::receive::thread)??;
    }
    shared.window.drained().await;
    Ok(())
}

/// The first error of a task; never where all go well.
async fn failed(tasks: &mut JoinSet<Result<(), TransferError>>) -> TransferError {
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(error) => return crate::receive::thread(error),
        }
    }
    std::future::pending().await
}

/// Hears what the receiver says, up to its last word.
async fn listen(
    answers: &mut RecvStream,
    shared: &Shared,
    wanted: mpsc::UnboundedSender<Bytes>,
) -> Result<Finished, TransferError> {
    loop {
        match answers.receive().await? {
            None => return Err(SessionError::Truncated.into()),
            Some(ToSender::Finished(finished)) => return Ok(finished),
            Some(ToSender::Refused(failure)) => return Err(failure.into()),
            Some(ToSender::Done(Done { first, count })) => {
                if count > MAX_DONE {
                    return Err(violation("too many entries at once").into());
                }
                for entry in first..first.saturating_add(count) {
                    shared.done(entry);
                }
            }
            Some(ToSender::Want(entry)) => {
                let message = shared.wanted(entry)?;
                // Nobody takes it where the transfer is just ending.
                let _ = wanted.send(message);
            }
            Some(ToSender::Have(have)) => shared.has(have)?,
            Some(ToSender::Failed(Failed { entry, failure })) => shared.failed(entry, failure),
            Some(_) => return Err(violation("a message out of place").into()),
        }
    }
}

impl Shared {
    fn done(&self, entry: u64) {
        if let Some(data) = self.window.take(entry) {
            self.progress.add(data.len() as u64);
        } else {
            self.files.tell(entry, Heard::Done);
        }
    }

    fn wanted(&self, entry: u64) -> Result<Bytes, TransferError> {
        let data = self.window.take(entry).ok_or_else(|| violation("data of no file wanted"))?;
        self.progress.add(data.len() as u64);
        self.summary().sent += data.len() as u64;
        let data = bmstools_proto::v2::message::files::Data { entry, data };
        Ok(one(&ToReceiver::Data(data))?)
    }

    fn has(&self, have: Have) -> Result<(), TransferError> {
        let entry = have.entry;
        if self.files.tell(entry, Heard::Have(have)) {
            Ok(())
        } else {
            Err(violation("a part of no file").into())
        }
    }

    fn failed(&self, entry: u64, failure: Failure) {
        self.summary().fail(failure);
        if self.window.take(entry).is_none() {
            self.files.tell(entry, Heard::Failed);
        }
    }

    /// Something cannot be sent; what tells the receiver.
    fn problem(&self, entry: Option<u64>, failure: Failure) -> ToReceiver {
        self.summary().fail(failure.clone());
        ToReceiver::Problem(Problem { entry, failure })
    }
}

/// Before large files' data, so that small ones do not wait for it.
const CONTROL_PRIORITY: u8 = 120;
/// Behind commands: a transfer never delays one.
const DATA_PRIORITY: u8 = 64;
/// Large files at once: enough that waiting for one is not waiting for all.
const LARGE_AT_ONCE: usize = 4;
/// Batches between the threads at most.
const MAX_ITEMS: usize = 4;
const MAX_QUEUED: usize = 4;
/// More entries than can be under way.
const MAX_DONE: u64 = 1 << 12;
/// How long the receiver's word is waited for that stopped a stream.
const GRACE: Duration = Duration::from_secs(3);
