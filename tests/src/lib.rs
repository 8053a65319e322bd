//! Whole-system tests: the real agent and the real operator's command, each in a
//! network namespace of its own, with a veth pair between them.
//!
//! [`Testbed`] makes the namespaces, [`Agent`] and [`Operator`] run the programs,
//! [`Relay`] stands between them as a bad cable, [`Flood`] is a hostile
//! neighbour, and [`peer`] holds peers made by hand, frame by frame. Dropping any
//! of them removes what it made.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};

pub mod agent;
pub mod bench;
pub mod binaries;
pub mod command;
pub mod counters;
pub mod data;
pub mod flood;
pub mod interrupt;
pub mod keys;
pub mod link;
pub mod memory;
pub mod namespace;
pub mod nic;
pub mod operator;
pub mod peer;
pub mod process;
pub mod relay;
pub mod remote;
pub mod terminal;
pub mod testbed;
pub mod transfer;
pub mod tree;
pub mod wire;

pub use agent::{Agent, AgentCommand};
pub use flood::Flood;
pub use keys::KeyPair;
pub use link::Link;
pub use namespace::Namespace;
pub use operator::Operator;
pub use relay::Relay;
pub use testbed::Testbed;

/// Prints a line that is seen whether the test fails or not: the test runner
/// keeps only what the print macros write to itself.
pub fn report(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
