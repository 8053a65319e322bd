//! The JSON answers of an agent.

use std::io;

use bmstools_common::header::Dialect;
use serde::{Deserialize, Serialize};

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

impl Code {
    const KNOWN: [Self; 7] = [
        Self::Success,
        Self::ConnectionError,
        Self::AnalyzeError,
        Self::AuthError,
        Self::LogicError,
        Self::ParameterError,
        Self::UnknownError,
    ];

    /// The code's name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Success => "Success",
            Self::ConnectionError => "ConnectionError",
            Self::AnalyzeError => "AnalyzeError",
            Self::AuthError => "AuthError",
            Self::LogicError => "LogicError",
            Self::ParameterError => "ParameterError",
            Self::UnknownError => "UnknownError",
            Self::Other(name) => name,
        }
    }

    fn from_name(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|code| code.name() == name);
        known.unwrap_or_else(|| Self::Other(name.to_owned()))
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
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
    pub const fn success() -> Self {
        Self { code: Code::Success, msg: None, data: None }
    }

    /// A refusal or failure, with its reason for people.
    pub fn error(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: Some(msg.into()), data: None }
    }

    /// The answer as a message's bytes. Deployed operators get the members in the
    /// order and with the spaces that deployed agents send.
    pub(crate) fn to_json(&self, dialect: Dialect) -> Vec<u8> {
        let code = self.code.name();
        let msg = self.msg.as_deref();
        let mut json = Vec::new();
        let written = match dialect {
            Dialect::V1 => {
                let data = self.data.as_ref().map(|data| V1Data {
                    code: data.code,
                    stdout: &data.stdout,
                    stderr: &data.stderr,
                });
                V1Response { code, msg, data }
                    .serialize(&mut serde_json::Serializer::new(&mut json))
            }
            Dialect::V1Deployed => {
                let data = self.data.as_ref().map(|data| DeployedData {
                    code: data.code,
                    stderr: &data.stderr,
                    stdout: &data.stdout,
                });
                let mut serializer = serde_json::Serializer::with_formatter(&mut json, Spaced);
                DeployedResponse { msg, code, data }.serialize(&mut serializer)
            }
        };
        written.expect("strings and numbers always serialize");
        json
    }

    /// Reads an answer; zero bytes at its end are link padding.
    ///
    /// # Errors
    ///
    /// Where it is no JSON object with a code.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let parsed: AnyResponse = serde_json::from_slice(&bytes[..end])?;
        Ok(Self {
            code: Code::from_name(&parsed.code),
            msg: parsed.msg.map(|msg| match msg {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            }),
            data: parsed.data.and_then(|data| serde_json::from_value(data).ok()),
        })
    }
}

#[derive(Serialize)]
struct V1Response<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<V1Data<'a>>,
}

#[derive(Serialize)]
struct V1Data<'a> {
    code: i32,
    stdout: &'a str,
    stderr: &'a str,
}

#[derive(Serialize)]
struct DeployedResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'a str>,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<DeployedData<'a>>,
}

#[derive(Serialize)]
struct DeployedData<'a> {
    code: i32,
    stderr: &'a str,
    stdout: &'a str,
}

#[derive(Deserialize)]
struct AnyResponse {
    code: String,
    #[serde(default)]
    msg: Option<serde_json::Value>,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

/// JSON with a space after each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec() -> Response {
        let data = ExecData { code: 3, stdout: "Linux\n".into(), stderr: String::new() };
        Response { code: Code::Success, msg: None, data: Some(data) }
    }

    #[test]
    fn each_dialect_gets_the_bytes_that_its_peers_send() {
        assert_eq!(
            exec().to_json(Dialect::V1),
            br#"{"code":"Success","data":{"code":3,"stdout":"Linux\n","stderr":""}}"#
        );
        assert_eq!(
            exec().to_json(Dialect::V1Deployed),
            br#"{"code": "Success", "data": {"code": 3, "stderr": "", "stdout": "Linux\n"}}"#
        );
        let saved = Response { msg: Some("saved".into()), ..Response::success() };
        assert_eq!(saved.to_json(Dialect::V1Deployed), br#"{"msg": "saved", "code": "Success"}"#);
    }

    #[test]
    fn what_is_written_is_read_padding_or_not() {
        for response in [exec(), Response::error(Code::AuthError, "no \u{0} key")] {
            for dialect in [Dialect::V1, Dialect::V1Deployed] {
                let mut json = response.to_json(dialect);
                assert_eq!(Response::from_json(&json).unwrap(), response);
                json.extend_from_slice(&[0; 9]);
                assert_eq!(Response::from_json(&json).unwrap(), response);
            }
        }
    }

    #[test]
    fn what_this_version_does_not_know_survives() {
        let response =
            Response::from_json(br#"{"code":"Busy","msg":7,"data":"x","more":1}"#).unwrap();
        assert_eq!(response.code, Code::Other("Busy".into()));
        assert_eq!(response.msg.as_deref(), Some("7"));
        assert_eq!(response.data, None);
        assert!(Response::from_json(b"").is_err());
        assert!(Response::from_json(b"\0\0").is_err());
        assert!(Response::from_json(b"[1]").is_err());
    }
}
