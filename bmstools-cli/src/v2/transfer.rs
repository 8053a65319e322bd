//! What pushes and pulls have in common: attempts, progress, the summary.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bmstools_files::{Progress, Summary, TransferError};
use bmstools_proto::v2::message::files::{Owner, PutOptions};
use bmstools_proto::v2::message::{self, FailureCode};
use bmstools_session::Session;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Host;
use crate::args::size;
use crate::output::Failure;

/// Options of both.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Copy a directory with all in it
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Do not replace files that are there: the copy fails instead
    #[arg(long)]
    pub(crate) no_clobber: bool,
    /// Give files these permissions, in octal, and not their own
    #[arg(long, value_parser = mode)]
    pub(crate) mode: Option<u32>,
    /// Give everything this owner, by names or numbers that are looked up where the copy
    /// is made, and not the source's number
    #[arg(long, value_name = "USER[:GROUP]", value_parser = owner)]
    pub(crate) owner: Option<Ownership>,
    /// Send no more than so many bytes a second: a number, or one with K, M or G behind it
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(crate) rate: Option<u64>,
    /// How often to connect again, in a row and in vain, where the connection breaks. What
    /// has arrived is not sent again, neither then nor by the same command later
    #[arg(long, value_name = "N", default_value = "20")]
    pub(crate) retries: u32,
}

impl TransferArgs {
    /// The options given that version 1 does not have.
    pub(crate) fn only_v2(&self) -> Vec<&'static str> {
        let given = [
            ("--recursive", self.recursive),
            ("--no-clobber", self.no_clobber),
            ("--mode", self.mode.is_some()),
            ("--owner", self.owner.is_some()),
            ("--rate", self.rate.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    /// For the receiver; `again` where an attempt was made before.
    pub(crate) fn options(&self, again: bool) -> PutOptions {
        let owner = self.owner.clone().unwrap_or_default();
        PutOptions {
            no_clobber: self.no_clobber,
            mode: self.mode,
            user: owner.user,
            group: owner.group,
            again,
        }
    }
}

/// An owner, a group, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ownership {
    user: Option<Owner>,
    group: Option<Owner>,
}

/// Makes attempts until one succeeds, or fails for another reason than its connection.
/// `attempt` gets a session, its number, and what to count with.
///
/// # Errors
///
/// Where none succeeds, or not everything arrives.
pub(crate) async fn run<F>(
    host: &Host,
    args: &TransferArgs,
    attempt: impl Fn(Session, bool, Arc<Progress>) -> F,
) -> Result<u8, Failure>
where
    F: Future<Output = Result<Summary, TransferError>>,
{
    let mut total = Total::new();
    let progress = Arc::new(Progress::default());
    let bar = host.progress(0);
    let (mut session, mut again, mut vain) = (host.session().clone(), false, 0);
    let summary = loop {
        session.set_rate(args.rate);
        let result = tokio::select! {
            result = attempt(session.clone(), again, Arc::clone(&progress)) => result,
            never = show(&bar, &progress, &session, total.resent) => match never {},
        };
        total.attempts += 1;
        total.resent += session.stats().await.map_or(0, |stats| stats.lost);
        if again {
            let _ = timeout(GOODBYE, session.close(0, "")).await;
        }
        let error = match result {
            Ok(summary) => break summary,
            Err(error) if error.is_interruption() => error,
            Err(error) => return Err(anyhow::Error::new(error).into()),
        };
        if progress.done() > 0 {
            vain = 0;
        }
        host.warn(&format!("the connection broke: {error}; connecting again"));
        session = reconnect(host, args.retries, &mut vain, error).await?;
        again = true;
    };
    drop(bar);
    tell(host, &total, &summary)
}

async fn reconnect(
    host: &Host,
    retries: u32,
    vain: &mut u32,
    error: TransferError,
) -> Result<Session, Failure> {
    let mut last = anyhow::Error::new(error);
    while *vain < retries {
        sleep((PAUSE * 2_u32.saturating_pow(*vain)).min(LONGEST_PAUSE)).await;
        *vain += 1;
        match host.reconnect().await? {
            Ok(session) => return Ok(session),
            Err(reason) => last = anyhow::Error::new(reason),
        }
    }
    let advice = "the connection broke; the same command goes on where this one stopped";
    Err(last.context(advice).into())
}

/// The failure for a thread that ended in a panic.
pub(crate) fn broken(error: tokio::task::JoinError) -> TransferError {
    let message = format!("a thread of the transfer: {error}");
    message::Failure { code: FailureCode::Other, message }.into()
}

/// Redraws the bar for ever.
async fn show(
    bar: &crate::progress::Progress,
    progress: &Progress,
    session: &Session,
    before: u64,
) -> Infallible {
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let lost = session.stats().await.map_or(0, |stats| stats.lost);
        bar.show(progress.done(), progress.total(), before + lost);
    }
}

