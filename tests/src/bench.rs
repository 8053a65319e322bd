//! The benchmark: bmstools beside what one would use instead, by turns, between
//! two network namespaces.
//!
//! A section is a list of contestants that run in rounds; a contestant gives one
//! figure a run. The page `docs/benchmarks.md` says how to read the result.

#![allow(clippy::print_stdout, reason = "the benchmark's tables are its output")]

mod agent;
mod ceiling;
mod chart;
mod compare;
mod contest;
mod context;
mod cores;
mod cost;
mod document;
mod environment;
mod files;
mod job;
mod latency;
mod loss;
mod memory;
mod operator;
mod ours;
mod peers;
mod push;
mod results;
mod sealed;
mod select;
mod session;
mod sessions;
mod shared;
mod size;
mod small;
mod ssh;
mod stage;
mod table;
mod tools;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;

use self::context::Context;
use self::environment::Environment;
use self::results::{Report, Section};
use self::table::{Table, sentences};
use crate::{binaries, command, interrupt};

/// Measures bmstools beside what one would use instead
#[derive(Parser, Clone, Debug)]
#[command(name = "bench")]
pub struct Arguments {
    /// Small sizes and few rounds: under five minutes
    #[arg(long)]
    pub quick: bool,
    /// Only these sections and contestants
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub only: Vec<String>,
    /// Rounds of every section, however long they take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: Option<u32>,
    /// Bytes behind the Ethernet header, where the section does not say otherwise
    #[arg(long, value_name = "N", default_value = "1500",
          value_parser = clap::value_parser!(u32).range(576..=3498))]
    pub mtu: u32,
    /// Also write every run to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where benchmarks.md and its charts go [default: docs for a full run, else
    /// target/bench]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Measures what was asked for, prints it and writes the page.
///
/// # Errors
///
/// Without root, where something of our own does not work, and where a signal
/// came. A contestant that fails is no error: its row says so.
pub fn run(arguments: &Arguments) -> Result<()> {
    command::require_root()?;
    cores::require_two()?;
    binaries::agent().and_then(|_| binaries::operator())?;
    files::mount_memory()?;
    let context = Context::new(arguments)?;
    let environment = Environment::record(&context, arguments);
    let sections = measure(&context)?;
    context.progress.clear();
    let took_seconds = context.elapsed().as_secs_f64();
    let report = Report { environment, sections, took_seconds };
    let directory = directory(&context, arguments)?;
    let agreement = agreement(&report, &directory);
    println!("{agreement}\n");
    document::write(&report, &agreement, &directory)?;
    println!("The page, its charts and all runs are in {}.", directory.display());
    if let Some(file) = &arguments.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("All runs are in {}.", file.display());
    }
    println!("It took {:.1} minutes.", took_seconds / 60.0);
    Ok(())
}

type Measure = fn(&Context) -> Result<Vec<Section>>;

/// Every section that was asked for; each is printed once it is there.
fn measure(context: &Context) -> Result<Vec<Section>> {
    let all: [(&str, Measure); select::SECTIONS.len()] = [
        ("ceiling", ceiling::measure),
        ("memory", memory::measure),
        ("push", push::measure),
        ("latency", latency::measure),
        ("small-files", small::measure),
        ("cost", cost::measure),
        ("loss", loss::measure),
        ("shared", shared::measure),
        ("size", size::measure),
        ("sessions", sessions::measure),
        ("agent", agent::measure),
    ];
    let mut sections = Vec::new();
    for (id, measure) in all {
        interrupt::check()?;
        if !context.selection.takes_section(id) {
            continue;
        }
        let began = context.elapsed();
        let measured = measure(context);
        let took = context.elapsed().saturating_sub(began);
        context.progress.line(&format!("{id} took {:.0} s", took.as_secs_f64()));
        match measured {
            Ok(measured) => {
                for section in measured {
                    print(context, &section);
                    sections.push(section);
                }
            }
            Err(error) => {
                interrupt::check()?;
                context.progress.line(&format!("{id} could not be measured: {error:#}"));
            }
        }
    }
    Ok(sections)
}

fn print(context: &Context, section: &Section) {
    context.progress.clear();
    println!("\n{}\n\n{}", section.title, Table::of(section).plain());
    for sentence in sentences(section) {
        println!("{}", sentence.replace("**", ""));
    }
}

/// Only a full run may replace the page in the tree.
fn directory(context: &Context, arguments: &Arguments) -> Result<PathBuf> {
    let full = !context.quick
        && context.selection.is_everything()
        && arguments.runs.is_none()
        && arguments.mtu == 1500;
    match &arguments.out {
        Some(directory) => Ok(directory.clone()),
        None if full => Ok(PathBuf::from("docs")),
        None => Ok(binaries::target_directory()?.join("bench")),
    }
}

/// Whether this run agrees with the one whose results it replaces.
fn agreement(report: &Report, directory: &Path) -> String {
    let read = || -> Option<Report> {
        let before = fs::read(directory.join("benchmarks/runs.json")).ok()?;
        serde_json::from_slice(&before).ok()
    };
    let Some(before) = read() else {
        return "There is no run before this one to compare with.".to_owned();
    };
    let kind = |report: &Report| report.environment.settings.get("kind of run").cloned();
    let link = |report: &Report| report.environment.settings.get("link").cloned();
    if kind(&before) != kind(report) || link(&before) != link(report) {
        return "The run before this one had other settings.".to_owned();
    }
    match compare::disagreements(report, &before) {
        Some(found) => compare::sentence(&found, &before),
        None => "The run before this one measured other things.".to_owned(),
    }
}
