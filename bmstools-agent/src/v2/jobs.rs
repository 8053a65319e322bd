//! Commands that run without a session, and questions about them.

pub(crate) mod keeper;
mod logs;
pub(super) mod store;

use std::process::Child;
use std::sync::Arc;

use bmstools_proto::v2::message::exec::{Exec, Job, JobReply, JobRequest, JobState, Started};
use bmstools_proto::v2::message::{Answer, Failure, FailureCode};
use bmstools_session::{RecvStream, SendStream, Session, SessionError};
use minicbor::bytes::ByteVec;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::Interest;
use tokio::time::sleep;
use tracing::debug;

use self::keeper::Task;
use self::logs::{Logs, POLL};
use self::store::Store;
use super::claim::Claim;
use super::exec::leader::signal_group;
use super::exec::{CONTROL_PRIORITY, DATA_PRIORITY, check};
use super::launch::{self, Program};
use super::{Shared, failure, readiness, refuse};

/// Starts a job.
///
/// # Errors
///
/// Where it cannot be started.
pub(crate) async fn start(shared: &Shared, request: Exec) -> Result<Started, Failure> {
    check(&request)?;
    if request.tty.is_some() {
        return Err(failure(FailureCode::Invalid, "a job has no terminal"));
    }
    let limits = &shared.config.jobs;
    let store = Store::new(&limits.directory);
    let most = shared.config.exec.max_commands;
    if store.list().iter().filter(|job| job.state == JobState::Running).count() >= most {
        let message = format!("{most} jobs are running already, which is exec.max_commands");
        return Err(failure(FailureCode::Limit, message));
    }
    store.prune(limits.keep.saturating_sub(1));
    let id = store.create()?;
    let task = Task {
        job: record(&id, &request),
        place: store.place(&id)?.display().to_string(),
        max_output: limits.max_output,
        timeout: request.timeout,
        program: Program::from(request),
    };
    let begun = match launch::helper() {
        Ok((mut child, socket)) => {
            let begun = launch::begin::<Started>(socket, &task).await;
            if begun.is_err() {
                // Its command goes with it.
                let _ = child.kill();
            }
            tokio::spawn(reap(child));
            begun
        }
        Err(failure) => Err(failure),
    };
    if begun.is_err() {
        let _ = store.remove(&id);
    }
    begun
}

/// A new job's record.
fn record(id: &str, request: &Exec) -> Job {
    let mut room = MAX_SHOWN;
    let shown = request.argv.iter().map_while(|argument| {
        let len = argument.len().min(room);
        let shown = (room > 0).then(|| ByteVec::from(argument[..len].to_vec()));
        room = room.saturating_sub(len.max(1));
        shown
    });
    Job {
        id: id.to_owned(),
        state: JobState::Running,
        argv: shown.collect(),
        shell: request.shell,
        user: request.user.clone(),
        pid: 0,
        started: keeper::now(),
        ended: None,
        exited: None,
        output_cut: 0,
        errors_cut: 0,
    }
}

/// Waits for a keeper's end, and lets it live where this is dropped.
async fn reap(mut child: Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
    if let Some(Ok(end)) = end.map(|end| readiness::register(end, Interest::READABLE)) {
        let _ = end.readable().await;
    }
    let _ = child.try_wait();
}

/// Answers a question about jobs, or does something to them.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    session: Session,
    request: JobRequest,
    mut send: SendStream,
    _recv: RecvStream,
) {
    send.set_priority(CONTROL_PRIORITY);
    let store = Store::new(&shared.config.jobs.directory);
    let served = match request {
        JobRequest::List => replies(&mut send, store.list()).await,
        JobRequest::Logs { job, follow, output, errors } => {
            logs(&session, &store, &job, (follow, output, errors), &mut send).await
        }
        JobRequest::Wait(job) => wait(&store, &job, &mut send).await,
        JobRequest::Kill { job, signal } => match kill(&store, &job, signal) {
            Ok(()) => reply(&mut send, JobReply::Done).await,
            Err(failure) => Err(failure.into()),
        },
        JobRequest::Forget(job) => match forget(&store, job.as_deref()) {
            Ok(jobs) => replies(&mut send, jobs).await,
            Err(failure) => Err(failure.into()),
        },
        _ => Err(super::unknown().into()),
    };
    match served {
        Ok(()) => send.finish(),
        Err(Stop::Failed(failure)) => refuse(&mut send, failure).await,
        Err(Stop::Gone(reason)) => debug!(%reason, "nobody waits for what was asked about jobs"),
    }
}

/// Why a request was not served.
enum Stop {
    Failed(Failure),
    Gone(SessionError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<SessionError> for Stop {
    fn from(reason: SessionError) -> Self {
        Self::Gone(reason)
    }
}

async fn reply(send: &mut SendStream, reply: JobReply) -> Result<(), Stop> {
    Ok(send.send(&Answer::Done(reply)).await?)
}

async fn replies(send: &mut SendStream, jobs: Vec<Job>) -> Result<(), Stop> {
    for job in jobs {
        reply(send, JobReply::Job(job)).await?;
    }
    reply(send, JobReply::Done).await
}

async fn logs(
    session: &Session,
    store: &Store,
    job: &str,
    (follow, output, errors): (bool, u32, u32),
    send: &mut SendStream,
) -> Result<(), Stop> {
    store.get(job)?;
    let logs = Logs::open(&store.place(job)?, follow)?;
    let output = Claim::on(session, Some(output)).await?;
    let errors = Claim::on(session, Some(errors)).await?;
    reply(send, JobReply::Done).await?;
    let (output, _) = output.opened(DATA_PRIORITY).await?;
    let (errors, _) = errors.opened(DATA_PRIORITY).await?;
    logs.send(store, job, output, errors).await;
    reply(send, JobReply::Job(store.get(job)?)).await
}

async fn wait(store: &Store, id: &str, send: &mut SendStream) -> Result<(), Stop> {
    loop {
        let job = store.get(id)?;
        if job.state != JobState::Running {
            return reply(send, JobReply::Job(job)).await;
        }
        tokio::select! {
            () = sleep(POLL) => {}
            reason = send.stopped() => return Err(reason.into()),
        }
    }
}

fn kill(store: &Store, id: &str, number: u8) -> Result<(), Failure> {
    let job = store.get(id)?;
    let invalid = |message| failure(FailureCode::Invalid, message);
    let signal = Signal::from_named_raw(number.into())
        .ok_or_else(|| invalid(format!("there is no signal {number}")))?;
    if job.state != JobState::Running {
        return Err(invalid(format!("job {id} does not run any more")));
    }
    let pid = i32::try_from(job.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| invalid(format!("the record of job {id} is damaged")))?;
    signal_group(pid, signal);
    Ok(())
}

fn forget(store: &Store, id: Option<&str>) -> Result<Vec<Job>, Failure> {
    let jobs = match id {
        Some(id) => vec![store.get(id)?],
        None => store.list().into_iter().filter(|job| job.state != JobState::Running).collect(),
    };
    for job in &jobs {
        if job.state == JobState::Running {
            let message = format!("job {} still runs: `bmstools kill` ends it", job.id);
            return Err(failure(FailureCode::Invalid, message));
        }
        store.remove(&job.id)?;
    }
    Ok(jobs)
}

/// Bytes of a command that its record holds.
const MAX_SHOWN: usize = 4096;
