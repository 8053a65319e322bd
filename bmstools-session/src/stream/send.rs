//! Our direction of a stream.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;

use super::StreamCore;
use crate::command::StreamCommand;
use crate::error::SessionError;
use crate::session::Alive;

/// Our direction of a stream. Dropped unfinished, it is reset with code 0.
pub struct SendStream {
    half: SendHalf,
    /// Goes after the half: what the half's end has to say comes before the session's.
    _session: Arc<Alive>,
}

/// Our direction, whoever has it.
pub(crate) struct SendHalf {
    core: Arc<StreamCore>,
    is_finished: bool,
    is_reset: bool,
}

impl SendHalf {
    pub(crate) fn new(core: Arc<StreamCore>) -> Self {
        Self { core, is_finished: false, is_reset: false }
    }

    fn reset(&mut self, code: u32) {
        if !self.is_reset {
            self.is_reset = true;
            self.core.fail_sending(SessionError::Closed);
            self.core.command(StreamCommand::Reset(code));
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.is_finished {
            self.reset(0);
        }
        self.core.command(StreamCommand::SendDropped);
    }
}

impl SendStream {
    pub(crate) fn new(half: SendHalf, session: Arc<Alive>) -> Self {
        Self { half, _session: session }
    }

    /// The stream's number, as the peer knows it too.
    pub fn id(&self) -> u32 {
        self.half.core.id()
    }

    /// Higher goes first, equals take turns; 128 by default.
    pub fn set_priority(&self, priority: u8) {
        self.half.core.command(StreamCommand::Priority(priority));
    }

    /// Ready when there is room for `data`, not when it has arrived. Cancel-safe:
    /// either all of `data` is queued or nothing.
    ///
    /// # Errors
    ///
    /// Where the peer stopped the stream, the session ended, or this side finished or
    /// reset the stream before.
    pub async fn write(&mut self, data: Bytes) -> Result<(), SessionError> {
        self.room(data.len()).await?;
        self.half.core.command(StreamCommand::Write(data));
        Ok(())
    }

    /// The same for a placed stream: `data` belongs at `offset`. Where it is empty, it
    /// makes the stream a placed one all the same.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write). Where a position is written twice, or a stream is both
    /// placed and ordered, the stream is reset and later calls say so.
    pub async fn write_at(&mut self, offset: u64, data: Bytes) -> Result<(), SessionError> {
        self.room(data.len()).await?;
        self.half.core.command(StreamCommand::Place(offset, data));
        Ok(())
    }

    /// The same as [`write`](Self::write) and [`finish`](Self::finish), in as few frames.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn write_last(&mut self, data: Bytes) -> Result<(), SessionError> {
        self.room(data.len()).await?;
        self.half.is_finished = true;
        self.half.core.command(StreamCommand::Last(data));
        Ok(())
    }

    /// Ends the direction; what was written still arrives, as long as the session
    /// lives.
    pub fn finish(&mut self) {
        if !self.half.is_finished && !self.half.is_reset {
            self.half.is_finished = true;
            self.half.core.command(StreamCommand::Finish);
        }
    }

    /// Ready when everything up to the end that [`finish`](Self::finish) made was
    /// acknowledged.
    ///
    /// # Errors
    ///
    /// Where that will not happen: the stream was reset, the peer stopped it, or the
    /// session ended.
    pub async fn acknowledged(&mut self) -> Result<(), SessionError> {
        poll_fn(|cx| self.half.core.poll_acknowledged(cx)).await
    }

    /// Gives the direction up: what has not arrived need not.
    pub fn reset(&mut self, code: u32) {
        self.half.reset(code);
    }

    /// Ready when the peer stops the stream or the session ends.
    pub async fn stopped(&mut self) -> SessionError {
        poll_fn(|cx| self.half.core.poll_failure(cx)).await
    }

    async fn room(&self, len: usize) -> Result<(), SessionError> {
        if self.half.is_finished {
            return Err(SessionError::Closed);
        }
        poll_fn(|cx| self.half.core.poll_room(cx, len)).await
    }
}
