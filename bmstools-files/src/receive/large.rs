//! Files whose data comes on a stream of its own.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bmstools_proto::v2::message::files::{FileEnd, Have, Keep, Large, Meta, ToSender};
use bmstools_proto::v2::message::{Failure, FailureCode};
use bmstools_session::{RecvStream, SendStream, Session, SessionError};
use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fdatasync, fstat, ftruncate, seek};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, spawn_blocking};

use super::context::{Context, done};
use super::growing::Growing;
use super::partial::Partial;
use super::small::{Spot, digest_present, write_all_at};
use crate::digest::{self, Bits, Blocks, Digest, Zeros};
use crate::failure::{TransferError, failure, violation};

/// What the sender says about a file under way.
pub(crate) enum Told {
    Keep(Keep),
    End(FileEnd),
    Problem(Failure),
}

/// Large files under way, and how to reach their tasks.
#[derive(Clone, Default)]
pub(crate) struct Files(Arc<Mutex<BTreeMap<u64, mpsc::Sender<Told>>>>);

impl Files {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Adds one.
    pub(crate) fn add(&self, entry: u64) -> mpsc::Receiver<Told> {
        let (tell, told) = mpsc::channel(MAX_TOLD);
        self.lock().insert(entry, tell);
        told
    }

    /// Hands a word on to a file's task.
    ///
    /// # Errors
    ///
    /// Where there are more than make sense.
    pub(crate) fn tell(&self, entry: u64, told: Told) -> Result<(), Failure> {
        let is_last = matches!(told, Told::Problem(_));
        let mut files = self.lock();
        // Where the file has failed here meanwhile, nobody listens.
        if let Some(Err(TrySendError::Full(_))) = files.get(&entry).map(|file| file.try_send(told))
        {
            return Err(violation("too many words about a file"));
        }
        if is_last {
            files.remove(&entry);
        }
        Ok(())
    }

