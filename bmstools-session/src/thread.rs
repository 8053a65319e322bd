//! A hub on a thread of its own.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bmstools_link::{Port, Waker};
use bmstools_proto::v2::Config;
use tokio::sync::oneshot;

use crate::command::Command;
use crate::handle::Handle;
use crate::hub::{Hub, code};
use crate::queue::Queue;

/// The thread of a hub. Dropping it closes the sessions that are left (code 0) and waits
/// for the thread, 100 ms at most where peers do not answer.
pub struct HubThread {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Runs a hub on the ports of one interface.
///
/// # Errors
///
/// Where the process can have no more threads or file descriptors.
pub fn spawn(
    mut ports: Vec<Box<dyn Port>>,
    config: Config,
    seed: [u8; 32],
) -> io::Result<(Handle, HubThread)> {
    let waker = Waker::new()?;
    let groups = std::iter::once(0..ports.len()).collect();
    let (mut hub, handle) = Hub::new(config, groups, waker.clone(), seed, Instant::now());
    let queue = hub.queue();
    let thread = thread::Builder::new().name("frames".into()).spawn(move || {
        let result = bmstools_link::run(&mut ports, &mut hub, &waker);
        if let Err(error) = &result {
            hub.fail(error);
        }
        result
    })?;
    Ok((handle, HubThread { queue, thread: Some(thread) }))
}

impl HubThread {
    /// Waits until the hub was shut down.
    ///
    /// # Errors
    ///
    /// Where a port failed before. Its sessions ended with the same reason.
    pub fn join(mut self) -> io::Result<()> {
        self.thread.take().map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the frame thread panicked")))
        })
    }
}

impl Drop for HubThread {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let (done, _) = oneshot::channel();
            let (code, reason, within) = (code::DONE, "", GOODBYE);
            self.queue.push(Command::ShutDown { code, reason, within, done });
            let _ = thread.join();
        }
    }
}

/// Time for the peers to confirm the end: some round trips, and short for people.
const GOODBYE: Duration = Duration::from_millis(100);
