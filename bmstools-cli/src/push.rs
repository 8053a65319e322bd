//! `bmstools push`: a file, there in full or not at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use bmstools_proto::Dialect;
use bmstools_proto::operator::{MIN_V1_DATA, Request};
use bmstools_proto::response::{Code, Response};
use tokio::time::{MissedTickBehavior, interval};

use crate::chunk;
use crate::connect::Connector;
use crate::exec::refused;
use crate::output::{Failure, Output};
use crate::progress::{Progress, Summary};
use crate::session::Session;
use crate::signals::Signals;
use crate::source::{Local, Source};
use crate::stop::{self, Outcome};
use crate::v2::push::PushArgs;

/// Copies the file; succeeds only where the agent confirmed every part and the end.
///
/// # Errors
///
/// Where the file cannot be sent as it is, the session fails, the agent refuses or
/// a signal comes. The agent keeps nothing of the file then.
pub(crate) async fn run(
    args: &PushArgs,
    connector: &Connector,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let remote = remote_path(&args.remote, &args.local)?;
    let shown = String::from_utf8_lossy(&remote).into_owned();
    let local = Local::open(&args.local)?;
    let shortest = match connector.dialect {
        Dialect::V1 => MIN_V1_DATA,
        Dialect::V1Deployed => 1,
    };
    check_size(local.size(), shortest)?;

    let (mut session, _) = connector.connect(signals).await?;
    let started = Instant::now();
    let mut source = local.read_ahead()?;
    let progress = Progress::new(source.size(), output.quiet || output.json);
    let sent = send(&mut session, remote, &mut source, shortest, &progress);
    match stop::wait(sent, None, signals).await {
        Outcome::Done(Ok(())) => {}
        Outcome::Signal(signal) => {
            drop(progress);
            stop::abandon_file(session, signals).await;
            return Err(Failure::Interrupted(signal));
        }
        Outcome::Done(Err(error)) => {
            drop(progress);
            stop::abandon_file(session, signals).await;
            return Err(error.into());
        }
        Outcome::TimedOut => return Err(anyhow!("a push has no time limit").into()),
    }
    // The agent puts the file in place now: it is too late to abandon it.
    let placed = match stop::wait(session.end(), None, signals).await {
        Outcome::Done(placed) => placed?.1,
        Outcome::Signal(signal) => {
            return Err(anyhow!(
                "{signal} came when everything was sent: the agent may or may not have put \
                 {shown} in place"
            )
            .into());
        }
        Outcome::TimedOut => return Err(anyhow!("a push has no time limit").into()),
    };
    drop(progress);
    if let Some(response) = placed.filter(|response| response.code != Code::Success) {
        return Err(refused("to put the file in place", &response).into());
    }
    let summary = Summary::new(source.size(), started, session.stats().retransmitted());
    if !output.quiet || output.json {
        output.result(summary.json(&shown), &summary.line(&shown))?;
    }
    Ok(0)
}

/// Sends everything up to the last confirmed byte, but not the end.
async fn send(
    session: &mut Session,
    remote: Vec<u8>,
    source: &mut Source,
    shortest: usize,
    progress: &Progress,
) -> Result<()> {
    session.submit(Request::File(remote))?;
    expect_success("the path", session.response().await?)?;
    let stats = session.stats();
    let mut remaining = source.size();
    while remaining > 0 {
        let confirmed = source.size() - remaining;
        let len = chunk::next_len(remaining, stats.max_data(), shortest);
        session.submit(Request::Data(source.take(len).await?))?;
        remaining -= len as u64;
        // The next piece is read while this one is on its way.
        source.prepare(chunk::next_len(remaining, stats.max_data(), shortest)).await?;
        let response = answer(session, |bytes| progress.set(confirmed + bytes.min(len as u64)));
        expect_success("the data", response.await?)?;
        progress.set(source.size() - remaining);
    }
    source.finish().await
}

/// The response to the data under way; `show` gets the acknowledged bytes meanwhile.
async fn answer(session: &mut Session, show: impl Fn(u64)) -> Result<Response> {
    let stats = session.stats();
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            response = session.response() => return response,
            _ = ticks.tick() => show(stats.acknowledged()),
        }
    }
}

fn expect_success(what: &str, response: Response) -> Result<()> {
    if response.code == Code::Success { Ok(()) } else { Err(refused(what, &response)) }
}

/// Ethernet pads short frames, and v1 has no length that tells padding from data.
fn check_size(size: u64, shortest: usize) -> Result<()> {
    if size > 0 && size < shortest as u64 {
        bail!(
            "a file of {size} bytes cannot be carried exactly by v1, which needs {shortest} or \
             more: write it with `exec`, or use --proto v1-deployed or v2 where the agent has it"
        );
    }
    Ok(())
}

/// Where the file goes: `remote`, with the name of `local` where it ends in a slash.
fn remote_path(remote: &OsStr, local: &Path) -> Result<Vec<u8>, Failure> {
    let mut path = remote.as_bytes().to_vec();
    if path.first() != Some(&b'/') {
        return Err(Failure::Usage(format!(
            "the remote path `{}` is not absolute: begin it with a slash",
            remote.display()
        )));
    }
    if path.ends_with(b"/") {
        let name = local.file_name().ok_or_else(|| {
            Failure::Usage(format!("{} has no file name to add to the path", local.display()))
        })?;
        path.extend_from_slice(name.as_bytes());
    }
    Ok(path)
}

/// Often enough for the eye.
const REDRAW: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn path(remote: &str, local: &str) -> Option<Vec<u8>> {
        remote_path(OsStr::new(remote), Path::new(local)).ok()
    }

    #[test]
    fn a_remote_directory_gets_the_local_name() {
        assert_eq!(path("/tmp/x", "a/b").unwrap(), b"/tmp/x");
        assert_eq!(path("/tmp/", "a/b").unwrap(), b"/tmp/b");
        assert_eq!(path("/", "b").unwrap(), b"/b");
        for (remote, local) in [("tmp/x", "b"), ("", "b"), ("~/x", "b"), ("/tmp/", "..")] {
            assert_eq!(path(remote, local), None, "{remote} {local}");
        }
    }

    #[test]
    fn only_a_file_that_padding_would_change_is_refused() {
        for size in [0, 32, 33, 1 << 40] {
            check_size(size, MIN_V1_DATA).unwrap();
        }
        for size in [1, 31] {
            let error = check_size(size, MIN_V1_DATA).unwrap_err().to_string();
            assert!(error.contains("v1-deployed") && error.contains("v2"), "{error}");
            check_size(size, 1).unwrap();
        }
    }
}
