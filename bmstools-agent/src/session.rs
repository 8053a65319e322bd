//! What an authenticated session has done here: a task of its own, so that a
//! slow command or disk delays nobody else.

use std::convert::Infallible;
use std::sync::Arc;

use bmstools_link::Waker;
use bmstools_proto::agent::{Challenge, Request, SessionId};
use bmstools_proto::response::{Code, Response};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tracing::{debug, error};

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
    /// [`Ending::Clean`], [`Message::Finished`] comes.
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

impl Task {
    async fn run(mut self) {
        let _alive = self.shared.alive.clone();
        let session = self.session;
        let mut files = Files::new(&self.shared.scripts);
        let ending = loop {
            let request = tokio::select! {
                biased;
                ending = &mut self.ended => break ending.unwrap_or(Ending::Broken),
                request = self.incoming.recv() => match request {
                    Some(request) => request,
                    None => break Ending::Broken,
                },
            };
            let response = match request {
                Request::Exec { command } => {
                    debug!(?session, bytes = command.len(), "a command");
                    let Some((after, settled)) = blocking(files, Files::settle).await else {
                        return self.fail().await;
                    };
                    files = after;
                    match settled {
                        Err(failure) => failure,
                        Ok(()) => match self.execute(&command).await {
                            Ok(response) => response,
                            Err(ending) => break ending,
                        },
                    }
                }
                Request::File { path } => {
                    let Some((after, response)) =
                        blocking(files, move |files| files.begin(&path)).await
                    else {
                        return self.fail().await;
                    };
                    files = after;
                    response
                }
                Request::Data { data } => {
                    let Some((after, response)) =
                        blocking(files, move |files| files.append(&data)).await
                    else {
                        return self.fail().await;
                    };
                    files = after;
                    response
                }
            };
            if response.code != Code::Success {
                debug!(?session, code = ?response.code, "a request failed");
            }
            self.shared.outbox.send(Message::Response(session, response)).await;
        };
        let failure = match ending {
            Ending::Clean => spawn_blocking(move || files.end().err()).await,
            Ending::Broken => spawn_blocking(move || drop(files)).await.map(|()| None),
        };
        let failure = failure.unwrap_or_else(|_| Some(broken()));
        if ending == Ending::Clean {
            self.shared.outbox.send(Message::Finished(session, failure)).await;
        }
    }

    async fn execute(&mut self, command: &[u8]) -> Result<Response, Ending> {
        let executor = Arc::clone(&self.shared.executor);
        let ended = std::pin::Pin::new(&mut self.ended);
        executor.run(command, ended).await.map_err(|ending| ending.unwrap_or(Ending::Broken))
    }

    /// Answers for work that broke off inside the agent; the task is over.
    async fn fail(self) {
        error!(session = ?self.session, "file work broke off");
        self.shared.outbox.send(Message::Response(self.session, broken())).await;
    }
}

/// Does work that blocks. `None` where it panicked.
async fn blocking<T: Send + 'static>(
    mut files: Files,
    work: impl FnOnce(&mut Files) -> T + Send + 'static,
) -> Option<(Files, T)> {
    spawn_blocking(move || {
        let result = work(&mut files);
        (files, result)
    })
    .await
    .ok()
}

fn broken() -> Response {
    Response::error(Code::UnknownError, "the agent failed; its log says more")
}
