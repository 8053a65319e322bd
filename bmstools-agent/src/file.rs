//! Files that a session pushes.
//!
//! Everything here blocks: it belongs on a thread that may.

mod scripts;
mod target;
mod temporary;

use std::sync::Arc;

use bmstools_proto::response::{Code, Response};
use tracing::debug;

pub(crate) use self::scripts::Scripts;
use self::target::Target;
use self::temporary::Temporary;

/// The files of one session.
///
/// What was pushed becomes visible under its name only when it is whole: when
/// the session's next control comes, or its end. Dropping this throws away what
/// is not in place, and removes the session's one-shot scripts.
pub(crate) struct Files {
    begun: Option<Begun>,
    owner: scripts::Owner,
}

/// A file that data is being appended to.
struct Begun {
    target: Target,
    temporary: Temporary,
}

impl Files {
    /// No files, for a session that shares `scripts` with all others.
    pub(crate) fn new(scripts: &Arc<Scripts>) -> Self {
        Self { begun: None, owner: scripts.owner() }
    }

    /// Puts the file before in place and begins one at `path`. The empty path gives
    /// the file before up: v1 has no other word for that.
    pub(crate) fn begin(&mut self, path: &[u8]) -> Response {
        if path.is_empty() {
            self.begun = None;
            return Response::error(Code::ParameterError, "the path is empty");
        }
        match self.settle().and_then(|()| self.open(path)) {
            Ok(begun) => {
                self.begun = Some(begun);
                Response::success()
            }
            Err(response) => response,
        }
    }

    fn open(&self, path: &[u8]) -> Result<Begun, Response> {
        let target = Target::new(path)?;
        if target.is_script() && !self.owner.has_room() {
            return Err(Response::error(
                Code::LogicError,
                "this session has pushed too many one-shot scripts; open another",
            ));
        }
        let temporary = Temporary::create(target.dir(), target.name())
            .map_err(|error| target.failure("cannot create", error))?;
        debug!(path = %target, "a file begins");
        Ok(Begun { target, temporary })
    }

    /// Appends to the file that was begun.
    pub(crate) fn append(&mut self, data: &[u8]) -> Response {
        let Some(begun) = &mut self.begun else {
            return Response::error(
                Code::LogicError,
                "data without a file: no file was begun, or it failed",
            );
        };
        match begun.temporary.append(data) {
            Ok(()) => Response {
                code: Code::Success,
                msg: Some(format!("save file {} success", begun.target)),
                data: None,
            },
            Err(error) => {
                let response = begun.target.failure("cannot write", error);
                self.begun = None;
                response
            }
        }
    }

    /// Whether [`settle`](Self::settle) has nothing to do.
    pub(crate) fn is_settled(&self) -> bool {
        self.begun.is_none()
    }

    /// Whether neither [`end`](Self::end) nor dropping this has anything to do, so
    /// that both may be done anywhere.
    pub(crate) fn leave_nothing(&self) -> bool {
        self.is_settled() && !self.owner.owns_any()
    }

    /// Puts the file that was begun in place, if any.
    ///
    /// # Errors
    ///
    /// Where that is not possible: the response says why, and nothing is left.
    pub(crate) fn settle(&mut self) -> Result<(), Response> {
        let Some(Begun { target, temporary }) = self.begun.take() else { return Ok(()) };
        let script = target.is_script();
        if script {
            // Before it is there: the end of the session whose script it
            // replaces must not remove it.
            self.owner
                .own(target.path(), target.dir())
                .map_err(|error| target.failure("cannot put in place", error))?;
        }
        temporary
            .put_in_place(target.dir(), target.name(), script)
            .map_err(|error| target.failure("cannot put in place", error))?;
        debug!(path = %target, "a file is in place");
        Ok(())
    }

    /// Ends the session well: puts the last file in place and removes one-shot
    /// scripts.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    pub(crate) fn end(mut self) -> Result<(), Response> {
        // A script that was not run before the end would be removed at once.
        self.begun.take_if(|begun| begun.target.is_script());
        self.settle()
    }
}

#[cfg(test)]
mod tests;
