//! A large file on its stream.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::files::{FileEnd, Have, Keep, Large, ToReceiver};
use bmstools_session::{RecvStream, SendStream, SessionError};
use bytes::Bytes;
use rustix::fs::Stat;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::read::{Compared, compare, read_large};
use super::window::Heard;
use super::{DATA_PRIORITY, Shared};
use crate::digest::Digest;
use crate::failure::{TransferError, violation};
use crate::meta;
use crate::wire::one;

/// A large file that is open.
pub(crate) struct LargeFile {
    pub(crate) entry: u64,
    pub(crate) name: Vec<u8>,
    /// For people.
    pub(crate) path: Vec<u8>,
    pub(crate) file: OwnedFd,
    pub(crate) stat: Stat,
}

impl LargeFile {
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// Whether it may have holes.
    pub(crate) fn is_sparse(&self) -> bool {
        super::space_of(&self.stat) < self.size()
    }

    pub(crate) fn message(&self, stream: u32) -> Large {
        let (name, meta, size) = (self.name.clone(), meta::of(&self.stat), self.size());
        Large { name, meta, size, stream }
    }
}

/// A large file on its way.
pub(crate) struct Outgoing {
    pub(crate) shared: Arc<Shared>,
    pub(crate) out: mpsc::Sender<Bytes>,
    pub(crate) file: LargeFile,
    pub(crate) stream: SendStream,
    /// Nothing comes by it. Kept, so that nothing need be said about it.
    pub(crate) _back: RecvStream,
    pub(crate) heard: mpsc::Receiver<Heard>,
}

/// Why a file is not sent.
enum Ended {
    /// The source is to blame: the receiver is to be told.
    Source(Failure),
    /// The receiver does not want it, and has said so.
    Unwanted,
    All(TransferError),
}

impl<E: Into<TransferError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::All(error.into())
    }
}

impl Outgoing {
    /// Sends it; done when the receiver has it in place, or either side gave it up.
    ///
    /// # Errors
    ///
    /// Where the whole transfer cannot go on.
    pub(crate) async fn run(self) -> Result<(), TransferError> {
        self.stream.set_priority(DATA_PRIORITY);
        let (shared, entry, size) = (Arc::clone(&self.shared), self.file.entry, self.file.size());
        let out = self.out.clone();
        let result = self.send().await;
        shared.files.remove(entry);
        match result {
            Ok(()) => {
                shared.summary().bytes += size;
                Ok(())
            }
            Err(Ended::Unwanted) => Ok(()),
            Err(Ended::All(error)) => Err(error),
            Err(Ended::Source(failure)) => {
                let message = one(&shared.problem(Some(entry), failure))?;
                out.send(message).await.map_err(|_| SessionError::Truncated.into())
            }
        }
    }

    async fn send(mut self) -> Result<(), Ended> {
        let have = match self.heard.recv().await {
            Some(Heard::Have(have)) => have,
            Some(Heard::Failed) => return Err(Ended::Unwanted),
            _ => return Err(violation("a file done that was not begun").into()),
        };
        let entry = self.file.entry;
        let file = Arc::new(self.file);
        let compared = compared(Arc::clone(&file), &self.shared, &self.out, have).await?;
        let end = match compared.whole {
            Some(digest) => {
                self.shared.progress.add(file.size());
                FileEnd { entry, digest, sent: 0 }
            }
            None => {
                let (_running, stopped) = oneshot::channel();
                let data = Data {
                    shared: Arc::clone(&self.shared),
                    stream: self.stream,
                    heard: self.heard,
                };
                let sending = spawn_blocking(move || data.send(&file, &compared, stopped));
                let ((digest, sent), heard) = sending.await.map_err(crate::receive::thread)??;
                self.heard = heard;
                FileEnd { entry, digest, sent }
            }
        };
        let message = one(&ToReceiver::FileEnd(end))?;
        self.out.send(message).await.map_err(|_| SessionError::Truncated)?;
        match self.heard.recv().await {
            Some(Heard::Done) => Ok(()),
            heard => Err(unwanted(heard)),
        }
    }
}

/// The data of a file on its way, on a thread that the frame loop wakes itself: a block's
/// way from the disk leads by nobody else.
struct Data {
    shared: Arc<Shared>,
    stream: SendStream,
    heard: mpsc::Receiver<Heard>,
}

impl Data {
    /// Sends it until nobody waits for it any more; the file's digest and the bytes sent.
    /// Blocks.
    fn send(
        mut self,
        file: &LargeFile,
        compared: &Compared,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<((Digest, u64), mpsc::Receiver<Heard>), Ended> {
        let runtime = Handle::current();
        let pool = Arc::clone(&self.shared.pool);
        let mut ended = None;
        let read = read_large(file, compared, &pool, &mut |offset, piece| {
            ended = runtime.block_on(async {
                tokio::select! {
                    sent = self.piece(offset, piece) => sent.err(),
                    _ = &mut stopped => Some(SessionError::Closed.into()),
                }
            });
            ended.is_none()
        });
        if let Some(ended) = ended {
            return Err(ended);
        }
        let (digest, sent) = read.map_err(Ended::Source)?;
        if sent > 0 {
            self.stream.finish();
        }
        Ok(((digest, sent), self.heard))
    }

    async fn piece(&mut self, offset: u64, piece: Bytes) -> Result<(), Ended> {
        let len = piece.len() as u64;
        tokio::select! {
            written = self.stream.write_at(offset, piece) => match written {
                Ok(()) => {}
                // The word why is on its way.
                Err(SessionError::Stopped(_)) => return Err(unwanted(self.heard.recv().await)),
                Err(error) => return Err(error.into()),
            },
            heard = self.heard.recv() => return Err(unwanted(heard)),
        }
        self.shared.progress.add(len);
        self.shared.summary().sent += len;
        Ok(())
    }
}

/// Compares what the receiver has with the file, and tells it what to keep.
async fn compared(
    file: Arc<LargeFile>,
    shared: &Shared,
    out: &mpsc::Sender<Bytes>,
    have: Have,
) -> Result<Arc<Compared>, Ended> {
    let answer = have.whole.is_some() || !have.blocks.is_empty();
    let (entry, size) = (file.entry, file.size());
    let compared = spawn_blocking(move || compare(&file, &have))
        .await
        .map_err(crate::receive::thread)?
        .map_err(Ended::Source)?;
    if answer {
        let whole = compared.whole.is_some();
        shared.progress.add(compared.kept(size));
        let keep = Keep { entry, whole, blocks: compared.keep.0.clone() };
        let message = one(&ToReceiver::Keep(keep))?;
        out.send(message).await.map_err(|_| SessionError::Truncated)?;
    }
    Ok(Arc::new(compared))
}

fn unwanted(heard: Option<Heard>) -> Ended {
    match heard {
        Some(Heard::Failed) => Ended::Unwanted,
        Some(_) => violation("a word about a file out of place").into(),
        None => SessionError::Truncated.into(),
    }
}
