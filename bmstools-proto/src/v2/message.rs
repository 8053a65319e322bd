//! Requests and answers on streams: `length u32 | CBOR` (RFC 8949), each at most
//! [`MAX_MESSAGE`] bytes. Structures are CBOR maps with small integer keys; unknown
//! keys are ignored, so that either side may learn more later.

use minicbor::{Decode, Encode};

pub mod exec;
pub mod files;
pub mod status;

/// Bytes of one message's CBOR at most.
pub const MAX_MESSAGE: usize = 1 << 20;

/// What an operator asks for: the first message of a stream that it opened.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[non_exhaustive]
pub enum Request {
    /// Run a command.
    #[n(0)]
    Exec(#[n(0)] exec::Exec),
    /// Something about jobs.
    #[n(1)]
    Job(#[n(0)] exec::JobRequest),
    /// Receive files.
    #[n(2)]
    Push(#[n(0)] files::Push),
    /// Send files.
    #[n(3)]
    Pull(#[n(0)] files::Pull),
    /// Tell about the agent.
    #[n(4)]
    Status(#[n(0)] status::StatusRequest),
    /// Answer at once.
    #[n(5)]
    Ping(#[n(0)] status::Ping),
    /// Take bytes and throw them away, then send some.
    #[n(6)]
    Measure(#[n(0)] status::Measure),
}

/// The first message of every answer. Where the agent knows nothing of a request, or
/// refuses it, this is the only one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Answer<T> {
    /// What was asked for, or what comes before it.
    #[n(0)]
    Done(#[n(0)] T),
    /// Why there is nothing.
    #[n(1)]
    Failed(#[n(0)] Failure),
}

/// Something failed: a reason for programs and one for people.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Failure {
    /// What kind.
    #[n(0)]
    pub code: FailureCode,
    /// What and why, with the way out where there is one.
    #[n(1)]
    pub message: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum FailureCode {
    /// None of the others.
    #[n(0)]
    Other,
    /// The request makes no sense.
    #[n(1)]
    Invalid,
    /// No such file, directory, job or user.
    #[n(2)]
    NotFound,
    /// The system forbids it.
    #[n(3)]
    Denied,
    /// It is there already.
    #[n(4)]
    Exists,
    /// No room.
    #[n(5)]
    NoSpace,
    /// A limit of the agent's is reached.
    #[n(6)]
    Limit,
    /// Took too long.
    #[n(7)]
    TimedOut,
    /// The source changed while it was read.
    #[n(8)]
    Changed,
    /// What arrived is not what was sent.
    #[n(9)]
    Corrupt,
    /// The agent does not do this.
    #[n(10)]
    Unsupported,
    /// There is no such command.
    #[n(11)]
    NoCommand,
    /// The command cannot be run.
    #[n(12)]
    NotRunnable,
}
