//! The JSON answers of an agent.

/// Whether a request succeeded, and whose fault it is where it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// It did.
    Success,
    /// The connection failed.
    ConnectionError,
    /// The request could not be read.
    AnalyzeError,
    /// The session has not authenticated, or failed to.
    AuthError,
    /// The request does not belong here.
    LogicError,
    /// A value in the request is wrong.
    ParameterError,
    /// The agent's host failed.
    UnknownError,
    /// A code that this version does not know.
    Other(String),
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Whether the request succeeded.
    pub code: Code,
    /// For people.
    pub msg: Option<String>,
    /// What a command left.
    pub data: Option<ExecData>,
}

/// What a command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecData {
    /// The exit code; 128 + the signal's number where one ended it.
    pub code: i32,
    /// Standard output, with U+FFFD for what is not UTF-8.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Response {
    /// Success with nothing more to say.
    pub fn success() -> Self {
        Self { code: Code::Success, msg: None, data: None }
    }

    /// A refusal or failure, with its reason for people.
    pub fn error(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: Some(msg.into()), data: None }
    }
}
