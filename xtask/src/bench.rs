//! The benchmark, which is a program of the tests crate.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, is_root, run as run_command, target};
use crate::setup;

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct BenchArgs {
    /// Small sizes and few rounds: under five minutes
    #[arg(long)]
    quick: bool,
    /// Only these sections (ceiling, memory, push, latency, small-files, cost, loss, shared,
    /// size, sessions, agent) and contestants (v1-xdp, scp, nc, …)
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Rounds of every section, however long they take
    #[arg(long, value_name = "N")]
    runs: Option<u32>,
    /// Bytes behind the Ethernet header
    #[arg(long, value_name = "N", default_value = "1500")]
    mtu: u32,
    /// Also write every run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where benchmarks.md and its charts go [default: docs for a full run, else
    /// target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl BenchArgs {
    /// The same for the benchmark itself, which runs in another directory.
    fn words(&self) -> Result<Vec<OsString>> {
        let mut words = vec!["--mtu".into(), self.mtu.to_string().into()];
        if self.quick {
            words.push("--quick".into());
        }
        for name in &self.only {
            words.extend(["--only".into(), name.into()]);
        }
        if let Some(runs) = self.runs {
            words.extend(["--runs".into(), runs.to_string().into()]);
        }
        for (option, path) in [("--json", &self.json), ("--out", &self.out)] {
            if let Some(path) = path {
                words.extend([option.into(), absolute(path)?.into_os_string()]);
            }
        }
        Ok(words)
    }
}

/// Installs what bmstools is compared with, builds everything and becomes the
/// benchmark.
///
/// # Errors
///
/// Where it cannot be built or started. What cannot be installed is absent from
/// the comparison.
pub(crate) fn run(root: &Path, args: &BenchArgs) -> Result<()> {
    ensure!(
        is_root(),
        "the benchmark makes network namespaces and loads an XDP program: run it as root"
    );
    setup::ensure_tools()?;
    setup::try_peers();
    println!("Building the agent, the operator's command and the benchmark.");
    run_command(cargo(root).args(["build", "--release"]).args([
        "--package=bmstools-agent",
        "--package=bmstools-cli",
        "--package=bmstools-tests",
        "--bins",
    ]))?;
    let programs = target(root).join("release");
    let mut bench = Command::new(programs.join("bench"));
    bench.current_dir(root).env("BMSTOOLS_BIN_DIR", &programs).args(args.words()?);
    Err(bench.exec()).context("cannot start the benchmark")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[test]
    fn every_option_reaches_the_benchmark_and_paths_become_absolute() {
        let given = "bench --quick --only push scp --runs 2 --json a.json --out /b --mtu 3498";
        let line = Line::parse_from(given.split(' '));
        let words = line.bench.words().unwrap();
        let text: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let json = absolute("a.json").unwrap();
        assert_eq!(
            text,
            [
                "--mtu",
                "3498",
                "--quick",
                "--only",
                "push",
                "--only",
                "scp",
                "--runs",
                "2",
                "--json",
                json.to_str().unwrap(),
                "--out",
                "/b",
            ]
        );
    }
}
