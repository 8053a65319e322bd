//! Tasks of the project: `cargo xtask --help`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line tool prints")]

mod bench;
mod command;
mod demo;
mod ebpf;
mod fuzz;
mod setup;
mod test;
mod toolchain;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Builds, tests and shows bmstools
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Installs what building the XDP program and testing need
    Setup {
        /// Also what tests in an emulated machine need
        #[arg(long)]
        vm: bool,
    },
    /// Builds the XDP program and refreshes its compiled object in the tree
    BuildEbpf {
        /// Change nothing; fail if the object in the tree is stale
        #[arg(long)]
        check: bool,
    },
    /// Runs formatting, lints and every test
    Test(test::TestArgs),
    /// Shows a command run and a large file pushed, between two namespaces
    Demo(demo::DemoArgs),
    /// Fuzzes whatever takes bytes from the network
    Fuzz(fuzz::FuzzArgs),
    /// Measures bmstools beside what one would use instead
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    if ebpf::wrapper::is_asked_for() {
        return ebpf::wrapper::run();
    }
    let root = root();
    let done = match Task::parse() {
        Task::Setup { vm } => setup::run(&root, vm),
        Task::BuildEbpf { check: false } => ebpf::build(&root),
        Task::BuildEbpf { check: true } => ebpf::check(&root),
        Task::Test(args) => test::run(&root, &args),
        Task::Demo(args) => demo::run(&root, &args),
        Task::Fuzz(args) => fuzz::run(&root, &args),
        Task::Bench(args) => bench::run(&root, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
