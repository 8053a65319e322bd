//! One command on any number of servers.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bmstools_proto::v2::CloseReason;
use bmstools_session::SessionError;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::connect::{Link, Links, NOT_AUTHORIZED, Wanted};
use super::host::named;
use super::interrupts::{Interrupter, Interrupts};
use super::plan::{self, Planned};
use super::show::{Screen, Shown, Stream};
use super::{Host, check, on_host, takes_signals};
use crate::args::{Command, Common};
use crate::output::{Failure, Output, one_line};
use crate::signals::Signals;

/// Does what `command` says on every target; returns the worst exit code.
///
/// # Errors
///
/// Where the targets cannot be told, or the only one fails.
pub(crate) async fn run(
    common: &Common,
    command: Command,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    check(&command)?;
    let mut links = Links::new(common.link.into(), common.connect_timeout);
    let planned = plan::make(common, &mut links)?;
    let names: Vec<String> = planned.iter().map(|host| host.name.clone()).collect();
    let bars = !output.quiet && !output.json;
    let screen = Screen::new(names.iter().map(String::as_str), bars, common.grouped);
    let fleet = Rc::new(Fleet {
        command,
        output: *output,
        screen: Arc::new(screen),
        several: planned.len() > 1,
        slots: Semaphore::new(common.parallel.into()),
    });
    let outcomes = LocalSet::new().run_until(fleet.clone().work(planned, signals)).await;
    links.close().await;
    let mut outcomes = names.into_iter().zip(outcomes).collect::<Vec<_>>();
    if !fleet.several
        && let Some((_, outcome)) = outcomes.pop()
    {
        return outcome;
    }
    if let Some(summary) = summary(&outcomes) {
        let _ = fleet.screen.write(Stream::Stderr, format!("bmstools: {summary}\n").as_bytes());
    }
    Ok(worst(outcomes.iter().map(|(_, outcome)| outcome)))
}

/// What all hosts share.
struct Fleet {
    command: Command,
    output: Output,
    screen: Arc<Screen>,
    several: bool,
    slots: Semaphore,
}

impl Fleet {
    /// What came of each, in the order planned.
    async fn work(
        self: Rc<Self>,
        planned: Vec<Planned>,
        signals: &mut Signals,
    ) -> Vec<Result<u8, Failure>> {
        let broken = || Err(anyhow!("the work on it broke off; please report this").into());
        let mut outcomes: Vec<Result<u8, Failure>> = planned.iter().map(|_| broken()).collect();
        let (interrupter, interrupts) = Interrupter::new();
        let mut tasks = JoinSet::new();
        for (index, host) in planned.into_iter().enumerate() {
            let (fleet, interrupts) = (Rc::clone(&self), interrupts.clone());
            tasks.spawn_local(async move {
                let name = host.name.clone();
                let outcome = fleet.one(host, interrupts).await;
                if let (true, Err(failure)) = (fleet.several, &outcome) {
                    fleet.tell(&name, failure);
                }
                (index, outcome)
            });
        }
        loop {
            tokio::select! {
                joined = tasks.join_next() => match joined {
                    None => return outcomes,
                    Some(Ok((index, outcome))) => outcomes[index] = outcome,
                    Some(Err(_)) => {}
                },
                signal = signals.next() => interrupter.send(signal),
            }
        }
    }

    /// Everything about one host.
    async fn one(&self, planned: Planned, mut interrupts: Interrupts) -> Result<u8, Failure> {
        let Planned { name, wanted, link } = planned;
        let _slot = tokio::select! {
            biased;
            signal = interrupts.next() => return Err(Failure::Interrupted(signal)),
            slot = self.slots.acquire() => slot.context("no slot")?,
        };
        let link = link?;
        let spinner = self.spinner(&name);
        let (session, handshake) = tokio::select! {
            biased;
            signal = interrupts.next() => return Err(Failure::Interrupted(signal)),
            connected = link.connect(&wanted) => connected?,
        };
        spinner.0.set_message("at work");
        if matches!(self.command, Command::Push(_) | Command::Pull(_) | Command::Bench(_)) {
            // It shows bars of its own.
            drop(spinner);
        }
        let host = Host {
            session: session.clone(),
            handshake,
            link: Arc::clone(&link),
            wanted: wanted.clone(),
            output: self.output,
            screen: Arc::clone(&self.screen),
            shown: self.several.then(|| Shown::new(&name)),
            signals: Mutex::new(interrupts.clone()),
            name,
        };
        let outcome = if takes_signals(&self.command) {
            on_host(&host, &self.command).await
        } else {
            tokio::select! {
                biased;
                signal = interrupts.next() => Err(Failure::Interrupted(signal)),
                outcome = on_host(&host, &self.command) => outcome,
            }
        };
        let shown = host.shown.as_ref().map_or(Ok(()), |shown| shown.finish(&self.screen));
        drop(host);
        // Whoever does not confirm it in time has still been told.
        let _ = timeout(GOODBYE, session.close(0, "")).await;
        let code = outcome.map_err(|failure| explained(failure, &link, &wanted))?;
        shown?;
        Ok(code)
    }

