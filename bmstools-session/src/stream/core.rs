//! What a stream's tasks and the hub share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bmstools_proto::v2::{CloseReason, Config, SessionId, StreamId};
use bytes::Bytes;

use crate::command::{Command, SessionCommand, StreamCommand};
use crate::error::SessionError;
use crate::flow::Consumed;
use crate::queue::Queue;
use crate::sync::lock;

/// A stream between its tasks and the hub.
pub(crate) struct StreamCore {
    queue: Arc<Queue>,
    session: SessionId,
    stream: StreamId,
    send: Mutex<Sending>,
    recv: Mutex<Receiving>,
    consumed: Consumed,
    of_session: Arc<Consumed>,
}

struct Sending {
    /// Cost of what is queued and has not reached the endpoint.
    queued: usize,
    /// What the endpoint would take when it was asked last.
    room: usize,
    is_acknowledged: bool,
    failure: Option<SessionError>,
    /// Woken when there is room, or none will ever be.
    writer: Option<Waker>,
    /// Woken when all has arrived, or never will.
    watcher: Option<Waker>,
}

#[derive(Default)]
struct Receiving {
    chunks: VecDeque<(u64, Bytes)>,
    end: Option<End>,
    waiting: Option<Waker>,
}

/// What stands behind a stream's last chunk.
#[derive(Clone)]
pub(crate) enum End {
    /// Everything has come.
    Clean,
    /// The rest will not come.
    Failed(SessionError),
}

impl StreamCore {
    pub(crate) fn new(
        queue: Arc<Queue>,
        session: SessionId,
        stream: StreamId,
        of_session: Arc<Consumed>,
        config: &Config,
    ) -> Self {
        let sending = Sending {
            queued: 0,
            room: config.send_buffer,
            is_acknowledged: false,
            failure: None,
            writer: None,
            watcher: None,
        };
        Self {
            queue,
            session,
            stream,
            send: Mutex::new(sending),
            recv: Mutex::default(),
            consumed: Consumed::of_stream(config),
            of_session,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.stream.0
    }

    // The tasks' side.

    pub(crate) fn command(&self, command: StreamCommand) {
        self.queue.push(Command::Stream(self.session, self.stream, command));
    }

    /// Takes room for a write of `len` bytes, as soon as there is any at all: a write
    /// longer than what is left still passes, once.
    pub(crate) fn poll_room(
        &self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Poll<Result<(), SessionError>> {
        let mut send = lock(&self.send);
        if let Some(failure) = &send.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        if send.queued < send.room {
            send.queued = send.queued.saturating_add(cost(len));
            return Poll::Ready(Ok(()));
        }
        send.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when everything up to the end was acknowledged, or never will be.
    pub(crate) fn poll_acknowledged(&self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        let mut send = lock(&self.send);
        if send.is_acknowledged {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = &send.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        send.watcher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when nothing more can be sent, for whose reason ever.
    pub(crate) fn poll_failure(&self, cx: &mut Context<'_>) -> Poll<SessionError> {
        let mut send = lock(&self.send);
        if let Some(failure) = &send.failure {
            return Poll::Ready(failure.clone());
        }
        send.watcher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next chunk, or what stands behind the last.
    pub(crate) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<(u64, Bytes), End>> {
        let mut recv = lock(&self.recv);
        if let Some(chunk) = recv.chunks.pop_front() {
            return Poll::Ready(Ok(chunk));
        }
        if let Some(end) = &recv.end {
            return Poll::Ready(Err(end.clone()));
        }
        recv.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Somebody is done with so many bytes.
    pub(crate) fn credit(&self, bytes: u64) {
        // In this order: the session's sum is never less than its streams'.
        self.of_session.add(bytes);
        self.consumed.add(bytes);
        if self.consumed.must_tell() {
            self.command(StreamCommand::Credit);
        }
        if self.of_session.must_tell() {
            self.queue.push(Command::Session(self.session, SessionCommand::Credit));
        }
    }

    // The hub's side.

    /// Writes of `applied` cost have reached the endpoint, which has `room` left.
    pub(crate) fn set_room(&self, applied: usize, room: usize) {
        let mut send = lock(&self.send);
        send.queued = send.queued.saturating_sub(applied);
        send.room = room;
        if send.queued < room {
            wake([send.writer.take()], send);
        }
    }

    pub(crate) fn set_acknowledged(&self) {
        let mut send = lock(&self.send);
        send.is_acknowledged = true;
        wake([send.writer.take(), send.watcher.take()], send);
    }

    /// What is sent from here on does not arrive.
    pub(crate) fn fail_sending(&self, failure: SessionError) {
        let mut send = lock(&self.send);
        send.failure.get_or_insert(failure);
        wake([send.writer.take(), send.watcher.take()], send);
    }

    /// Hands over what came, and what stands behind it.
    pub(crate) fn deliver(&self, chunks: &mut Vec<(u64, Bytes)>, end: Option<End>) {
        let mut recv = lock(&self.recv);
        recv.chunks.extend(chunks.drain(..));
        if recv.end.is_none() {
            recv.end = end;
        }
        wake([recv.waiting.take()], recv);
    }

    /// Nobody reads any more: forgets what came.
    pub(crate) fn discard(&self) {
        let mut recv = lock(&self.recv);
        let chunks = std::mem::take(&mut recv.chunks);
        drop(recv);
        drop(chunks);
    }

    /// Bytes consumed since it was asked last.
    pub(crate) fn take_consumed(&self) -> u64 {
        self.consumed.hear();
        let bytes = self.consumed.take();
        self.of_session.subtract(bytes);
        bytes
    }

    /// The session is over.
    pub(crate) fn end(&self, reason: &CloseReason) {
        let failure = SessionError::Ended(reason.clone());
        self.fail_sending(failure.clone());
        self.deliver(&mut Vec::new(), Some(End::Failed(failure)));
    }
}

/// Wakes outside of the lock.
fn wake<T, const N: usize>(waiting: [Option<Waker>; N], locked: MutexGuard<'_, T>) {
    drop(locked);
    waiting.into_iter().flatten().for_each(Waker::wake);
}

/// What a write of `len` bytes takes of its stream's room while it is queued: a little
/// more than its bytes, so that very short ones are bounded too.
pub(crate) fn cost(len: usize) -> usize {
    len.saturating_add(WRITE_COST)
}

/// About what a queued command itself occupies.
const WRITE_COST: usize = 128;
