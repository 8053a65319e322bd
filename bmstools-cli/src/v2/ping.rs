//! `bmstools ping`: how far away an agent is.

use anyhow::anyhow;
use clap::Args;

use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// How many; in version 1, sessions one after the other
    #[arg(short, long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
}

impl PingArgs {
    /// The options given that version 1 does not have.
    pub(crate) fn only_v2(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Measures the way there and back.
///
/// # Errors
///
/// Where the session fails or nothing comes back.
pub(crate) async fn run(_host: &Host, _args: &PingArgs) -> Result<u8, Failure> {
    Err(anyhow!("not there yet").into())
}
