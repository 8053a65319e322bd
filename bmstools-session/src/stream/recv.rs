//! The peer's direction of a stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::StreamCore;
use super::core::End;
use crate::command::StreamCommand;
use crate::error::SessionError;
use crate::message::Partial;
use crate::session::Alive;

/// The peer's direction of a stream. Dropped before its end, the peer is told to stop
/// (code 0).
pub struct RecvStream {
    pub(crate) half: RecvHalf,
    /// A message whose end has not come.
    pub(crate) partial: Partial,
    /// What came behind the last message, not consumed.
    pub(crate) rest: Bytes,
    /// Bytes that [`read_placed`](Self::read_placed) gave and that are not consumed.
    unconsumed: AtomicU64,
    _session: Arc<Alive>,
}

/// The peer's direction, whoever has it.
pub(crate) struct RecvHalf {
    core: Arc<StreamCore>,
    /// Its end has been seen.
    is_over: bool,
    is_stopped: bool,
}

impl RecvHalf {
    pub(crate) fn new(core: Arc<StreamCore>) -> Self {
        Self { core, is_over: false, is_stopped: false }
    }

    fn stop(&mut self, code: u32) {
        if !self.is_stopped && !self.is_over {
            self.core.command(StreamCommand::Stop(code));
        }
        self.is_stopped = true;
    }

    async fn chunk(&mut self) -> Result<Option<(u64, Bytes)>, SessionError> {
        if self.is_stopped {
            return Err(SessionError::Closed);
        }
        match poll_fn(|cx| self.core.poll_chunk(cx)).await {
            Ok(chunk) => Ok(Some(chunk)),
            Err(end) => {
                self.is_over = true;
                match end {
                    End::Clean => Ok(None),
                    End::Failed(error) => Err(error),
                }
            }
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        self.stop(0);
        self.core.command(StreamCommand::RecvDropped);
    }
}

impl RecvStream {
    pub(crate) fn new(half: RecvHalf, session: Arc<Alive>) -> Self {
        Self {
            half,
            partial: Partial::default(),
            rest: Bytes::new(),
            unconsumed: AtomicU64::new(0),
            _session: session,
        }
    }

    /// The stream's number, as the peer knows it too.
    pub fn id(&self) -> u32 {
        self.half.core.id()
    }

    /// The next bytes of an ordered stream; `None` at its end. What is returned counts
    /// as consumed. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Where the peer reset the stream, the session ended before the stream did, or
    /// this side stopped it. What came before is given first.
    pub async fn read(&mut self) -> Result<Option<Bytes>, SessionError> {
        if !self.partial.is_empty() {
            return Ok(Some(self.partial.take()));
        }
        if !self.fill().await? {
            return Ok(None);
        }
        let all = self.rest.len();
        Ok(Some(self.advance(all)))
    }

    /// The next block of a placed stream with its position; `None` when everything has
    /// come. *Not* consumed until [`consumed`](Self::consumed) says so, so that a slow
    /// disk holds the sender back. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_placed(&mut self) -> Result<Option<(u64, Bytes)>, SessionError> {
        let block = self.half.chunk().await?;
        if let Some((_, data)) = &block {
            self.unconsumed.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Ok(block)
    }

    /// So many bytes of what [`read_placed`](Self::read_placed) gave are done with: the
    /// peer may send as many more.
    pub fn consumed(&self, bytes: u64) {
        let mut credited = 0;
        let _ = self.unconsumed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            credited = bytes.min(left);
            Some(left - credited)
        });
        self.half.core.credit(credited);
    }

    /// Tells the peer to send no more, with a reason in the application's terms.
    pub fn stop(&mut self, code: u32) {
        self.half.stop(code);
        self.rest = Bytes::new();
        self.partial = Partial::default();
    }

    /// Waits for bytes in `rest`, where there are none; false at the stream's end.
    pub(crate) async fn fill(&mut self) -> Result<bool, SessionError> {
        if !self.rest.is_empty() {
            return Ok(true);
        }
        let chunk = self.half.chunk().await?;
        self.rest = chunk.map(|(_, data)| data).unwrap_or_default();
        Ok(!self.rest.is_empty())
    }

    /// Takes `bytes` off the front of `rest`: they are consumed.
    pub(crate) fn advance(&mut self, bytes: usize) -> Bytes {
        let data = self.rest.split_to(bytes.min(self.rest.len()));
        self.half.core.credit(data.len() as u64);
        data
    }
}
