//! Version 2: mutual authentication, encryption, streams.
//!
//! [`Endpoint`] is either side: it answers opens where it has a [`Identity`] to
//! answer with, and opens sessions itself. The wire is described in
//! `docs/protocol-v2.md`.

mod acks;
mod config;
mod congestion;
mod connection;
mod cookie;
mod credit;
mod crypto_stream;
mod endpoint;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
pub mod message;
mod packet;
mod params;
mod recovery;
mod rtt;
mod sizing;
mod streams;
mod tls;

pub use config::Config;
pub use endpoint::{CloseReason, Connect, Endpoint, Event, SessionId, SessionStats, Stats};
pub use streams::{Chunk, StreamError, StreamId};
