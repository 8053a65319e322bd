//! Every target on every file of its corpus, and on a few inputs made of those: with
//! stable Rust, in seconds. `cargo xtask fuzz` goes further.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bmstools_fuzz::{Run, TARGETS};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The files of a target's corpus, in an order that does not change.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&directory).expect("every target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

fn try_on(run: Run, input: &[u8], what: &dyn std::fmt::Display) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        let bytes: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{what} fails: {bytes}");
    }
}

#[test]
fn every_target_takes_its_corpus() {
    for &(target, run) in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 5, "{target} has {} files", files.len());
        for (path, input) in files {
            try_on(run, &input, &path.display());
        }
    }
}

#[test]
fn every_target_takes_changed_and_joined_files_of_its_corpus() {
    for &(target, run) in TARGETS {
        let files = corpus(target);
        for seed in 0..ROUNDS {
            let mut rng = StdRng::seed_from_u64(seed);
            let pick = |rng: &mut StdRng| files[rng.gen_range(0..files.len())].1.clone();
            let mut input = pick(&mut rng);
            if rng.r#gen() {
                let at = rng.gen_range(0..=input.len());
                input.truncate(at);
                input.extend(pick(&mut rng));
            }
            for _ in 0..rng.gen_range(0..8) {
                let Some(last) = input.len().checked_sub(1) else { break };
                let at = rng.gen_range(0..=last);
                match rng.gen_range(0..3) {
                    0 => input[at] = rng.r#gen(),
                    1 => drop(input.remove(at)),
                    _ => input.insert(at, rng.r#gen()),
                }
            }
            try_on(run, &input, &format_args!("{target}, seed {seed}"));
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(directory).expect("there are corpora") {
        let name = entry.expect("it can be read").file_name();
        let known = TARGETS.iter().any(|(target, _)| *target == name);
        assert!(known, "{} is no target's", name.display());
    }
}

/// Inputs of each target: some seconds altogether.
const ROUNDS: u64 = 400;
