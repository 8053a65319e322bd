//! The bmstools daemon on the bare-metal server.
//!
//! A frame's way: `bmstools_link` hands it to the frame loop, which is the only
//! owner of the protocol's endpoint (`server`); what it asks for is done by a
//! task of its session (`session`) in `exec` and `file`, and the answer goes back
//! through the loop's inbox. Keys are read and challenges made in `auth`. Sessions
//! of version 2 are served in `v2`.

#![forbid(unsafe_code)]

mod auth;
mod claim;
mod cli;
mod config;
mod counters;
mod exec;
mod file;
mod keys;
mod run;
mod server;
mod session;
mod signals;
mod v2;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, RunArgs};
use crate::config::Config;

fn main() -> ExitCode {
    if let Some(code) = v2::intercept() {
        return code;
    }
    let Command::Run(args) = Cli::parse().command;
    log_to_stderr(&args);
    match configured(&args).and_then(|config| run::run(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, whose filter may leave it out. Nobody may be
            // reading any more.
            let _ = writeln!(stderr(), "bmstools-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The settings that count. Ends the process where the usage is wrong.
fn configured(args: &RunArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(args.config.as_deref())?;
    args.apply(&mut config);
    if config.interfaces.is_empty() {
        wrong_usage(
            ErrorKind::MissingRequiredArgument,
            "no interface to serve: give --iface IF, or interfaces in the --config FILE; `ip link` lists them",
        );
    }
    for (at, interface) in config.interfaces.iter().enumerate() {
        if config.interfaces[..at].contains(interface) {
            wrong_usage(
                ErrorKind::ArgumentConflict,
                &format!("interface {interface} is given twice"),
            );
        }
    }
    Ok(config)
}

fn log_to_stderr(args: &RunArgs) {
    let filter = match args.log.clone().or_else(|| std::env::var("RUST_LOG").ok()) {
        None => EnvFilter::new("info"),
        Some(text) => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            wrong_usage(
                ErrorKind::ValueValidation,
                &format!("`{text}` (from --log or RUST_LOG) does not say what to log: {error}"),
            )
        }),
    };
    tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        // A full disk or a reader that went away must not end the agent, and
        // telling of it on the same stderr panics.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .init();
}

fn wrong_usage(kind: ErrorKind, says: &str) -> ! {
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand("run").cloned();
    run.unwrap_or(command).error(kind, says).exit()
}
