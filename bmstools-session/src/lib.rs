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
//!   where the queue was empty *and* the loop has not been woken since it last slept.
//!   The loop reads the eventfd once for all of them. A busy loop never sleeps, so
//!   under load neither happens.
//! - The writer is woken once: a stream that had no room lets through one whole write as
//!   soon as it has any, so acknowledgements of the next 256 KiB go by before it waits
//!   again.
//! - The reader is woken at most once a turn, and only where it waits; one that keeps up
//!   is woken for what a batch of frames brought (of a placed stream, for a whole
//!   block), one that does not is never woken.
//! - What the reader consumed is told to the loop once in 512 KiB (a sixteenth of the
//!   stream's window).
//!
//! Altogether at most two system calls on the sender's side (eventfd written and read),
//! one unpark of a runtime's thread on either, and none of these where both are busy.
//! A small request costs the same: its wake, its answer's wake.

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