    fn remove(&self, entry: u64) {
        self.lock().remove(&entry);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Told>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A large file under way.
pub(crate) struct Incoming {
    pub(crate) ctx: Arc<Context>,
    pub(crate) session: Session,
    pub(crate) entry: u64,
    pub(crate) large: Large,
    pub(crate) spot: oneshot::Receiver<Spot>,
    pub(crate) told: mpsc::Receiver<Told>,
    pub(crate) files: Files,
}

/// Why a file does not arrive.
enum Ended {
    /// Here: the sender is to be told.
    Here(Failure),
    /// There: it is the sender that said so.
    There(Failure),
    /// Everything ends.
    All(TransferError),
    /// The thread of the tree has said it.
    Said,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

impl From<SessionError> for Ended {
    fn from(error: SessionError) -> Self {
        Self::All(error.into())
    }
}

impl Incoming {
    /// Receives it.
    ///
    /// # Errors
    ///
    /// Where the whole transfer cannot go on.
    pub(crate) async fn run(self) -> Result<(), TransferError> {
        let (ctx, files) = (Arc::clone(&self.ctx), self.files.clone());
        let (entry, size) = (self.entry, self.large.size);
        let received = self.receive().await;
        // The sender may announce another as soon as it is told about this.
        files.remove(entry);
        let reply = match received {
            Ok(resumed) => {
                ctx.arrived(size, resumed);
                Some(done(entry))
            }
            Err(Ended::Here(failure)) => ctx.failed(entry, failure),
            Err(Ended::There(failure)) => {
                ctx.failed(entry, failure);
                None
            }
            Err(Ended::All(error)) => return Err(error),
            Err(Ended::Said) => None,
        };
        if let Some(reply) = reply {
            let _ = ctx.replies.send(reply).await;
        }
        Ok(())
    }

    /// Bytes that were there before.
    async fn receive(mut self) -> Result<u64, Ended> {
        let Ok(spot) = (&mut self.spot).await else { return Err(Ended::Said) };
        let mut stream = Stream::claim(&self.session, self.large.stream).await?;
        let (size, meta) = (self.large.size, self.large.meta);
        let mut arriving = blocking(move || Arriving::prepare(spot, size, meta)).await?;
        let have = arriving.have(self.entry);
        let told_something = have.whole.is_some() || !have.blocks.is_empty();
        let _ = self.ctx.replies.send(ToSender::Have(have)).await;
        let mut resumed = 0;
        if told_something {
            let keep = self.keep(arriving.whole).await.map_err(|end| arriving.ended(end))?;
            if keep.whole {
                self.ctx.receiver.progress.add(size);
                blocking(move || arriving.keep_whole()).await?;
                return Ok(size);
            }
            (arriving, resumed) = blocking(move || arriving.clear(&Bits(keep.blocks))).await?;
            self.ctx.receiver.progress.add(resumed);
        }
        // On a thread that the frame loop wakes itself: a block's way to the disk leads
        // by nobody else.
        let (_running, stopped) = oneshot::channel::<()>();
        let writing = spawn_blocking(move || {
            let end = Handle::current().block_on(async {
                tokio::select! {
                    end = self.data(&mut arriving, &mut stream) => end,
                    // Nobody waits for it any more: it stays for the next attempt.
                    _ = stopped => Err(SessionError::Closed.into()),
                }
            });
            let end = end.map_err(|end| arriving.ended(end))?;
            arriving.finish(&end).map_err(Ended::from)
        });
        writing.await.map_err(|error| Ended::Here(thread_failed(&error)))??;
        Ok(resumed)
    }

    /// What may stay; where that is all of the file in place, it is confirmed.
    async fn keep(&mut self, whole: Option<Digest>) -> Result<Keep, Ended> {
        let keep = match self.told.recv().await {
            Some(Told::Keep(keep)) => keep,
            Some(Told::Problem(failure)) => return Err(Ended::There(failure)),
            _ => return Err(violation("no word about what to keep").into()),
        };
        if keep.whole {
            match self.told.recv().await {
                Some(Told::End(end)) if Some(end.digest) == whole && end.sent == 0 => {}
                Some(Told::Problem(failure)) => return Err(Ended::There(failure)),
                _ => return Err(violation("a file kept that is another").into()),
            }
        }
        Ok(keep)
    }

    /// Takes data until everything that was sent is written. Blocks while it writes.
    async fn data(&mut self, to: &mut Arriving, from: &mut Stream) -> Result<FileEnd, Ended> {
        let (mut written, mut end, mut dry) = (0_u64, None::<FileEnd>, false);
        loop {
            if let Some(end) = end.take_if(|end| end.sent == written) {
                return Ok(end);
            }
            if dry && end.is_some() {
                return Err(violation("less data than was announced").into());
            }
            tokio::select! {
                piece = from.next(), if !dry => match piece {
                    Ok(Some((offset, data))) => {
                        let len = to.write(offset, &data)?;
                        from.consumed(len);
                        written += len;
                        self.ctx.receiver.progress.add(len);
                        self.ctx.summary().sent += len;
                    }
                    Ok(None) => dry = true,
                    // The sender gave it up, and says why.
                    Err(SessionError::Reset(_)) => dry = true,
                    Err(error) => return Err(error.into()),
                },
                told = self.told.recv() => match told {
                    Some(Told::End(told)) if end.is_none() => end = Some(told),
                    Some(Told::Problem(failure)) => return Err(Ended::There(failure)),
                    _ => return Err(violation("a file that ends twice").into()),
                },
            }
        }
    }
}

/// What is there of a file, and what has come.
struct Arriving {
    spot: Spot,
    partial: Partial,
    size: u64,
    meta: Meta,
    blocks: Blocks,
    whole: Option<Digest>,
    /// Of blocks that are known.
    digests: Vec<Option<Digest>>,
    growing: Growing,
    replaces: bool,
}

impl Arriving {
    /// Opens and reads what is there. Blocks.
    fn prepare(spot: Spot, size: u64, meta: Meta) -> Result<Self, Failure> {
        let ctx = Arc::clone(spot.folder.ctx());
        if size > i64::MAX as u64 {
            return Err(violation("an impossible size"));
        }
        let replaces = spot.folder.check_replaceable(&spot.name)?;
        let whole = if replaces { digest_present(&spot, size, &meta) } else { None };
        if replaces && ctx.no_clobber && !(ctx.identical_is_done && whole.is_some()) {
            return Err(spot.folder.exists(&spot.name));
        }
        let partial = Partial::open(&spot.folder, &spot.name)?;
        let blocks = Blocks::of(size);
        let mut digests = vec![None; blocks.count()];
        let read = fit(partial.file(), size)
            .and_then(|()| read_blocks(partial.file(), blocks, &mut digests));
        match read {
            Ok(()) => {
                let growing = Growing::default();
                Ok(Self { spot, partial, size, meta, blocks, whole, digests, growing, replaces })
            }
            Err(error) => {
                partial.discard();
                Err(spot.failed("write", error))
            }
        }
    }

    fn have(&self, entry: u64) -> Have {
        let (mut bits, mut digests) = (Bits::default(), Vec::new());
        for (block, digest) in self.digests.iter().enumerate() {
            if let Some(digest) = digest {
                bits.set(block);
                digests.extend_from_slice(digest);
            }
        }
        Have { entry, whole: self.whole, blocks: bits.0, digests }
    }

    /// Clears all blocks but these; bytes that stay. Blocks.
    fn clear(mut self, keep: &Bits) -> Result<(Self, u64), Failure> {
        let mut kept = 0;
        for block in 0..self.digests.len() {
            if self.digests[block].is_none() {
                continue;
            }
            let (start, len) = self.blocks.range(block);
            if keep.get(block) {
                kept += len;
            } else {
                self.digests[block] = None;
                let cleared = clear(self.partial.file(), start, len);
                self.or_discard(cleared, "write")?;
            }
        }
        Ok((self, kept))
    }

    /// Leaves nothing of a file that was given up.
    fn ended(&mut self, reason: Ended) -> Ended {
        if !matches!(reason, Ended::All(_)) {
            self.partial.remove();
        }
        reason
    }

    /// Writes a piece, digests it where it is a block or continues one, and tells its
    /// length. Blocks.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<u64, Failure> {
        let len = data.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(violation("data beyond the file's end"));
        }
        write_all_at(self.partial.file().as_fd(), data, offset)
            .map_err(|error| self.spot.failed("write", error))?;
        let digest = self.growing.digest(self.blocks, offset, data);
        // Other blocks are read again at the end.
        for block in self.blocks.touched(offset, len) {
            if let Some(known) = self.digests.get_mut(block) {
                *known = digest;
            }
        }
        Ok(len)
    }

    /// Compares everything with what was sent, and puts the file in place. Blocks.
    fn finish(mut self, end: &FileEnd) -> Result<(), Failure> {
        let read = ftruncate(self.partial.file(), self.size).and_then(|()| self.digest());
        let digest = self.or_discard(read, "read")?;
        if digest != end.digest {
            let message = format!(
                "{} did not arrive as it was sent: its digest is another",
                crate::name::Shown(&self.spot.path())
            );
            self.partial.discard();
            return Err(failure(FailureCode::Corrupt, message));
        }
        let ctx = Arc::clone(self.spot.folder.ctx());
        let set = ctx.policy.set_file(self.partial.file().as_fd(), &self.meta);
        self.or_discard(set, "set owner, mode and time of")?;
        let mut put = Ok(());
        if ctx.single || self.replaces {
            put = fdatasync(self.partial.file());
        }
        let mut put = put.and_then(|()| self.partial.put_in_place(self.replaces));
        if put == Err(Errno::EXIST) && !ctx.no_clobber {
            // It appeared meanwhile.
            if let Err(failure) = self.spot.folder.check_replaceable(&self.spot.name) {
                self.partial.discard();
                return Err(failure);
            }
            put = fdatasync(self.partial.file()).and_then(|()| self.partial.put_in_place(true));
        }
        self.or_discard(put, "put in place")
    }

    /// The file in place gets the inode's values of the one that was sent. Blocks.
    fn keep_whole(self) -> Result<(), Failure> {
        let ctx = self.spot.folder.ctx();
        let set = match super::small::open_present(&self.spot, self.size) {
            Some(file) => ctx.policy.set_file(file.as_fd(), &self.meta),
            None => Err(Errno::NOENT),
        };
        let result = set.map_err(|error| self.spot.failed("set owner, mode and time of", error));
        self.partial.discard();
        result
    }

    /// The digest of all blocks, those of holes included.
    fn digest(&mut self) -> Result<Digest, Errno> {
        read_blocks(self.partial.file(), self.blocks, &mut self.digests)?;
        let mut zeros = Zeros::default();
        let mut all = Vec::with_capacity(self.digests.len());
        for (block, digest) in self.digests.iter().enumerate() {
            all.push(match digest {
                Some(digest) => *digest,
                None => zeros.of(self.blocks.range(block).1),
            });
        }
        Ok(digest::whole(self.size, &all))
    }

    /// What cannot be written will not be finished by another attempt either.
    fn or_discard<T>(&mut self, result: Result<T, Errno>, doing: &str) -> Result<T, Failure> {
        result.map_err(|error| {
            self.partial.remove();
            self.spot.failed(doing, error)
        })
    }
}

/// Gives what an earlier attempt left the length that it will have. A new file grows with
/// what is written instead: a file system that knows a file to be longer than what it has
/// of it may take larger pieces of memory than what is written, and clear all of them first.
fn fit(file: &OwnedFd, size: u64) -> Result<(), Errno> {
    if fstat(file)?.st_size == 0 { Ok(()) } else { ftruncate(file, size) }
}

/// Digests the blocks that hold data and are not known.
fn read_blocks(
    file: &OwnedFd,
    blocks: Blocks,
    digests: &mut [Option<Digest>],
) -> Result<(), Errno> {
    let mut buffer = Vec::new();
    let mut block = 0;
    while block < digests.len() {
        // The next block with data: holes may be long.
        let at = match seek(file, SeekFrom::Data(blocks.range(block).0)) {
            Ok(at) => at,
            Err(Errno::NXIO) => return Ok(()),
            Err(Errno::INVAL) => blocks.range(block).0,
            Err(error) => return Err(error),
        };
        block = block.max(blocks.at(at));
        let Some(digest) = digests.get_mut(block) else { return Ok(()) };
        if digest.is_none() {
            let (start, len) = blocks.range(block);
            *digest = Some(digest::read(file, start, len, &mut buffer)?);
        }
        block += 1;
    }
    Ok(())
}

/// Makes a hole.
fn clear(file: &OwnedFd, start: u64, len: u64) -> Result<(), Errno> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, punch, start, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; usize::try_from(len.min(ZEROS)).unwrap_or(0)];
            let mut done = 0;
            while done < len {
                let take = usize::try_from((len - done).min(ZEROS)).unwrap_or(0);
                write_all_at(file.as_fd(), &zeros[..take], start + done)?;
                done += take as u64;
            }
            Ok(())
        }
        result => result,
    }
}

