//! The operator's command: reach a bare-metal server at layer 2.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod chunk;
mod connect;
mod exec;
mod interface;
mod inventory;
mod keyfile;
mod keygen;
mod output;
mod ping;
mod progress;
mod push;
mod quote;
mod session;
mod signals;
mod source;
mod stop;
mod target;
mod v2;

use std::env;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use bmstools_proto::Dialect;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, Common};
use crate::connect::Connector;
use crate::output::{EXIT_USAGE, Failure, Output};
use crate::signals::Signals;

fn main() -> ExitCode {
    let cli = match args::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output { json: cli.common.json, quiet: cli.common.quiet };
    log(cli.common.verbose, cli.common.quiet);
    match run(cli, &output) {
        Ok(code) => code.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code().into()
        }
    }
}

fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    if let Command::Keygen(args) = &cli.command {
        return keygen::run(args, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut signals = Signals::catch().context("cannot catch signals")?;
        match cli.common.proto.dialect() {
            None => v2::run(&cli.common, cli.command, output, &mut signals).await,
            Some(dialect) => v1(&cli.common, dialect, cli.command, output, &mut signals).await,
        }
    })
}

/// What the command does over version 1.
async fn v1(
    common: &Common,
    dialect: Dialect,
    command: Command,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    refuse_v2_options(&command)?;
    let connector = Connector::new(common, dialect)?;
    match command {
        Command::Exec(args) => exec::run(args, &connector, output, signals).await,
        Command::Push(args) => push::run(&args, &connector, output, signals).await,
        Command::Ping(args) => ping::run(&args, &connector, output, signals).await,
        Command::Bench(args) => bench::run(&args, &connector, output, signals).await,
        _ => Err(Failure::Usage("this command needs version 2: leave --proto out".into())),
    }
}

fn refuse_v2_options(command: &Command) -> Result<(), Failure> {
    let given = match command {
        Command::Exec(args) => args.only_v2(),
        Command::Push(args) => args.only_v2(),
        Command::Ping(args) => args.only_v2(),
        _ => Vec::new(),
    };
    if given.is_empty() {
        return Ok(());
    }
    let given = given.join(", ");
    Err(Failure::Usage(format!("version 1 does not know {given}: leave that out, or --proto")))
}

/// Shows what clap has to say: help on standard output with 0, mistakes with 2.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let wants_json = env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if wants_json {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        let object = serde_json::json!({ "error": first.trim_start_matches("error: ") });
        let output = Output { json: true, quiet: false };
        let _ = output.result(object, "");
    }
    EXIT_USAGE.into()
}

fn log(verbose: u8, quiet: bool) {
    let filter = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Telling on a stderr that cannot be written that it cannot panics.
        .log_internal_errors(false)
        .compact()
        .init();
}
