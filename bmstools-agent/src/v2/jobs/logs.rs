//! What a job wrote, to an operator.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bmstools_proto::v2::message::Failure;
use bmstools_proto::v2::message::exec::JobState;
use bmstools_session::SendStream;
use bytes::BytesMut;
use tokio::time::sleep;

use super::store::{self, Store};
use crate::v2::launch::cannot;

/// A job's outputs.
pub(crate) struct Logs {
    output: File,
    errors: File,
    follow: bool,
}

impl Logs {
    /// What is in a job's directory.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub(crate) fn open(place: &Path, follow: bool) -> Result<Self, Failure> {
        let open = |name| {
            let path = place.join(name);
            File::open(&path).map_err(|error| cannot(&format!("read {}", path.display()), &error))
        };
        Ok(Self { output: open(store::OUTPUT)?, errors: open(store::ERRORS)?, follow })
    }

    /// Sends both, up to their ends or to the job's.
    pub(crate) async fn send(
        self,
        store: &Store,
        id: &str,
        output: SendStream,
        errors: SendStream,
    ) {
        tokio::join!(
            copy(self.output, output, store, id, self.follow),
            copy(self.errors, errors, store, id, self.follow)
        );
    }
}

async fn copy(mut file: File, mut to: SendStream, store: &Store, id: &str, follow: bool) {
    let mut buffer = BytesMut::new();
    loop {
        // Before reading: what is written before the end is read then.
        let more = follow && store.get(id).is_ok_and(|job| job.state == JobState::Running);
        loop {
            buffer.resize(CHUNK, 0);
            // From the page cache, in no time.
            let Ok(read @ 1..) = file.read(&mut buffer) else { break };
            buffer.truncate(read);
            if to.write(buffer.split().freeze()).await.is_err() {
                return;
            }
        }
        if !more {
            return to.finish();
        }
        tokio::select! {
            () = sleep(POLL) => {}
            _ = to.stopped() => return,
        }
    }
}

/// Bytes read at once.
const CHUNK: usize = 1 << 16;
/// Between two looks at a job.
pub(crate) const POLL: Duration = Duration::from_millis(100);