/// Sums over all attempts.
struct Total {
    started: Instant,
    attempts: u32,
    /// Frames.
    resent: u64,
}

impl Total {
    fn new() -> Self {
        Self { started: Instant::now(), attempts: 0, resent: 0 }
    }
}

/// Prints the summary; fails where not everything is in place.
fn tell(host: &Host, total: &Total, summary: &Summary) -> Result<u8, Failure> {
    for (path, kind) in &summary.skipped {
        host.warn(&format!("skipped the {kind} {}", String::from_utf8_lossy(path)));
    }
    for failure in &summary.failures {
        host.warn(&failure.message);
    }
    if !host.quiet() || host.json() {
        let took = total.started.elapsed();
        host.result(as_json(total, summary, took), &line(total, summary, took))?;
    }
    if summary.failed > 0 {
        let first = summary.failures.first().map_or("", |failure| failure.message.as_str());
        let all = summary.entries + summary.failed;
        let message = format!("{} of {all} entries were not copied: {first}", summary.failed);
        return Err(anyhow!(message).into());
    }
    Ok(0)
}

/// For people, in one line.
fn line(total: &Total, summary: &Summary, took: Duration) -> String {
    let mut line = format!(
        "{}: {} bytes in {:.3} s ({}/s), {} frames sent again",
        String::from_utf8_lossy(&summary.path),
        summary.bytes,
        took.as_secs_f64(),
        HumanBytes(rate(summary.bytes, took) as u64),
        total.resent,
    );
    if summary.entries != 1 {
        line.push_str(&format!(", {} entries", summary.entries));
    }
    if summary.resumed > 0 {
        line.push_str(&format!(", {} bytes were there", summary.resumed));
    }
    if summary.skipped_count > 0 {
        line.push_str(&format!(", {} skipped", summary.skipped_count));
    }
    line
}

/// For programs.
fn as_json(total: &Total, summary: &Summary, took: Duration) -> Value {
    json!({
        "path": String::from_utf8_lossy(&summary.path),
        "bytes": summary.bytes,
        "seconds": took.as_secs_f64(),
        "bytes_per_second": rate(summary.bytes, took),
        "retransmitted": total.resent,
        "entries": summary.entries,
        "sent": summary.sent,
        "resumed": summary.resumed,
        "attempts": total.attempts,
        "skipped": summary.skipped_count,
        "failed": summary.failed,
        "failures": summary.failures.iter().map(|failure| &failure.message).collect::<Vec<_>>(),
    })
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64().max(1e-9)
}

fn mode(text: &str) -> Result<u32, String> {
    let octal = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(octal, 8) {
        Ok(mode) if mode <= 0o7777 && !octal.starts_with('+') => Ok(mode),
        _ => Err("give permissions in octal, as in 0644 or 4755".to_owned()),
    }
}

fn owner(text: &str) -> Result<Ownership, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let one = |text: &str| match text.parse() {
        _ if text.is_empty() => None,
        Ok(id) => Some(Owner::Id(id)),
        Err(_) => Some(Owner::Name(text.to_owned())),
    };
    let owner = Ownership { user: one(user), group: one(group) };
    if owner == Ownership::default() || group.contains(':') {
        return Err("give a user, a user and a group as in www:www, or :group".to_owned());
    }
    Ok(owner)
}

/// Often enough for the eye.
const REDRAW: Duration = Duration::from_millis(100);
/// Before the first attempt to connect again; twice as long before each other.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long an agent may take to confirm a goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0644"), Ok(0o644));
        assert_eq!(mode("4755"), Ok(0o4755));
        for bad in ["", "8", "10000", "rw-", "-1", "+7", "0x1"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_are_names_or_numbers() {
        let both = |user, group| Ok(Ownership { user, group });
        assert_eq!(owner("www"), both(Some(Owner::Name("www".into())), None));
        assert_eq!(owner("0:adm"), both(Some(Owner::Id(0)), Some(Owner::Name("adm".into()))));
        assert_eq!(owner(":7"), both(None, Some(Owner::Id(7))));
        for bad in ["", ":", "a:b:c"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_summary_names_what_matters() {
        let total = Total { resent: 7, ..Total::new() };
        let summary =
            Summary { entries: 1, bytes: 3 << 20, path: b"/tmp/x".to_vec(), ..Summary::default() };
        let took = Duration::from_millis(1500);
        assert_eq!(
            line(&total, &summary, took),
            "/tmp/x: 3145728 bytes in 1.500 s (2.00 MiB/s), 7 frames sent again"
        );
        let tree = Summary { entries: 4, resumed: 5, skipped_count: 1, ..summary };
        let shown = line(&total, &tree, took);
        assert!(shown.ends_with(", 4 entries, 5 bytes were there, 1 skipped"), "{shown}");
        assert_eq!(as_json(&total, &tree, took)["bytes_per_second"], 2.0 * 1024.0 * 1024.0);
    }
}
