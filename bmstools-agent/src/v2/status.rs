//! Answers about the agent itself.

use std::time::Duration;

use bmstools_proto::v2::message::Answer;
use bmstools_proto::v2::message::exec::JobState;
use bmstools_proto::v2::message::status::{Measure, Measured, Ping, Pong, Status, StatusRequest};
use bmstools_session::{RecvStream, SendStream, SessionError};
use bytes::Bytes;
use rustix::system::{sysinfo, uname};
use tokio::sync::oneshot;
use tracing::debug;

use super::Shared;
use super::jobs::store::Store;
use crate::session::Message;

/// Tells about the agent.
pub(crate) async fn serve(shared: &Shared, _request: StatusRequest, mut send: SendStream) {
    let mut status = own(shared);
    let store = Store::new(&shared.config.jobs.directory);
    if let Ok(jobs) = tokio::task::spawn_blocking(move || store.list()).await {
        let running = jobs.iter().filter(|job| job.state == JobState::Running).count();
        status.jobs = running.try_into().unwrap_or(u32::MAX);
    }
    let (answer, answered) = oneshot::channel();
    shared.outbox.send(Message::Counted(answer)).await;
    match answered.await {
        Ok(counted) => counted.tell(&mut status),
        // The agent is ending, and nobody gets to see this.
        Err(_) => return,
    }
    // Where it cannot be sent, nobody waits for it.
    let _ = send.send_last(&Answer::Done(status)).await;
}

/// What the agent and its system are, without what is counted.
fn own(shared: &Shared) -> Status {
    let system = uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let kernel = [system.sysname(), system.release(), system.machine()].map(text).join(" ");
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: milliseconds(shared.started.elapsed()),
        host: text(system.nodename()),
        kernel,
        host_uptime_ms: u64::try_from(sysinfo().uptime).unwrap_or_default().saturating_mul(1000),
        ..Status::default()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Takes what comes and sends as many bytes as asked for.
pub(crate) async fn measure(request: Measure, send: SendStream, recv: RecvStream) {
    if let Err(error) = exchange(request, send, recv).await {
        debug!(%error, "a measurement broke off");
    }
}

async fn exchange(
    Measure { back }: Measure,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), SessionError> {
    let mut received = 0;
    while let Some(data) = recv.read().await? {
        received += data.len() as u64;
    }
    send.send(&Answer::Done(Measured { received })).await?;
    let block = Bytes::from(vec![0; BLOCK]);
    let mut left = back;
    while left > 0 {
        let len = left.min(BLOCK as u64);
        send.write(block.slice(..len as usize)).await?;
        left -= len;
    }
    send.finish();
    Ok(())
}

/// Answers at once, as often as it is asked on this stream.
pub(crate) async fn pong(first: Ping, mut send: SendStream, mut recv: RecvStream) {
    let mut next = first;
    loop {
        if send.send(&Answer::Done(Pong { number: next.number })).await.is_err() {
            return;
        }
        next = match recv.receive().await {
            Ok(Some(ping)) => ping,
            Ok(None) => return send.finish(),
            Err(error) => return debug!(%error, "pings broke off"),
        };
    }
}

/// Bytes written at a time.
const BLOCK: usize = 256 << 10;
