//! What a remote command writes, to where the user wants it.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::{Context as _, Result};
use bmstools_session::RecvStream;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{mpsc, oneshot};

use crate::v2::Host;

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Stdout,
    Stderr,
}

/// What of an output was kept for a JSON object.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    cut: u64,
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(MAX_KEPT - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fits]);
        self.cut += (bytes.len() - fits) as u64;
    }

    /// The kept bytes as text, with U+FFFD for what is not UTF-8.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// How many bytes more there were.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }
}

/// Hands on what comes on a stream, up to its end; returns what was kept of it, which is
/// nothing unless results are JSON.
///
/// # Errors
///
/// Where the session ends, or the output cannot be written. A reader that went away is
/// none: the command is told, as it would be here.
pub(crate) async fn pass_on(host: &Host, which: Which, from: RecvStream) -> Result<Kept> {
    if host.json() {
        keep(from).await
    } else if host.is_alone() {
        write(which, from).await.map(|()| Kept::default())
    } else {
        show(host, which, from).await.map(|()| Kept::default())
    }
}

async fn keep(mut from: RecvStream) -> Result<Kept> {
    let mut kept = Kept::default();
    while let Some(bytes) = from.read().await? {
        kept.take(&bytes);
    }
    Ok(kept)
}

async fn show(host: &Host, which: Which, mut from: RecvStream) -> Result<()> {
    while let Some(bytes) = from.read().await? {
        match which {
            Which::Stdout => host.stdout(&bytes)?,
            Which::Stderr => host.stderr(&bytes)?,
        }
    }
    Ok(())
}

/// Writes from a thread of its own, so that a slow reader keeps no signal waiting.
async fn write(which: Which, mut from: RecvStream) -> Result<()> {
    let to = match which {
        Which::Stdout => io::stdout().as_fd().try_clone_to_owned(),
        Which::Stderr => io::stderr().as_fd().try_clone_to_owned(),
    };
    let to = to.context("cannot write the output")?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (tell, written) = oneshot::channel();
    thread::Builder::new()
        .name("output".into())
        .spawn(move || drop(tell.send(write_all(to, receiver))))
        .context("cannot start a thread")?;
    while let Some(bytes) = from.read().await? {
        if sender.send(bytes).await.is_err() {
            // Dropping the stream tells the agent, and that the command.
            break;
        }
    }
    drop(sender);
    match written.await {
        Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        _ => Ok(()),
    }
}

fn write_all(to: OwnedFd, mut from: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut to = File::from(to);
    let mut gathered = Vec::with_capacity(GATHER);
    while let Some(bytes) = from.blocking_recv() {
        gathered.extend_from_slice(&bytes);
        while gathered.len() < GATHER
            && let Ok(bytes) = from.try_recv()
        {
            gathered.extend_from_slice(&bytes);
        }
        write_patiently(&mut to, &gathered)?;
        gathered.clear();
    }
    Ok(())
}

/// Writes all of `bytes`, even where somebody has made the file non-blocking.
fn write_patiently(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Chunks that wait for the writing thread.
const QUEUE: usize = 16;
/// Bytes gathered for one write.
const GATHER: usize = 1 << 16;
/// Bytes of each output in a JSON object: it is made in memory.
const MAX_KEPT: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_json_has_a_limit_and_the_rest_is_counted() {
        let mut kept = Kept::default();
        kept.take(&vec![b'x'; MAX_KEPT - 1]);
        kept.take(b"abc");
        kept.take(b"de");
        assert_eq!((kept.bytes.len(), kept.cut()), (MAX_KEPT, 4));
        assert!(kept.text().ends_with("xa"));
    }

    #[test]
    fn a_reader_that_went_away_ends_the_writing_thread() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(Bytes::from_static(b"x")).unwrap();
        let error = write_all(writer.into(), receiver).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
