//! What an authenticated session has done here: a task of its own, so that a
//! slow command or disk delays nobody else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use bmstools_link::Waker;
use bmstools_proto::agent::{Challenge, Request, SessionId};
use bmstools_proto::response::{Code, Response};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tracing::{debug, error};

use crate::counters::Counted;
use crate::exec::Executor;
use crate::file::{Files, Scripts};

/// What the frame loop is told by everybody else.
pub(crate) enum Message {
    /// The challenge for a session, and its key's fingerprint; `None` where
    /// there is no key.
    Challenge(SessionId, Option<(Challenge, String)>),
    /// The answer to a session's request.
    Response(SessionId, Response),
    /// The session's work is done and safe, or what failed.
    Finished(SessionId, Option<Response>),
    /// Close all sessions and end.
    Stop,
    /// Log the counters.
    Counters,
    /// Tell the counters.
    Counted(oneshot::Sender<Counted>),
}

/// The way to the frame loop.
#[derive(Clone)]
pub(crate) struct Outbox {
    messages: mpsc::Sender<Message>,
    waker: Waker,
}

impl Outbox {
    /// A way to the loop that `waker` wakes, and the loop's end of it.
    pub(crate) fn new(waker: Waker, capacity: usize) -> (Self, mpsc::Receiver<Message>) {
        let (messages, inbox) = mpsc::channel(capacity);
        (Self { messages, waker }, inbox)
    }

    /// Tells the loop. A loop that has ended needs to know nothing.
    pub(crate) async fn send(&self, message: Message) {
        if self.messages.send(message).await.is_ok() {
            self.waker.wake();
        }
    }

    /// As [`send`](Self::send), from a thread that may block.
    pub(crate) fn send_blocking(&self, message: Message) {
        if self.messages.blocking_send(message).is_ok() {
            self.waker.wake();
        }
    }
}

/// What all sessions share.
pub(crate) struct Shared {
    /// Runs commands.
    pub(crate) executor: Arc<Executor>,
    /// One-shot scripts.
    pub(crate) scripts: Arc<Scripts>,
    /// The way to the frame loop.
    pub(crate) outbox: Outbox,
    /// Lives as long as any session's task.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The operator ended it: what it pushed shall stay.
    Clean,
    /// The operator ended it before its time: what was under way shall leave
    /// nothing, and the operator waits to hear that it did.
    Aborted,
    /// It broke off: what was under way shall leave nothing.
    Broken,
}

/// The frame loop's hold on a session's task. Dropping it breaks the session.
pub(crate) struct Work {
    requests: mpsc::Sender<Request>,
    ending: oneshot::Sender<Ending>,
}

impl Work {
    /// Starts the task of a session.
    pub(crate) fn start(runtime: &Handle, shared: &Arc<Shared>, session: SessionId) -> Self {
        // The protocol has one request under way: more means an error in it.
        let (requests, incoming) = mpsc::channel(1);
        let (ending, ended) = oneshot::channel();
        let task = Task { session, shared: Arc::clone(shared), incoming, ended };
        runtime.spawn(task.run());
        Self { requests, ending }
    }

    /// Hands a request over; false where the task does not take it.
    #[must_use]
    pub(crate) fn request(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }

    /// Ends the task; false where it has ended already. After
    /// [`Ending::Clean`] and [`Ending::Aborted`], [`Message::Finished`] comes.
    pub(crate) fn end(self, ending: Ending) -> bool {
        self.ending.send(ending).is_ok()
    }
}

struct Task {
    session: SessionId,
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<Request>,
    ended: oneshot::Receiver<Ending>,
}

/// Why a task serves no more requests.
enum Stop {
    /// The session ended.
    Ended(Files, Ending),
    /// Work panicked.
    Failed,
}

