//! Why transfers fail.

use std::fmt::Display;
use std::io;

use bmstools_proto::v2::message::{Failure, FailureCode};
use bmstools_session::SessionError;
use rustix::io::Errno;

/// Why a transfer did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The connection broke: what arrived is kept for the next attempt.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// One of both sides gave up and said why: nothing is kept.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The same operator began the transfer anew, which goes on with what this one left.
    #[error("a newer transfer of the same file took over")]
    TakenOver,
}

impl TransferError {
    /// Whether another attempt may succeed where this one did not.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Session(error) => !matches!(error, SessionError::Malformed(_)),
            Self::Failed(_) | Self::TakenOver => false,
        }
    }
}

impl From<Failure> for TransferError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A failure with this reason.
pub(crate) fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into() }
}

/// The peer said what it must not say.
pub(crate) fn violation(what: &str) -> Failure {
    failure(FailureCode::Invalid, format!("the peer broke the rules of transfers: {what}"))
}

/// The failure for a system call's error that came from doing something with `path`.
pub(crate) fn of_errno(doing: &str, path: impl Display, errno: Errno) -> Failure {
    let code = match errno {
        Errno::NOENT => FailureCode::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => FailureCode::Denied,
        Errno::EXIST | Errno::NOTEMPTY => FailureCode::Exists,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => FailureCode::NoSpace,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => FailureCode::Limit,
        Errno::ISDIR | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL => {
            FailureCode::Invalid
        }
        _ => FailureCode::Other,
    };
    let cause = io::Error::from(errno);
    // Without "(os error 28)", which says nothing to people.
    let cause = cause.to_string();
    let cause = cause.split(" (os error").next().unwrap_or(&cause);
    let hint = match errno {
        Errno::ROFS => ": its file system is mounted read-only",
        Errno::MFILE => ": raise the limit of open files (LimitNOFILE=)",
        _ => "",
    };
    failure(code, format!("cannot {doing} {path}: {cause}{hint}"))
}

/// Whether everything that would come after this fails as well.
pub(crate) fn is_fatal(failure: &Failure) -> bool {
    matches!(failure.code, FailureCode::NoSpace | FailureCode::Limit)
}
