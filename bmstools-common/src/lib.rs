//! What the XDP program and userspace must agree on.
//!
//! The same code decides on a frame's fate in the kernel (`bmstools-ebpf`) and
//! in userspace (`bmstools-link`, for links without XDP): [`classify()`] parses,
//! [`rate`] limits opens, [`counters`] names every outcome and [`maps`] gives
//! the byte layout of everything that crosses between the two.

#![no_std]
#![forbid(unsafe_code)]

pub mod classify;
pub mod counters;
pub mod ethernet;
pub mod header;
pub mod maps;
pub mod packet;
pub mod rate;

pub use classify::{Malformed, Verdict, classify};
pub use ethernet::{ETHERTYPE, Mac, Peer, Vlan};
pub use packet::Packet;
