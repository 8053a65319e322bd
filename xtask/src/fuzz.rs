//! Fuzzing: libFuzzer on the targets of `fuzz/`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, find, run as run_command, target as target_directory};

/// What to fuzz.
#[derive(clap::Args, Debug)]
pub(crate) struct FuzzArgs {
    /// The target; without one, all of them, one after another
    target: Option<String>,
    /// How long each is fuzzed
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

/// Fuzzes each target for the time given. What is found goes to `fuzz/artifacts`, and
/// the inputs that reach something new to the build's directory.
///
/// # Errors
///
/// Where cargo-fuzz is missing, there is no such target, or an input fails.
pub(crate) fn run(root: &Path, args: &FuzzArgs) -> Result<()> {
    ensure!(
        find("cargo-fuzz").is_some(),
        "cargo-fuzz is missing: `cargo install cargo-fuzz --locked`, then try again"
    );
    let all = targets(root)?;
    let chosen = match &args.target {
        None => all,
        Some(name) => {
            let known = all.join(", ");
            ensure!(all.contains(name), "no target {name}; there are {known}");
            vec![name.clone()]
        }
    };
    for name in chosen {
        println!("==> {name}, for {} s", args.seconds);
        fuzz(root, &name, args.seconds).with_context(|| format!("fuzzing {name}"))?;
    }
    Ok(())
}

/// Runs the targets on their corpora, with the Rust that builds the project.
///
/// # Errors
///
/// Where one fails.
pub(crate) fn replay(root: &Path) -> Result<()> {
    let mut tests = cargo(&root.join("fuzz"));
    run_command(tests.args(["test", "--locked", "--target-dir"]).arg(target_directory(root)))
}

/// The targets' names.
fn targets(root: &Path) -> Result<Vec<String>> {
    let directory = root.join("fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn fuzz(root: &Path, name: &str, seconds: u64) -> Result<()> {
    let build = target_directory(root).join("fuzz");
    let found = build.join("corpus").join(name);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let mut fuzzer = cargo(root);
    // All that runs is safe Rust: its own checks find more than a sanitizer would, which
    // also needs a nightly compiler.
    fuzzer.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target-dir"]);
    fuzzer.arg(&build).arg(name).arg(&found).arg(root.join("fuzz/corpus").join(name));
    // Programs for the endpoints are of use when they are long.
    fuzzer.args(["--", "-max_len=4096", "-len_control=10", "-timeout=10", "-rss_limit_mb=1024"]);
    fuzzer.args(["-print_final_stats=1".to_owned(), format!("-max_total_time={seconds}")]);
    run_command(&mut fuzzer)
}
