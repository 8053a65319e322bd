//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Names the directory of the programs under test, where it is not the release
/// directory beside the tests' own.
pub const DIRECTORY_VARIABLE: &str = "BMSTOOLS_BIN_DIR";

/// The agent's program.
///
/// # Errors
///
/// Where it has not been built.
pub fn agent() -> Result<PathBuf> {
    find("bmstools-agent")
}

/// The operator's program.
///
/// # Errors
///
/// Where it has not been built.
pub fn operator() -> Result<PathBuf> {
    find("bmstools")
}

/// The build's output directory: for what is worth keeping between runs.
///
/// # Errors
///
/// Where this program does not run from one.
pub fn target_directory() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    own.ancestors()
        .find(|path| path.ends_with("release") || path.ends_with("debug"))
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .with_context(|| format!("{} is not in a build directory", own.display()))
}

fn find(name: &str) -> Result<PathBuf> {
    let directory = match env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) => PathBuf::from(directory),
        None => target_directory()?.join("release"),
    };
    let path = directory.join(name);
    if !path.is_file() {
        bail!(
            "{} is missing: run `cargo build --release` first (`cargo xtask test` does), \
             or set {DIRECTORY_VARIABLE}",
            path.display()
        );
    }
    Ok(path)
}
