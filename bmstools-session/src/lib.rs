//! Version 2 sessions as asynchronous streams.
//!
//! A [`Hub`] is the frame loop's side: it owns the
//! [`Endpoint`](bmstools_proto::v2::Endpoint) and is called by whatever implements
//! [`bmstools_link::Handler`] (the agent's server, the operator's driver thread).
//! Everybody else holds a [`Session`] and opens or accepts streams on it from tokio
//! tasks. Nothing on the loop's side blocks or waits.
//!
//! # A byte's way
//!
//! [`SendStream::write`] takes room in its stream's budget and puts a command into the
//! hub's queue. The hub empties the queue once a turn, hands the data to the endpoint
//! (which keeps it, uncopied, until it is acknowledged), and tells the stream how much
//! room is left. What arrives the hub reads from the endpoint once a batch of frames
//! and hands to the stream; the peer may send more when a task has consumed it.
//!
//! # Memory
//!
//! A stream keeps at most [`Config::send_buffer`](bmstools_proto::v2::Config) bytes and
//! one write for sending, queued and unacknowledged together, and what flow control lets
//! the peer send for reading. So what a session holds follows from its configuration,
//! however slow a task or a peer is.
//!
//! # What a block of 256 KiB costs
//!
//! At an MTU of 1500 it is about 180 frames, or three turns of the loop. Beside the
//! ports' own work:
//!
//! - The writer pushes one command: a short lock, and a write to the loop's eventfd
//!   where the queue was empty *and* the loop has not been woken since it last slept;
//!   the loop reads the eventfd once for all of them. A busy loop does not sleep.
//! - The writer is woken at most once: a stream that had no room lets through a whole
//!   write as soon as it has any, so that as much must be acknowledged before the
//!   writer waits again.
//! - The reader is woken once a turn where it waits by then: three times of an ordered
//!   stream if it keeps up, never if it does not, once of a placed stream, which comes
//!   in whole blocks.
//! - What the reader consumed is told to the loop once in 512 KiB (a sixteenth of the
//!   stream's window).
//!
//! So a block costs no more than one write and one read of the eventfd, one wake of the
//! writer, and three (ordered) or one (placed) of the reader, each an unpark and a park
//! of a runtime's thread. Counted over 64 MiB (256 blocks) through a link in memory:
//! 44 writes to eventfds by the tasks of an ordered stream and 72 of a placed one; their
//! threads slept 800 and 290 times. A short request costs one of each.

mod command;
mod error;
mod flow;
mod handle;
mod hub;
mod message;
mod queue;
mod session;
mod stream;
mod sync;
mod thread;

pub use error::SessionError;
pub use handle::{Handle, Target};
pub use hub::{Groups, Hub};
pub use session::Session;
pub use stream::{RecvStream, SendStream};
pub use thread::{HubThread, spawn};