impl Task {
    async fn run(mut self) {
        let _alive = self.shared.alive.clone();
        let mut files = Files::new(&self.shared.scripts);
        let stop = loop {
            let request = match next(&mut self.incoming, &mut self.ended).await {
                Ok(request) => request,
                Err(ending) => break Stop::Ended(files, ending),
            };
            let (after, response) = match self.serve(files, request).await {
                Ok(served) => served,
                Err(stop) => break stop,
            };
            files = after;
            if response.code != Code::Success {
                debug!(session = ?self.session, code = ?response.code, "a request failed");
            }
            self.shared.outbox.send(Message::Response(self.session, response)).await;
        };
        match stop {
            Stop::Ended(files, ending) => self.end(files, ending).await,
            Stop::Failed => {
                error!(session = ?self.session, "work on a file broke off");
                self.shared.outbox.send(Message::Response(self.session, broken())).await;
            }
        }
    }

    async fn serve(&mut self, files: Files, request: Request) -> Result<(Files, Response), Stop> {
        match request {
            Request::Exec { command } => self.execute(files, &command).await,
            Request::File { path } => blocking(files, move |files| files.begin(&path)).await,
            Request::Data { data } => blocking(files, move |files| files.append(&data)).await,
        }
    }

    /// Puts what was pushed in place, since the command may be about it, and runs
    /// the command.
    async fn execute(&mut self, files: Files, command: &[u8]) -> Result<(Files, Response), Stop> {
        debug!(session = ?self.session, bytes = command.len(), "a command");
        let mut files = files;
        // A session without files needs none of the threads that a hanging file
        // system may hold.
        if !files.is_settled() {
            let (after, settled) = blocking(files, Files::settle).await?;
            if let Err(failure) = settled {
                return Ok((after, failure));
            }
            files = after;
        }
        let ended = Pin::new(&mut self.ended);
        match self.shared.executor.run(command, ended).await {
            Ok(response) => Ok((files, response)),
            Err(ending) => Err(Stop::Ended(files, ending.unwrap_or(Ending::Broken))),
        }
    }

    async fn end(self, files: Files, ending: Ending) {
        let ended = match ending {
            _ if files.leave_nothing() => Ok(None),
            Ending::Clean => spawn_blocking(move || files.end().err()).await,
            Ending::Aborted | Ending::Broken => {
                spawn_blocking(move || drop(files)).await.map(|()| None)
            }
        };
        if ending != Ending::Broken {
            let failure = ended.unwrap_or_else(|_| Some(broken()));
            self.shared.outbox.send(Message::Finished(self.session, failure)).await;
        }
    }
}

/// The next request, or how the session ended.
async fn next(
    incoming: &mut mpsc::Receiver<Request>,
    ended: &mut oneshot::Receiver<Ending>,
) -> Result<Request, Ending> {
    let request = tokio::select! {
        biased;
        ending = &mut *ended => return Err(ending.unwrap_or(Ending::Broken)),
        request = incoming.recv() => request,
    };
    match request {
        Some(request) => Ok(request),
        // The loop let go of both ways: how it ended has been said by now, or will not be.
        None => Err(ended.await.unwrap_or(Ending::Broken)),
    }
}

/// Does work that blocks.
async fn blocking<T: Send + 'static>(
    mut files: Files,
    work: impl FnOnce(&mut Files) -> T + Send + 'static,
) -> Result<(Files, T), Stop> {
    spawn_blocking(move || {
        let result = work(&mut files);
        (files, result)
    })
    .await
    .map_err(|_| Stop::Failed)
}

fn broken() -> Response {
    Response::error(Code::UnknownError, "the agent failed; its log says more")
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The loop says how a session ended and lets go of its requests, and the task may
    /// look at the one before and at the other after that.
    #[tokio::test]
    async fn the_end_of_requests_is_not_taken_for_a_broken_session() {
        for told in [Some(Ending::Clean), Some(Ending::Aborted), None] {
            let (requests, mut incoming) = mpsc::channel(1);
            let (ending, mut ended) = oneshot::channel();
            drop(requests);
            let mut next = Box::pin(next(&mut incoming, &mut ended));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(next.as_mut().poll(&mut cx), Poll::Pending));
            match told {
                Some(told) => ending.send(told).unwrap(),
                None => drop(ending),
            }
            assert_eq!(next.await.unwrap_err(), told.unwrap_or(Ending::Broken));
        }
    }
}
