//! Bytes between a command and its operator. Each way waits for its slowest part, so
//! nothing piles up: a slow reader slows the command down.

use std::sync::Arc;
use std::time::Duration;

use bmstools_session::{RecvStream, SendStream};
use bytes::{Bytes, BytesMut};
use rustix::io::ioctl_fionread;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::channels::Terminal;

/// What the operator types, to a command's standard input, up to its end.
pub(crate) async fn to_pipe(mut from: RecvStream, mut to: pipe::Sender) {
    while let Ok(Some(bytes)) = from.read().await {
        if to.write_all(&bytes).await.is_err() {
            // The command has closed it.
            return;
        }
    }
}

/// What the operator types, to a terminal. Its end is what a user would type for it.
pub(crate) async fn to_terminal(mut from: RecvStream, to: Arc<Terminal>) {
    let mut last = b'\n';
    while let Ok(Some(bytes)) = from.read().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        last = bytes.last().copied().unwrap_or(last);
    }
    let Some(end) = to.end_of_input() else { return };
    // In the middle of a line, the first one ends the line only.
    let times = if last == b'\n' || last == b'\r' { 1 } else { 2 };
    let _ = to.write_all(&[end; 2][..times]).await;
}

/// What a command writes, up to its end or what it had written when it ended. Whether
/// somebody still has the pipe open then.
pub(crate) async fn from_pipe(
    mut from: pipe::Receiver,
    mut to: SendStream,
    mut ended: watch::Receiver<bool>,
) -> bool {
    let mut buffer = BytesMut::new();
    let mut left = None;
    while left != Some(0) {
        if buffer.capacity() < LEAST_ROOM {
            buffer.reserve(CHUNK);
        }
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read.unwrap_or(0) as u64,
            _ = ended.wait_for(|ended| *ended), if left.is_none() => {
                left = Some(ioctl_fionread(&from).unwrap_or(0));
                continue;
            }
            // Dropping the pipe tells the command.
            _ = to.stopped() => return false,
        };
        if read == 0 {
            to.finish();
            return false;
        }
        left = left.map(|left| left.saturating_sub(read));
        if to.write(buffer.split().freeze()).await.is_err() {
            return false;
        }
    }
    to.finish();
    is_held(&from).await
}

/// Whether anybody has the other end of a pipe open. A process that is just being
/// started has for a moment, whoever it is for.
async fn is_held(pipe: &pipe::Receiver) -> bool {
    for _ in 0..HELD_LOOKS {
        // Past the runtime, which may not have heard of the end yet.
        if matches!(rustix::io::read(pipe, &mut [0; 1]), Ok(0)) {
            return false;
        }
        sleep(HELD_PAUSE).await;
    }
    true
}

/// What is written to a terminal, up to its closing or some silence after the command's
/// end.
pub(crate) async fn from_terminal(
    from: Arc<Terminal>,
    mut to: SendStream,
    mut ended: watch::Receiver<bool>,
) -> bool {
    let mut buffer = [0; TERMINAL_CHUNK];
    let mut until: Option<Instant> = None;
    while until.is_none_or(|until| Instant::now() < until) {
        let silence = sleep(SILENCE);
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = ended.wait_for(|ended| *ended), if until.is_none() => {
                until = Some(Instant::now() + LAST_WORDS);
                continue;
            }
            () = silence, if until.is_some() => break,
            _ = to.stopped() => return false,
        };
        if read == 0 {
            to.finish();
            return false;
        }
        if to.write(Bytes::copy_from_slice(&buffer[..read])).await.is_err() {
            return false;
        }
    }
    to.finish();
    true
}

/// Bytes read at once.
const CHUNK: usize = 1 << 16;
/// Room under which another chunk's is made.
const LEAST_ROOM: usize = 1 << 12;
/// Times that a pipe is looked at, so far apart, until somebody counts as holding it.
const HELD_LOOKS: u32 = 5;
const HELD_PAUSE: Duration = Duration::from_millis(10);
/// Bytes that a terminal gives at once.
const TERMINAL_CHUNK: usize = 1 << 12;
/// Silence of a terminal after its command's end that says that nothing comes any more.
const SILENCE: Duration = Duration::from_millis(100);
/// Time for what comes after a command's end while it is not silent.
const LAST_WORDS: Duration = Duration::from_secs(1);
