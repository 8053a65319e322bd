//! Everything that a change must pass.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, is_root, run as run_command, target};
use crate::toolchain::Toolchain;
use crate::{ebpf, fuzz, setup, vm};

/// What to test.
#[derive(clap::Args, Debug)]
pub(crate) struct TestArgs {
    /// Then run the whole system on other kernels, in an emulated machine
    #[arg(long)]
    vm: bool,
    /// Leave the system tests out
    #[arg(long)]
    quick: bool,
    /// Run only tests whose names contain one of these, and no lints
    filter: Vec<String>,
    #[command(flatten)]
    machine: vm::VmArgs,
}

/// Runs the steps in order and says how long each took.
///
/// # Errors
///
/// At the first step that fails.
pub(crate) fn run(root: &Path, args: &TestArgs) -> Result<()> {
    ensure!(
        is_root(),
        "the tests load XDP programs and make network namespaces: run `cargo xtask test` as root"
    );
    let mut steps = Steps::default();
    steps.run("what testing needs", || {
        setup::ensure_ebpf(root)?;
        setup::ensure_tools()?;
        if args.vm { setup::ensure_vm() } else { Ok(()) }
    })?;
    if args.machine.is_choice() {
        release_build(root, &mut steps)?;
        return steps.run("other kernels, emulated", || vm::run(root, &args.machine));
    }
    if args.filter.is_empty() {
        lint(root, &mut steps)?;
        steps.run("the compiled XDP program is up to date", || ebpf::check(root))?;
    }
    steps.run("unit and property tests", || {
        let packages = ["test", "--workspace", "--exclude=bmstools-tests"];
        run_command(cargo(root).args(packages).arg("--").args(&args.filter))
    })?;
    if args.filter.is_empty() {
        steps.run("fuzz targets on their corpora", || fuzz::replay(root))?;
    }
    release_build(root, &mut steps)?;
    if !args.quick {
        steps.run("system tests", || {
            let mut tests = cargo(root);
            tests.args(["test", "--release", "--package=bmstools-tests"]);
            tests.env("BMSTOOLS_BIN_DIR", target(root).join("release"));
            run_command(tests.arg("--").args(&args.filter))
        })?;
    }
    if args.vm {
        steps.run("other kernels, emulated", || vm::run(root, &args.machine))?;
    }
    steps.summary();
    Ok(())
}

fn release_build(root: &Path, steps: &mut Steps) -> Result<()> {
    steps.run("release build", || run_command(cargo(root).args(["build", "--release"])))
}

fn lint(root: &Path, steps: &mut Steps) -> Result<()> {
    steps.run("formatting", || {
        run_command(cargo(root).args(["fmt", "--all", "--check"]))?;
        run_command(cargo(&root.join("bmstools-ebpf")).args(["fmt", "--check"]))?;
        run_command(cargo(&root.join("fuzz")).args(["fmt", "--check"]))
    })?;
    steps.run("lints", || {
        let everything = ["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"];
        run_command(cargo(root).args(everything))?;
        let mut targets = cargo(&root.join("fuzz"));
        targets.args(["clippy", "--all-targets", "--target-dir"]).arg(target(root));
        run_command(targets.args(["--", "-Dwarnings"]))
    })?;
    steps.run("lints of the XDP program", || {
        let toolchain = Toolchain::find()?;
        let mut clippy: Command = toolchain.clippy(&root.join("bmstools-ebpf"))?;
        ebpf::arguments(root, &toolchain, &mut clippy)?;
        run_command(clippy.args(["--", "-Dwarnings"]))
    })
}

/// Steps that were run, and how long each took.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("==> {name}");
        let started = Instant::now();
        step().with_context(|| format!("{name}: failed after {:.1?}", started.elapsed()))?;
        let took = started.elapsed();
        println!("==> {name}: passed in {took:.1?}\n");
        self.done.push((name, took));
        Ok(())
    }

    fn summary(&self) {
        for (name, took) in &self.done {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
        let all: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("{:>8.1} s  everything passed", all.as_secs_f64());
    }
}
