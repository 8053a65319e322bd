//! Our standard input, for a remote command.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::thread;

use bmstools_session::SendStream;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use super::escape::Escape;

/// How the input ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// There is no more, or nobody wants it.
    Input,
    /// The user typed the escape that ends the session.
    Escape,
}

/// Hands standard input on, up to its end. With `escape`, watches for the escape.
pub(crate) async fn pass_on(mut to: SendStream, escape: bool) -> End {
    let mut escape = escape.then(Escape::default);
    let mut from = read();
    loop {
        let bytes = tokio::select! {
            bytes = from.recv() => bytes,
            // The command has closed it.
            _ = to.stopped() => return End::Input,
        };
        let Some(bytes) = bytes else { break };
        let (bytes, ended) = match &mut escape {
            Some(escape) => escape.filter(&bytes),
            None => (bytes, false),
        };
        if !bytes.is_empty() && to.write(bytes).await.is_err() {
            return End::Input;
        }
        if ended {
            return End::Escape;
        }
    }
    to.finish();
    End::Input
}

/// Reads on a thread of its own: standard input is others' as well, so it must stay
/// blocking. The thread ends with the program.
fn read() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    if let Ok(from) = io::stdin().as_fd().try_clone_to_owned() {
        let mut from = File::from(from);
        // Without a thread, there is no input.
        let _ = thread::Builder::new().name("input".into()).spawn(move || {
            let mut buffer = vec![0; CHUNK];
            loop {
                match from.read(&mut buffer) {
                    Ok(read @ 1..) => {
                        let bytes = Bytes::copy_from_slice(&buffer[..read]);
                        if sender.blocking_send(bytes).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if poll(&mut [PollFd::new(&from, PollFlags::IN)], None).is_err() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
        });
    }
    receiver
}

/// Chunks that are read before they can be sent.
const QUEUE: usize = 4;
/// Bytes read at once.
const CHUNK: usize = 1 << 16;
