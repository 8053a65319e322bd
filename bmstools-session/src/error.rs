//! What goes wrong under somebody's hands.

use bmstools_proto::v2::{CloseReason, StreamError};

/// Why a session or stream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session is over.
    #[error("the session ended: {0}")]
    Ended(CloseReason),
    /// The peer reset its direction of the stream.
    #[error("the peer gave the stream up (code {0})")]
    Reset(u32),
    /// The peer does not want what this side sends.
    #[error("the peer stopped the stream (code {0})")]
    Stopped(u32),
    /// This side finished, reset or stopped the stream before.
    #[error("the stream was closed at this end before")]
    Closed,
    /// What was written cannot stand there: placed data among ordered, or a position
    /// twice.
    #[error("the stream cannot be written so: {0}")]
    Unusable(StreamError),
    /// A message whose end never came.
    #[error("the stream ended before the message did")]
    Truncated,
    /// A message, or what it says, makes no sense.
    #[error("a malformed message: {0}")]
    Malformed(String),
}
