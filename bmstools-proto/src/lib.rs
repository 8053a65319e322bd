//! The bmstools protocol as a state machine.
//!
//! No I/O, no clock, no thread, no source of randomness: frames, the time and a
//! seed come in as arguments, frames and events are polled out. [`agent`] serves
//! sessions, [`operator`] opens one.

#![forbid(unsafe_code)]

pub mod agent;
pub mod config;
pub mod keys;
pub mod operator;
pub mod response;

pub use bmstools_common::header::Dialect;
pub use config::Config;
