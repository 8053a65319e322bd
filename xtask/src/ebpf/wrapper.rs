//! Stands between cargo and the compiler, so that no symbol's name depends on
//! where the sources lie.
//!
//! Cargo tells crates apart by a hash (`-C metadata`) that goes into the names of
//! symbols, and for a package outside of the workspace, as bmstools-common is for
//! bmstools-ebpf, that hash covers its absolute path. Here a crate's name and
//! version take the hash's place: no two crates of the program share them.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

const ASKED_FOR: &str = "BMSTOOLS_XTASK_IS_RUSTC";

/// Makes a cargo command call this program instead of the compiler.
///
/// # Errors
///
/// Where this program cannot tell where it is.
pub(super) fn ask_for(cargo: &mut Command) -> Result<()> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    cargo.env("RUSTC_WRAPPER", own).env(ASKED_FOR, "1");
    Ok(())
}

/// Whether cargo calls this program as the compiler.
pub(crate) fn is_asked_for() -> bool {
    env::var_os(ASKED_FOR).is_some()
}

/// Runs the compiler, which the first argument names, on the rest.
pub(crate) fn run() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    if arguments.is_empty() {
        return ExitCode::FAILURE;
    }
    let compiler = arguments.remove(0);
    rename(&mut arguments);
    match Command::new(&compiler).args(&arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run {}: {error}", compiler.display());
            ExitCode::FAILURE
        }
    }
}

/// Crates for this machine (build scripts and macros) keep their hashes: there may
/// be two of one version, with different features.
fn rename(arguments: &mut [OsString]) {
    if !arguments.iter().any(|argument| argument == "--target") {
        return;
    }
    let name = |variable| env::var(variable).unwrap_or_default();
    let identity = format!("{}-{}", name("CARGO_PKG_NAME"), name("CARGO_PKG_VERSION"));
    for argument in arguments {
        if argument.to_str().is_some_and(|text| text.starts_with("metadata=")) {
            *argument = format!("metadata={identity}").into();
        }
    }
}
