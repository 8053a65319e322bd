//! The bmstools protocol as a state machine.
//!
//! No I/O, no clock, no thread, no source of randomness: frames, the time and a
//! seed come in as arguments, frames and events are polled out. [`agent`] serves
//! sessions, [`operator`] opens one.

#![forbid(unsafe_code)]

pub mod agent;
mod assembler;
pub mod challenge;
pub mod config;
mod connection;
mod control;
pub mod keys;
pub mod operator;
mod outgoing;
pub mod response;
mod rtt;
mod stats;
pub mod v2;
mod window;
pub mod wire;

pub use bmstools_common::header::Dialect;
pub use config::Config;
pub use stats::Stats;