    fn spinner(&self, name: &str) -> Spinner {
        if !self.several {
            return Spinner(ProgressBar::hidden());
        }
        // Complete before it is added: from there on it is drawn.
        let bar = ProgressBar::new_spinner()
            .with_prefix(self.screen.padded(name))
            .with_message("connecting");
        if let Ok(style) = indicatif::ProgressStyle::with_template("{prefix} {spinner} {msg}") {
            bar.set_style(style);
        }
        let bar = self.screen.bars().add(bar);
        bar.enable_steady_tick(Duration::from_millis(120));
        Spinner(bar)
    }

    /// Tells what became of one of several.
    fn tell(&self, name: &str, failure: &Failure) {
        if matches!(failure, Failure::Interrupted(_)) {
            return;
        }
        let message = one_line(&failure.to_string());
        let line = format!("bmstools: {name}: {message}\n");
        let _ = self.screen.write(Stream::Stderr, line.as_bytes());
        if self.output.json {
            let line = format!("{}\n", named(name, json!({ "error": message })));
            let _ = self.screen.write(Stream::Stdout, line.as_bytes());
        }
    }
}

/// A host's line while there is nothing better to show. Gone when dropped.
struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// An agent that finds a key removed says so once the session is established.
fn explained(failure: Failure, link: &Link, wanted: &Wanted) -> Failure {
    let Failure::Other(error) = &failure else { return failure };
    let refused = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(SessionError::Ended(reason @ CloseReason::Peer { code: NOT_AUTHORIZED, .. })) => {
            Some(reason.clone())
        }
        _ => None,
    };
    match error.chain().find_map(refused) {
        Some(reason) => link.explain(wanted, reason).into(),
        None => failure,
    }
}

/// How several hosts fared, where not all is well.
fn summary(outcomes: &[(String, Result<u8, Failure>)]) -> Option<String> {
    let named = |wanted: &dyn Fn(&Result<u8, Failure>) -> bool| {
        let hosts = outcomes.iter().filter(|(_, outcome)| wanted(outcome));
        hosts.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    let done = named(&|outcome| matches!(outcome, Ok(0)));
    if done.len() == outcomes.len() {
        return None;
    }
    let mut text = format!("{} of {} servers done", done.len(), outcomes.len());
    for (what, hosts) in [
        ("failed", named(&|outcome| matches!(outcome, Err(Failure::Other(_) | Failure::Usage(_))))),
        ("interrupted", named(&|outcome| matches!(outcome, Err(Failure::Interrupted(_))))),
    ] {
        if !hosts.is_empty() {
            let _ = write!(text, "; {} {what}: {}", hosts.len(), hosts.join(", "));
        }
    }
    let coded = outcomes.iter().filter_map(|(name, outcome)| match outcome {
        Ok(code) if *code != 0 => Some(format!("{name} ({code})")),
        _ => None,
    });
    let coded: Vec<_> = coded.collect();
    if !coded.is_empty() {
        let _ = write!(text, "; {} with an exit code: {}", coded.len(), coded.join(", "));
    }
    Some(text)
}

/// The exit code for all: a signal's, else the highest.
fn worst<'a>(outcomes: impl Iterator<Item = &'a Result<u8, Failure>>) -> u8 {
    let mut worst = 0;
    for outcome in outcomes {
        match outcome {
            Err(Failure::Interrupted(signal)) => return signal.exit_code(),
            Err(failure) => worst = worst.max(failure.exit_code()),
            Ok(code) => worst = worst.max(*code),
        }
    }
    worst
}

/// How long an agent may take to confirm a goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Signal;

    fn outcomes() -> Vec<(String, Result<u8, Failure>)> {
        let named = |name: &str, outcome| (name.to_owned(), outcome);
        vec![
            named("web1", Ok(0)),
            named("web2", Err(anyhow!("no answer").into())),
            named("web3", Ok(3)),
        ]
    }

    fn worst_of(outcomes: &[(String, Result<u8, Failure>)]) -> u8 {
        worst(outcomes.iter().map(|(_, outcome)| outcome))
    }

    #[test]
    fn the_summary_names_everybody_who_is_not_done() {
        assert_eq!(
            summary(&outcomes()).unwrap(),
            "1 of 3 servers done; 1 failed: web2; 1 with an exit code: web3 (3)"
        );
        assert_eq!(summary(&outcomes()[..1]), None);
    }

    #[test]
    fn the_worst_exit_code_counts_and_a_signal_more_than_any() {
        let mut outcomes = outcomes();
        assert_eq!(worst_of(&outcomes), 255);
        assert_eq!(worst_of(&outcomes[2..]), 3);
        outcomes.push(("web4".into(), Err(Failure::Interrupted(Signal::Terminate))));
        assert_eq!(worst_of(&outcomes), 143);
    }
}
