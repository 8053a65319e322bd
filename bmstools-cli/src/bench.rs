//! `bmstools bench`: what this host, that agent and the network between them do.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bmstools_proto::Dialect;
use bmstools_proto::operator::Request;
use bmstools_proto::response::{Code, Response};
use rand::distributions::Alphanumeric;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use serde_json::json;

use crate::args::BenchArgs;
use crate::chunk;
use crate::connect::Connector;
use crate::exec::refused;
use crate::output::{Failure, Output};
use crate::progress::Progress;
use crate::session::{Opening, Session};
use crate::signals::Signals;
use crate::stop::{self, Outcome};

/// Opens a session, measures commands and a push on it, ends it.
///
/// # Errors
///
/// Where the session fails, the agent refuses or a signal comes. The agent keeps
/// nothing of what was pushed in any case.
pub(crate) async fn run(
    args: &BenchArgs,
    connector: &Connector,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let (mut session, opening) = connector.connect(signals).await?;
    let progress = Progress::new(args.size, output.quiet || output.json);
    let measured = measure(&mut session, args, connector.dialect, &progress);
    let measured = match stop::wait(measured, None, signals).await {
        Outcome::Done(measured) => measured,
        Outcome::Signal(signal) => {
            drop(progress);
            stop::abandon_file(session, signals).await;
            return Err(Failure::Interrupted(signal));
        }
        Outcome::TimedOut => return Err(anyhow!("a measurement has no time limit").into()),
    };
    drop(progress);
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            stop::abandon_file(session, signals).await;
            return Err(error.into());
        }
    };
    let link = session.link().to_owned();
    stop::end(session, signals).await;
    output.result(measured.json(opening, &link), &measured.lines(opening, &link))?;
    Ok(0)
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    /// Of commands that do nothing, in order of length.
    commands: Vec<Duration>,
    bytes: u64,
    took: Duration,
    /// Frames that carried the bytes, and how many of them were sent again.
    frames: u64,
    again: u64,
}

async fn measure(
    session: &mut Session,
    args: &BenchArgs,
    dialect: Dialect,
    progress: &Progress,
) -> Result<Measured> {
    let mut commands = Vec::new();
    for _ in 0..args.count {
        let started = Instant::now();
        session.submit(Request::Exec(b"true".to_vec()))?;
        expect_success("a command", session.response().await?)?;
        commands.push(started.elapsed());
    }
    commands.sort();

    let before = session.stats().retransmitted();
    let started = Instant::now();
    session.submit(Request::File(path().into_bytes()))?;
    expect_success("the path", session.response().await?)?;
    let mut block = vec![0; LARGEST];
    StdRng::from_entropy().fill_bytes(&mut block);
    let (mut remaining, mut frames) = (args.size, 0);
    let per_frame = session.mtu().saturating_sub(dialect.header_len()).max(1);
    while remaining > 0 {
        let len = chunk::next_len(remaining, session.stats().max_data().min(LARGEST), SHORTEST);
        session.submit(Request::Data(block[..len].to_vec()))?;
        expect_success("the data", session.response().await?)?;
        remaining -= len as u64;
        frames += len.div_ceil(per_frame) as u64;
        progress.set(args.size - remaining);
    }
    let took = started.elapsed();
    let again = session.stats().retransmitted() - before;
    Ok(Measured { commands, bytes: args.size, took, frames, again })
}

fn expect_success(what: &str, response: Response) -> Result<()> {
    if response.code == Code::Success { Ok(()) } else { Err(refused(what, &response)) }
}

/// In the agent's memory, with the name by which it knows files that go away with
/// their session.
fn path() -> String {
    let mut random = rand::thread_rng();
    let name: String = (0..12).map(|_| char::from(random.sample(Alphanumeric))).collect();
    format!("/dev/shm/__cds_bms_tools_bench_{name}")
}

impl Measured {
    fn gigabits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.took.as_secs_f64().max(1e-9) / 1e9
    }

    /// Frames sent again as a share of those needed.
    fn loss(&self) -> f64 {
        self.again as f64 / self.frames.max(1) as f64
    }

    /// The command that took longer than this share of them.
    fn quantile(&self, share: f64) -> Duration {
        let last = self.commands.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.commands.get(at).copied().unwrap_or_default()
    }

    fn lines(&self, opening: Opening, link: &str) -> String {
        let [open, authenticate] = [opening.open, opening.authenticate].map(milliseconds);
        let [least, median, most] = [0.0, 0.5, 1.0].map(|q| milliseconds(self.quantile(q)));
        format!(
            "link:     {link} at this end\n\
             session:  open {open:.3} ms, authenticate {authenticate:.3} ms\n\
             command:  median {median:.3} ms, least {least:.3} ms, most {most:.3} ms ({} times \
             `true`)\n\
             push:     {:.3} Gb/s ({} bytes in {:.3} s)\n\
             loss:     {} of {} frames sent again ({:.3} %)",
            self.commands.len(),
            self.gigabits_per_second(),
            self.bytes,
            self.took.as_secs_f64(),
            self.again,
            self.frames,
            self.loss() * 100.0,
        )
    }

    fn json(&self, opening: Opening, link: &str) -> serde_json::Value {
        json!({
            "link": link,
            "open_ms": milliseconds(opening.open),
            "authenticate_ms": milliseconds(opening.authenticate),
            "command_ms": {
                "min": milliseconds(self.quantile(0.0)),
                "median": milliseconds(self.quantile(0.5)),
                "p95": milliseconds(self.quantile(0.95)),
                "max": milliseconds(self.quantile(1.0)),
                "count": self.commands.len(),
            },
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "gigabits_per_second": self.gigabits_per_second(),
            "frames": self.frames,
            "retransmitted": self.again,
            "loss": self.loss(),
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes of one request: what every agent takes.
const LARGEST: usize = 900_000;
/// Bytes of the last one: no dialect needs more.
const SHORTEST: usize = bmstools_proto::operator::MIN_V1_DATA;

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            commands: (1..=21).map(Duration::from_millis).collect(),
            bytes: 1_000_000_000,
            took: Duration::from_secs(4),
            frames: 1000,
            again: 5,
        }
    }

    #[test]
    fn the_result_tells_rate_loss_latency_and_link() {
        let step = Duration::from_millis(2);
        let opening = Opening { open: step, authenticate: step };
        let text = measured().lines(opening, "AF_PACKET");
        for wanted in ["AF_PACKET", "2.000 Gb/s", "5 of 1000", "0.500 %", "median 11.000 ms"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let json = measured().json(opening, "AF_PACKET");
        assert_eq!(json["gigabits_per_second"], 2.0);
        assert_eq!(json["command_ms"]["p95"], 20.0);
        assert_eq!(json["command_ms"]["max"], 21.0);
    }

    #[test]
    fn the_path_is_one_of_files_that_go_away() {
        assert!(path().contains("__cds_bms_tools"));
        assert_ne!(path(), path());
    }
}
