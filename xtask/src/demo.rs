//! The demonstration, which is a program of the tests crate.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, is_root, run as run_command, target};
use crate::setup;

/// What to show.
#[derive(clap::Args, Debug)]
pub(crate) struct DemoArgs {
    /// Bytes to push: a number, or one with K, M or G behind it
    #[arg(long, default_value = "1G")]
    size: String,
    /// Leave the namespaces and the agent in place, and say how to use them
    #[arg(long)]
    keep: bool,
}

/// Builds everything and becomes the demonstration.
///
/// # Errors
///
/// Where it cannot be built or started.
pub(crate) fn run(root: &Path, args: &DemoArgs) -> Result<()> {
    ensure!(
        is_root(),
        "the demonstration makes network namespaces and loads an XDP program: run it as root"
    );
    setup::ensure_tools()?;
    println!("Building the agent, the operator's command and the demonstration.");
    run_command(cargo(root).args(["build", "--release"]).args([
        "--package=bmstools-agent",
        "--package=bmstools-cli",
        "--package=bmstools-tests",
        "--bins",
    ]))?;
    let programs = target(root).join("release");
    let mut demo = Command::new(programs.join("demo"));
    demo.current_dir(root).env("BMSTOOLS_BIN_DIR", &programs).args(["--size", &args.size]);
    if args.keep {
        demo.arg("--keep");
    }
    Err(demo.exec()).context("cannot start the demonstration")
}
