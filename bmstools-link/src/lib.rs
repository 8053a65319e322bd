//! Frames in and out of a network interface.
//!
//! One interface behind every way there is: native and generic XDP with AF_XDP
//! sockets, AF_PACKET, and a pair in memory. [`open`] turns an interface's name
//! into [`Port`]s (a bond has one for each slave), [`run`] moves frames between
//! ports and a [`Handler`] until it is told to stop.

mod claim;
mod driver;
mod ethtool;
mod filter;
mod frame;
mod interface;
pub mod memory;
mod offload;
mod open;
mod packet;
mod pod;
mod port;
mod program;
mod raw;
mod sys;
mod xdp;
mod xdp_link;

// Unit and integration tests share their network namespaces.
#[cfg(test)]
extern crate self as bmstools_link;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod testing;

pub use claim::KeyClaim;
pub use driver::{Handler, Waker, run};
pub use open::open;
pub use port::{Counters, LinkError, Mode, Options, Outgoing, Port, PortInfo};
pub use program::{AttachMode, Entry, OBJECT, Program, ProgramError};
pub use raw::{RawOptions, RawSocket};
