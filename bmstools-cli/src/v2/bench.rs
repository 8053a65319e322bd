//! `bmstools bench`: what this host, that agent and the network between them do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bmstools_proto::v2::message::Request;
use bmstools_proto::v2::message::status::{Measure, Measured, Ping, Pong};
use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::{answer, ask};
use crate::args::BenchArgs;
use crate::output::Failure;
use crate::progress::Progress;
use crate::v2::Host;

/// Measures requests, then a stream of bytes each way, on the host's session.
///
/// # Errors
///
/// Where the session fails.
pub(crate) async fn run(host: &Host, args: &BenchArgs) -> Result<u8, Failure> {
    let requests = requests(host, args.count).await?;
    let (there, back) = streams(host, args.size).await?;
    let stats = host.session().stats().await.unwrap_or_default();
    let measured = Outcome {
        requests,
        bytes: args.size,
        there,
        back,
        frames: stats.sent,
        lost: stats.lost,
        frame_size: stats.frame_size,
    };
    let (link, handshake) = (host.link(), host.handshake());
    host.result(measured.json(link, handshake), &measured.text(link, handshake))?;
    Ok(0)
}

/// How long each of so many answers took, in order of length.
async fn requests(host: &Host, count: u32) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut started = Instant::now();
    let (mut send, mut recv) = ask(host.session(), &Request::Ping(Ping { number: 0 })).await?;
    for number in 1..=u64::from(count) {
        answer::<Pong>(&mut recv).await?;
        took.push(started.elapsed());
        started = Instant::now();
        if number < u64::from(count) {
            send.send(&Ping { number }).await?;
        }
    }
    send.finish();
    took.sort();
    Ok(took)
}

/// How long `size` bytes took to get there, and as many to come back.
async fn streams(host: &Host, size: u64) -> Result<(Duration, Duration)> {
    let progress = host.progress(2 * size);
    let started = Instant::now();
    let (mut send, mut recv) =
        ask(host.session(), &Request::Measure(Measure { back: size })).await?;
    let block = Bytes::from(vec![0; BLOCK]);
    let mut left = size;
    while left > 0 {
        let len = left.min(BLOCK as u64);
        send.write(block.slice(..len as usize)).await?;
        left -= len;
        progress.set(size - left);
    }
    send.finish();
    let Measured { received } = answer(&mut recv).await?;
    ensure!(received == size, "the agent counted {received} bytes of {size}");
    let there = started.elapsed();
    let back = come_back(&mut recv, size, &progress).await?;
    Ok((there, back))
}

async fn come_back(
    recv: &mut bmstools_session::RecvStream,
    size: u64,
    progress: &Progress,
) -> Result<Duration> {
    let started = Instant::now();
    let mut come = 0;
    while let Some(data) = recv.read().await? {
        come += data.len() as u64;
        progress.set(size + come);
    }
    ensure!(come == size, "{come} bytes of {size} came back");
    Ok(started.elapsed())
}

/// What was measured.
#[derive(Debug)]
struct Outcome {
    requests: Vec<Duration>,
    bytes: u64,
    there: Duration,
    back: Duration,
    frames: u64,
    lost: u64,
    frame_size: usize,
}

impl Outcome {
    fn rate(&self, took: Duration) -> f64 {
        self.bytes as f64 * 8.0 / took.as_secs_f64().max(1e-9) / 1e9
    }

    /// The request that took longer than this share of them.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.requests.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        milliseconds(self.requests.get(at).copied().unwrap_or_default())
    }

    fn loss(&self) -> f64 {
        self.lost as f64 / self.frames.max(1) as f64
    }

    fn text(&self, link: &str, handshake: Duration) -> String {
        let [least, median, most] = [0.0, 0.5, 1.0].map(|share| self.quantile(share));
        let stream = |took: Duration| {
            let seconds = took.as_secs_f64();
            format!("{:.3} Gb/s ({} bytes in {seconds:.3} s)", self.rate(took), self.bytes)
        };
        format!(
            "link:     {link} at this end, frames of {} bytes\n\
             session:  established in {:.3} ms\n\
             request:  median {median:.3} ms, least {least:.3} ms, most {most:.3} ms ({} times)\n\
             there:    {}\n\
             back:     {}\n\
             loss:     {} of {} frames sent again ({:.3} %)",
            self.frame_size,
            milliseconds(handshake),
            self.requests.len(),
            stream(self.there),
            stream(self.back),
            self.lost,
            self.frames,
            self.loss() * 100.0,
        )
    }

    fn json(&self, link: &str, handshake: Duration) -> Value {
        json!({
            "link": link,
            "frame_size": self.frame_size,
            "handshake_ms": milliseconds(handshake),
            "request_ms": {
                "min": self.quantile(0.0),
                "median": self.quantile(0.5),
                "p95": self.quantile(0.95),
                "max": self.quantile(1.0),
                "count": self.requests.len(),
            },
            "bytes": self.bytes,
            "there": { "seconds": self.there.as_secs_f64(),
                       "gigabits_per_second": self.rate(self.there) },
            "back": { "seconds": self.back.as_secs_f64(),
                      "gigabits_per_second": self.rate(self.back) },
            "frames": self.frames,
            "retransmitted": self.lost,
            "loss": self.loss(),
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes written at a time.
const BLOCK: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_tells_rates_loss_latency_and_link() {
        let outcome = Outcome {
            requests: (1..=21).map(Duration::from_millis).collect(),
            bytes: 1_000_000_000,
            there: Duration::from_secs(4),
            back: Duration::from_secs(2),
            frames: 1000,
            lost: 5,
            frame_size: 1500,
        };
        let text = outcome.text("AF_PACKET", Duration::from_millis(3));
        for wanted in ["AF_PACKET", "2.000 Gb/s", "4.000 Gb/s", "5 of 1000", "median 11.000 ms"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let json = outcome.json("AF_PACKET", Duration::from_millis(3));
        assert_eq!(json["back"]["gigabits_per_second"], 4.0);
        assert_eq!(json["request_ms"]["p95"], 20.0);
    }
}