/// Does what blocks where that is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Ended> {
    Ok(spawn_blocking(work).await.map_err(|error| thread_failed(&error))??)
}

fn thread_failed(error: &JoinError) -> Failure {
    failure(FailureCode::Other, format!("a thread of the transfer: {error}"))
}

/// The sender's stream, whether its first byte has come or not.
struct Stream {
    opening: Opening,
    recv: Option<RecvStream>,
}

type Opening =
    Pin<Box<dyn Future<Output = Result<(SendStream, RecvStream), SessionError>> + Send + Sync>>;

impl Stream {
    /// Claims it, so that nobody else is given it.
    async fn claim(session: &Session, id: u32) -> Result<Self, SessionError> {
        let session = session.clone();
        let opening = Box::pin(async move { session.take_stream(id).await });
        let mut stream = Self { opening, recv: None };
        // Once polled, it is claimed.
        tokio::select! {
            biased;
            opened = stream.open() => opened?,
            () = std::future::ready(()) => {}
        }
        Ok(stream)
    }

    async fn open(&mut self) -> Result<(), SessionError> {
        if self.recv.is_none() {
            let (mut send, recv) = self.opening.as_mut().await?;
            send.finish();
            self.recv = Some(recv);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<(u64, Bytes)>, SessionError> {
        self.open().await?;
        match &mut self.recv {
            Some(recv) => recv.read_placed().await,
            None => Ok(None),
        }
    }

    fn consumed(&self, bytes: u64) {
        if let Some(recv) = &self.recv {
            recv.consumed(bytes);
        }
    }
}

/// Words about a file that it has not come to yet: there are three in all.
const MAX_TOLD: usize = 4;
/// Zeros written at a time.
const ZEROS: u64 = 256 << 10;
