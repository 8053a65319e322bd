//! Measures bmstools beside what one would use instead.
//!
//! Everything happens in network namespaces of its own and is removed at the end,
//! also on Ctrl-C.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bmstools_tests::{bench, interrupt};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = bench::Arguments::parse();
    let done = interrupt::watch().and_then(|()| bench::run(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::happened() => {
            eprintln!("\nInterrupted; everything that was made is removed.");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("\nThe benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
