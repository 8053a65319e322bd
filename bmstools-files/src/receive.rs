//! The receiving side of a transfer.

mod context;
mod folder;
mod growing;
mod large;
mod partial;
pub(crate) mod place;
mod room;
mod small;
pub(crate) mod sweep;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use bmstools_proto::v2::message::files::{
    Accepted, Finished, Large, MAX_LARGE, Offer, PutOptions, ToReceiver, ToSender,
};
use bmstools_proto::v2::message::{Failure, FailureCode};
use bmstools_session::{RecvStream, SendStream, Session, SessionError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::debug;

use self::context::Context;
use self::large::{Files, Incoming, Told};
use self::place::Place;
use self::tree::{Job, Tree};
use crate::failure::{TransferError, failure, violation};
use crate::journal::Journal;
use crate::meta::Policy;
use crate::progress::Progress;
use crate::summary::Summary;
use crate::wire::Batch;

/// Who receives.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where unfinished files are noted, so that none stays for good.
    pub journal: Option<Journal>,
    /// The sender's name for itself, a key's fingerprint: its newer transfers of a file
    /// end its older ones.
    pub who: Arc<[u8]>,
    /// Counts what arrives.
    pub progress: Arc<Progress>,
}

/// Receives what is offered; the sender has sent nothing else yet.
///
/// # Errors
///
/// Where it did not arrive.
pub(crate) async fn receive(
    session: &Session,
    mut send: SendStream,
    recv: RecvStream,
    destination: Vec<u8>,
    offer: Offer,
    options: PutOptions,
    receiver: Receiver,
) -> Result<Summary, TransferError> {
    receiver.progress.begin(offer.bytes, offer.entries);
    let ready = {
        let options = options.clone();
        spawn_blocking(move || prepare(&destination, &offer, &options)).await.map_err(thread)?
    };
    let (place, policy) = match ready {
        Ok(ready) => ready,
        Err(failure) => {
            refuse(&mut send, &failure).await;
            return Err(failure.into());
        }
    };
    let accepted = Accepted { path: place.path.clone(), check: place.exists };
    send.send(&ToSender::Accepted(accepted)).await?;

    let (replies, outbox) = mpsc::channel(MAX_REPLIES);
    let writer = tokio::spawn(write_replies(send, outbox));
    let ctx = Arc::new(Context::new(receiver, policy, &options, &place, replies));
    let (jobs, queue) = mpsc::channel(MAX_JOBS);
    let tree = {
        let ctx = Arc::clone(&ctx);
        spawn_blocking(move || Tree::new(ctx, place).run(queue))
    };
    let mut taking = Taking {
        session,
        ctx: Arc::clone(&ctx),
        recv,
        jobs,
        entries: 0,
        files: Files::default(),
        incoming: JoinSet::new(),
    };
    let taken = taking.run().await;
    if let Err(TransferError::Failed(_)) = taken {
        ctx.discard();
    }
    taking.incoming.shutdown().await;
    // The context must not outlive this: it holds the way to the sender open.
    let _recv = taking.into_recv();
    if matches!(taken, Err(TransferError::Session(_) | TransferError::TakenOver)) {
        // Nobody reads what is written: the tree's thread may wait for that.
        writer.abort();
    }
    tree.await.map_err(thread)?;
    let result = match taken {
        Ok(()) => finish(&ctx).await,
        Err(error) => Err(error),
    };
    let last = match &result {
        Ok((finished, _)) => Some(ToSender::Finished(finished.clone())),
        Err(TransferError::Failed(failure)) => Some(ToSender::Refused(failure.clone())),
        Err(_) => None,
    };
    if let Some(last) = last {
        let _ = timeout(FAREWELL, ctx.replies.send(last)).await;
        drop(ctx);
        if timeout(FAREWELL, writer).await.is_err() {
            debug!("the last word to the sender was not acknowledged");
        }
    }
    result.map(|(_, summary)| summary)
}

/// Says that nothing is taken, and why.
pub(crate) async fn refuse(send: &mut SendStream, failure: &Failure) {
    // Where it cannot be sent, nobody waits for it.
    if send.send_last(&ToSender::Refused(failure.clone())).await.is_ok() {
        let _ = timeout(FAREWELL, send.acknowledged()).await;
    }
}

fn prepare(
    destination: &[u8],
    offer: &Offer,
    options: &PutOptions,
) -> Result<(Place, Policy), Failure> {
    let policy = Policy::new(options)?;
    let place = place::resolve(destination, offer, options)?;
    room::check(&place, offer)?;
    Ok((place, policy))
}

/// Makes everything safe and sums up.
async fn finish(ctx: &Arc<Context>) -> Result<(Finished, Summary), TransferError> {
    if let Some(reason) = ctx.stop.reason() {
        ctx.discard();
        return Err(reason);
    }
    if !ctx.single {
        let ctx = Arc::clone(ctx);
        spawn_blocking(move || ctx.sync()).await.map_err(thread)??;
    }
    let summary = ctx.summary().clone();
    let failures = ctx.late();
    Ok((Finished { entries: summary.entries, resumed: summary.resumed, failures }, summary))
}

/// What the request's stream brings.
struct Taking<'a> {
    session: &'a Session,
    ctx: Arc<Context>,
    recv: RecvStream,
    jobs: mpsc::Sender<Job>,
    /// How many have come.
    entries: u64,
    files: Files,
    incoming: JoinSet<Result<(), TransferError>>,
}

