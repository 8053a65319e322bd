//! Peers made by hand: they say exactly what a test tells them, and behave as
//! peers in the field do.

mod deployed_agent;
mod operator;

pub use deployed_agent::{DeployedAgent, Seen};
pub use operator::{HandOperator, Message, Options};
