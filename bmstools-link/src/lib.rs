//! Frames in and out of a network interface.
//!
//! One interface behind every way there is: native and generic XDP with AF_XDP
//! sockets, AF_PACKET, and a pair in memory. [`open`] turns an interface's name
//! into [`Port`]s (a bond has one for each slave), [`run`] moves frames between
//! ports and a [`Handler`] until it is told to stop.

mod driver;
mod port;
mod program;
mod xdp_link;

pub use driver::{Handler, Waker, run};
pub use port::{Counters, LinkError, Mode, Options, Outgoing, Port, PortInfo, open};
pub use program::{AttachMode, Program, ProgramError};