impl Taking<'_> {
    /// Ends everything else.
    fn into_recv(self) -> RecvStream {
        self.recv
    }

    /// Takes messages up to the end.
    async fn run(&mut self) -> Result<(), TransferError> {
        let stop = Arc::clone(&self.ctx.stop);
        loop {
            tokio::select! {
                biased;
                reason = stop.wait() => return Err(reason),
                Some(done) = self.incoming.join_next(), if !self.incoming.is_empty() => {
                    done.map_err(thread)??;
                }
                message = self.recv.receive() => match message? {
                    None => return Err(SessionError::Truncated.into()),
                    Some(ToReceiver::End) => break,
                    Some(message) => {
                        let job = self.sort(message)?;
                        // The thread ends early only after it has said why.
                        if let Some(job) = job && self.jobs.send(job).await.is_err() {
                            return Err(stop.wait().await);
                        }
                    }
                },
            }
        }
        if self.files.count() > 0 {
            return Err(violation("an end in the middle of a file").into());
        }
        // They have said their last word, and are about to end.
        while let Some(done) = self.incoming.join_next().await {
            done.map_err(thread)??;
        }
        if let Some(reason) = stop.reason() {
            return Err(reason);
        }
        let _ = self.jobs.send(Job::End).await;
        Ok(())
    }

    fn sort(&mut self, message: ToReceiver) -> Result<Option<Job>, TransferError> {
        Ok(Some(match message {
            ToReceiver::Dir(dir) => Job::Dir(self.next(), dir),
            ToReceiver::Leave => Job::Leave,
            ToReceiver::Symlink(link) => Job::Symlink(self.next(), link),
            ToReceiver::Small(file) => Job::Small(self.next(), file),
            ToReceiver::Check(file) => Job::Check(self.next(), file),
            ToReceiver::Data(data) => Job::Data(data),
            ToReceiver::Large(file) => self.large(file)?,
            ToReceiver::Keep(keep) => return self.tell(keep.entry, Told::Keep(keep)),
            ToReceiver::FileEnd(end) => return self.tell(end.entry, Told::End(end)),
            ToReceiver::Problem(problem) => {
                if let Some(entry) = problem.entry {
                    return self.tell(entry, Told::Problem(problem.failure));
                }
                self.ctx.summary().fail(problem.failure);
                return Ok(None);
            }
            ToReceiver::Skipped(skipped) => {
                self.ctx.summary().skip(skipped.path, &skipped.kind);
                return Ok(None);
            }
            ToReceiver::Refused(failure) => return Err(failure.into()),
            _ => return Err(violation("a message out of place").into()),
        }))
    }

    fn next(&mut self) -> u64 {
        let entry = self.entries;
        self.entries += 1;
        entry
    }

    fn large(&mut self, mut large: Large) -> Result<Job, TransferError> {
        if self.files.count() >= MAX_LARGE {
            return Err(violation("too many large files at once").into());
        }
        let entry = self.next();
        let (name, meta) = (std::mem::take(&mut large.name), large.meta);
        let told = self.files.add(entry);
        let (locate, spot) = oneshot::channel();
        let incoming = Incoming {
            ctx: Arc::clone(&self.ctx),
            session: self.session.clone(),
            entry,
            large,
            spot,
            told,
            files: self.files.clone(),
        };
        self.incoming.spawn(incoming.run());
        Ok(Job::Locate(entry, name, meta, locate))
    }

    fn tell(&mut self, entry: u64, told: Told) -> Result<Option<Job>, TransferError> {
        if entry >= self.entries {
            return Err(violation("a word about a file that has not come").into());
        }
        self.files.tell(entry, told)?;
        Ok(None)
    }
}

/// Writes replies until nobody has any more, several at a time.
async fn write_replies(mut send: SendStream, mut outbox: mpsc::Receiver<ToSender>) {
    let mut messages = Vec::new();
    while outbox.recv_many(&mut messages, MAX_REPLIES).await > 0 {
        let mut batch = Batch::default();
        for message in merged(messages.drain(..)) {
            // None is too long.
            let _ = batch.push(&message);
        }
        if send.write(batch.take()).await.is_err() {
            return;
        }
    }
    send.finish();
    let _ = send.acknowledged().await;
}

/// Messages with neighbouring `Done` in one.
fn merged(messages: impl Iterator<Item = ToSender>) -> Vec<ToSender> {
    let mut merged: Vec<ToSender> = Vec::new();
    for message in messages {
        match (merged.last_mut(), message) {
            (Some(ToSender::Done(last)), ToSender::Done(next))
                if last.first + last.count == next.first =>
            {
                last.count += next.count;
            }
            (_, message) => merged.push(message),
        }
    }
    merged
}

/// The failure for a thread that ended in a panic.
pub(crate) fn thread(error: tokio::task::JoinError) -> TransferError {
    failure(FailureCode::Other, format!("a thread of the transfer: {error}")).into()
}

/// Entries between the stream and the disk at most: 4 MiB where all are as large as
/// they may be.
const MAX_JOBS: usize = 64;
const MAX_REPLIES: usize = 256;
/// How long the last message may take to arrive.
const FAREWELL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use bmstools_proto::v2::message::files::Done;

    use super::*;

    #[test]
    fn neighbouring_entries_are_told_of_in_one_message() {
        let done = |first, count| ToSender::Done(Done { first, count });
        let messages = [done(0, 1), done(1, 1), ToSender::Want(2), done(3, 1), done(5, 2)];
        let expected = [done(0, 2), ToSender::Want(2), done(3, 1), done(5, 2)];
        assert_eq!(merged(messages.into_iter()), expected);
    }
}
