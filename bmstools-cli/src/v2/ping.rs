//! `bmstools ping`: how far away an agent is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bmstools_proto::v2::SessionStats;
use bmstools_proto::v2::message::Request;
use bmstools_proto::v2::message::status::{Ping, Pong};
use bmstools_session::{RecvStream, SendStream};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::ask::{answer, ask};
use crate::args::seconds;
use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// How many [default: 4]; in v1, how many sessions, one after the other [default: 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// Seconds from one to the next [default: 0.2]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) interval: Option<Duration>,
}

impl PingArgs {
    /// The options given that version 1 does not have.
    pub(crate) fn only_v2(&self) -> Vec<&'static str> {
        self.interval.iter().map(|_| "--interval").collect()
    }
}

/// Measures the way there and back, on one session.
///
/// # Errors
///
/// Where the session fails or nothing comes back.
pub(crate) async fn run(host: &Host, args: &PingArgs) -> Result<u8, Failure> {
    let count = args.count.unwrap_or(COUNT);
    let (send, recv) = ask(host.session(), &Request::Ping(Ping { number: 0 })).await?;
    let mut pings = Pings { host, send, recv, under_way: HashMap::new(), times: Vec::new() };
    pings.under_way.insert(0, Instant::now());
    pings.exchange(count, args.interval.unwrap_or(INTERVAL)).await?;
    let Pings { mut send, times, .. } = pings;
    send.finish();
    if times.is_empty() {
        return Err(anyhow!("none of {count} pings was answered").into());
    }
    let stats = host.session().stats().await.unwrap_or_default();
    let summary = Summary::new(count, &times, host.handshake(), &stats);
    host.result(summary.json(), &summary.text())?;
    Ok(0)
}

struct Pings<'a> {
    host: &'a Host,
    send: SendStream,
    recv: RecvStream,
    /// When those were sent that are not answered.
    under_way: HashMap<u64, Instant>,
    times: Vec<Duration>,
}

impl Pings<'_> {
    /// Sends all but the first, and waits for the answers.
    async fn exchange(&mut self, count: u32, pause: Duration) -> Result<()> {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut next = 1;
        let mut by = Instant::now() + LAST_ANSWER;
        while next < count || !self.under_way.is_empty() {
            tokio::select! {
                pong = answer::<Pong>(&mut self.recv) => self.answered(pong?)?,
                _ = ticks.tick(), if next < count => {
                    let number = u64::from(next);
                    self.under_way.insert(number, Instant::now());
                    self.send.send(&Ping { number }).await?;
                    next += 1;
                    by = Instant::now() + LAST_ANSWER;
                }
                () = sleep_until(by.into()), if next == count => break,
            }
        }
        Ok(())
    }

    fn answered(&mut self, pong: Pong) -> Result<()> {
        let Some(sent) = self.under_way.remove(&pong.number) else { return Ok(()) };
        let took = sent.elapsed();
        self.times.push(took);
        if !self.host.json() && !self.host.quiet() {
            let line = format!(
                "answer {} from {}: {:.3} ms\n",
                pong.number + 1,
                self.host.session().peer(),
                milliseconds(took)
            );
            self.host.stdout(line.as_bytes())?;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Debug)]
struct Summary {
    sent: u32,
    answered: usize,
    /// Least, mean, greatest and standard deviation, in milliseconds.
    round_trip: [f64; 4],
    handshake: Duration,
    frames: u64,
    lost: u64,
}

impl Summary {
    fn new(sent: u32, times: &[Duration], handshake: Duration, stats: &SessionStats) -> Self {
        let times: Vec<f64> = times.iter().copied().map(milliseconds).collect();
        let count = times.len().max(1) as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = times.iter().copied().fold(0.0, f64::max);
        Self {
            sent,
            answered: times.len(),
            round_trip: [least, mean, greatest, variance.sqrt()],
            handshake,
            frames: stats.sent,
            lost: stats.lost,
        }
    }

    fn text(&self) -> String {
        let [min, avg, max, mdev] = self.round_trip;
        let unanswered = self.sent as usize - self.answered.min(self.sent as usize);
        format!(
            "{} sent, {} answered, {:.0} % unanswered; {} of {} frames sent again\n\
             round trip min/avg/max/mdev {min:.3}/{avg:.3}/{max:.3}/{mdev:.3} ms; \
             session established in {:.3} ms",
            self.sent,
            self.answered,
            100.0 * unanswered as f64 / f64::from(self.sent.max(1)),
            self.lost,
            self.frames,
            milliseconds(self.handshake),
        )
    }

    fn json(&self) -> Value {
        let [min, avg, max, mdev] = self.round_trip;
        json!({
            "sent": self.sent,
            "answered": self.answered,
            "round_trip_ms": { "min": min, "avg": avg, "max": max, "mdev": mdev },
            "handshake_ms": milliseconds(self.handshake),
            "frames": self.frames,
            "frames_lost": self.lost,
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

const COUNT: u32 = 4;
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the last one is waited for.
const LAST_ANSWER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_pings() {
        let times = [1, 2, 3, 6].map(Duration::from_millis);
        let stats = SessionStats { sent: 20, lost: 1, ..SessionStats::default() };
        let summary = Summary::new(5, &times, Duration::from_millis(7), &stats);
        assert_eq!(
            summary.text(),
            "5 sent, 4 answered, 20 % unanswered; 1 of 20 frames sent again\n\
             round trip min/avg/max/mdev 1.000/3.000/6.000/1.871 ms; session established in 7.000 ms"
        );
        assert_eq!(summary.json()["round_trip_ms"]["max"], 6.0);
    }
}
