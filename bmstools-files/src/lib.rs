//! Files and directory trees over sessions (docs/protocol-v2.md, "Files").
//!
//! Sender and receiver are the same whichever side plays them: a push is
//! [`push`] at the operator and [`serve_push`] at the agent, a pull is [`serve_pull`]
//! at the agent and [`pull`] at the operator.

mod digest;
mod failure;
mod journal;
mod meta;
mod name;
mod owner;
mod pool;
mod progress;
mod receive;
mod request;
mod send;
mod summary;
mod wire;

pub use failure::TransferError;
pub use journal::{Journal, LIFETIME};
pub use progress::Progress;
pub use receive::Receiver;
pub use request::{pull, push, serve_pull, serve_push};
pub use send::Source;
pub use summary::Summary;
