//! Contestants that take turns.

use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use super::context::Context;
use super::cores::Busy;
use super::results::{CEILING, Row, Run, Section, Unit};
use crate::interrupt;

/// What a contestant is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// To fill caches, and to be checked byte for byte. Its time does not count;
    /// it may be shorter.
    WarmUp,
    /// To be measured.
    Measured,
}

/// What is measured by turns with others.
pub(crate) struct Contestant<'a> {
    name: String,
    point: String,
    x: Option<f64>,
    note: String,
    absent: Option<String>,
    run: Box<dyn FnMut(Turn) -> Result<Vec<Run>> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant with the name that `--only` takes.
    pub(crate) fn new(name: &str, mut run: impl FnMut(Turn) -> Result<Run> + 'a) -> Self {
        Self::several(name, move |turn| Ok(vec![run(turn)?]))
    }

    /// One that gives several figures a turn.
    pub(crate) fn several(name: &str, run: impl FnMut(Turn) -> Result<Vec<Run>> + 'a) -> Self {
        Self {
            name: name.to_owned(),
            point: String::new(),
            x: None,
            note: String::new(),
            absent: None,
            run: Box::new(run),
        }
    }

    /// One that cannot be had here.
    pub(crate) fn absent(name: &str, why: impl Into<String>) -> Self {
        let mut absent = Self::several(name, |_| Ok(Vec::new()));
        absent.absent = Some(why.into());
        absent
    }

    /// By another name.
    #[must_use]
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// At this point: what to call it, and the same as a number.
    #[must_use]
    pub(crate) fn at(mut self, point: impl Into<String>, x: f64) -> Self {
        self.point = point.into();
        self.x = Some(x);
        self
    }

    /// The same with `around` called instead, which gets the turn and the run.
    #[must_use]
    pub(crate) fn around(
        mut self,
        mut around: impl FnMut(Turn, &mut dyn FnMut(Turn) -> Result<Vec<Run>>) -> Result<Vec<Run>> + 'a,
    ) -> Self {
        let mut run = self.run;
        self.run = Box::new(move |turn| around(turn, &mut run));
        self
    }

    /// With something to know about it.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// How a section is measured.
pub(crate) struct Contest<'t> {
    /// For programs.
    pub(crate) id: &'t str,
    /// For people.
    pub(crate) title: &'t str,
    /// What was done.
    pub(crate) explanation: String,
    /// What the values are.
    pub(crate) unit: Unit,
    /// The contestant that the others are compared with.
    pub(crate) reference: &'t str,
    /// Rounds wanted.
    pub(crate) rounds: u32,
    /// When to begin no further round, though one is always run.
    pub(crate) budget: Duration,
}

impl Contest<'_> {
    /// Runs everybody in turns: A B C, A B C. `None` where nobody was chosen.
    ///
    /// # Errors
    ///
    /// Where a signal came. A contestant's failure is in its row.
    pub(crate) fn run(
        self,
        context: &Context,
        contestants: Vec<Contestant<'_>>,
    ) -> Result<Option<Section>> {
        let chosen = |one: &Contestant<'_>| {
            one.name == CEILING || context.selection.takes_contestant(&one.name)
        };
        let mut entered: Vec<Entered<'_>> =
            contestants.into_iter().filter(chosen).map(Entered::new).collect();
        if entered.iter().all(|one| one.contestant.name == CEILING) {
            return Ok(None);
        }
        let started = Instant::now();
        self.turn(context, "warm-up", Turn::WarmUp, &mut entered)?;
        let rounds = context.rounds(self.rounds);
        let measured = Instant::now();
        for round in 0..rounds {
            // What one round took on average so far.
            let next = measured.elapsed().checked_div(round).unwrap_or_default();
            let late = started.elapsed() + next > self.budget || context.is_over(next);
            if round > 0 && late && !context.rounds_were_asked_for() {
                context
                    .progress
                    .line(&format!("{}: {round} of {rounds} rounds, to keep the time", self.title));
                break;
            }
            self.turn(context, &format!("{}/{rounds}", round + 1), Turn::Measured, &mut entered)?;
        }
        Ok(Some(Section {
            id: self.id.to_owned(),
            title: self.title.to_owned(),
            explanation: self.explanation,
            unit: self.unit,
            reference: self.reference.to_owned(),
            rows: entered.into_iter().map(Entered::into_row).collect(),
        }))
    }

    fn turn(
        &self,
        context: &Context,
        round: &str,
        turn: Turn,
        entered: &mut [Entered<'_>],
    ) -> Result<()> {
        let mut warm: Vec<String> = Vec::new();
        for one in entered {
            interrupt::check()?;
            if one.is_out() {
                continue;
            }
            // Once is enough, whatever the number of points.
            if turn == Turn::WarmUp {
                if warm.contains(&one.contestant.name) {
                    continue;
                }
                warm.push(one.contestant.name.clone());
            }
            let label = one.label();
            context.progress.status(&format!("{}  {round}  {label}", self.title));
            match (one.contestant.run)(turn) {
                Ok(runs) if turn == Turn::Measured => one.runs.extend(runs),
                Ok(_) => {}
                Err(error) => {
                    interrupt::check()?;
                    context.progress.line(&format!("{}: {label}: {error:#}", self.title));
                    one.failures.push(error);
                }
            }
        }
        Ok(())
    }
}

/// A contestant and what it did so far.
struct Entered<'a> {
    contestant: Contestant<'a>,
    runs: Vec<Run>,
    failures: Vec<Error>,
}

impl<'a> Entered<'a> {
    fn new(contestant: Contestant<'a>) -> Self {
        Self { contestant, runs: Vec::new(), failures: Vec::new() }
    }

    fn is_out(&self) -> bool {
        self.contestant.absent.is_some() || self.failures.len() >= MOST_FAILURES
    }

    fn label(&self) -> String {
        let Contestant { name, point, .. } = &self.contestant;
        if point.is_empty() { name.clone() } else { format!("{name}, {point}") }
    }

    fn into_row(self) -> Row {
        let Contestant { name, point, x, note, absent, .. } = self.contestant;
        let failed = self.failures.last().map(|error| {
            let text = format!("{error:#}");
            let first = text.lines().next().unwrap_or_default();
            format!("failed {} times, the last time: {first}", self.failures.len())
        });
        Row { name, point, x, note, runs: self.runs, problem: absent.or(failed) }
    }
}

/// Takes the time of `work`, and of both cores meanwhile.
///
/// # Errors
///
/// That of `work`.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64, [f64; 2])> {
    let busy = Busy::now()?;
    let started = Instant::now();
    let done = work()?;
    let seconds = started.elapsed().as_secs_f64();
    Ok((done, seconds, busy.elapsed()?))
}

/// A contestant that failed so often is not asked again.
const MOST_FAILURES: usize = 2;
