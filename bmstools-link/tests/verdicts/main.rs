//! Every verdict of the XDP program, through BPF_PROG_TEST_RUN: the program runs
//! in the kernel on hand-built frames, with its maps, but without an interface.
//!
//! Each test runs for both entries of the program. They need root.
//! `BMSTOOLS_XDP_OBJECT` names another build to test than the embedded one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod bench;
mod classes;
mod frame;
mod golden;
mod opens;
mod ring;
mod sessions;
mod v2;
