//! `bmstools status`: what an agent says of itself.

use anyhow::anyhow;
use clap::Args;

use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {}

/// Asks the agent and shows its answer.
///
/// # Errors
///
/// Where the session fails.
pub(crate) async fn run(_host: &Host, _args: &StatusArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}
