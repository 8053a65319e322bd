//! The demonstration: a command and a large file reach a host that has no IP
//! address, through a real XDP program and real AF_XDP sockets.
//!
//! Everything happens in network namespaces of its own and is removed at the end,
//! also on Ctrl-C.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the demonstration is its output")]

mod hosts;
mod show;
mod size;
mod steps;
mod table;

use std::process::ExitCode;

use bmstools_tests::interrupt;
use clap::Parser;

use crate::size::Size;

/// Shows bmstools at work between two network namespaces
#[derive(Parser, Debug)]
#[command(name = "demo")]
pub(crate) struct Arguments {
    /// Bytes to push: a number, or one with K, M or G behind it
    #[arg(long, default_value = "1G")]
    pub(crate) size: Size,
    /// Leave the namespaces and the agent in place, and say how to use them
    #[arg(long)]
    pub(crate) keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = interrupt::watch().and_then(|()| steps::run_all(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::happened() => {
            println!("\nInterrupted; everything that was made is removed.");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
