//! How a command began and ended, as an exit code and in words.

use anyhow::anyhow;
use bmstools_proto::v2::message::exec::{Exited, Started};
use bmstools_proto::v2::message::{Answer, FailureCode};
use serde_json::{Map, Value, json};

use crate::output::{EXIT_FAILURE, Failure, one_line};
use crate::v2::Host;
use crate::v2::ask::refused;

/// What the agent says to a request to run something: that it runs, or the exit code
/// where there is nothing to run, which has been told then.
///
/// # Errors
///
/// Where the agent refuses, or says nothing.
pub(crate) fn started(
    host: &Host,
    answer: Option<Answer<Started>>,
) -> Result<Result<Started, u8>, Failure> {
    let failure = match answer {
        Some(Answer::Done(started)) => return Ok(Ok(started)),
        Some(Answer::Failed(failure)) => failure,
        None => return Err(anyhow!("the agent gave no answer").into()),
    };
    let code = match failure.code {
        FailureCode::NoCommand => EXIT_NO_COMMAND,
        FailureCode::NotRunnable => EXIT_NOT_RUNNABLE,
        _ => return Err(refused(&failure).into()),
    };
    tell(host, &failure.message)?;
    if host.json() {
        let message = one_line(&failure.message);
        host.result(json!({ "error": message, "code": code }), "")?;
    }
    Ok(Err(code))
}

/// One line of ours on standard error.
pub(crate) fn tell(host: &Host, message: &str) -> std::io::Result<()> {
    host.stderr(format!("bmstools: {}\n", one_line(message)).as_bytes())
}

/// The exit code for a command's end: its own, 128 and the signal's number as shells have
/// it, or 124 as timeout(1) has it.
pub(crate) fn exit_code(exited: &Exited) -> u8 {
    match (exited.timed_out, exited.code, exited.signal) {
        (true, _, _) => EXIT_TIMED_OUT,
        (false, Some(code), _) => code,
        (false, None, Some(signal)) => signal.saturating_add(128),
        (false, None, None) => EXIT_FAILURE,
    }
}

/// Tells people what an exit code does not say.
pub(crate) fn explain(host: &Host, exited: &Exited, what: &str) -> std::io::Result<()> {
    if exited.timed_out {
        tell(host, &format!("{what} took longer than --timeout allows, and was ended"))?;
    }
    if exited.core {
        host.warn(&format!("{what} left a core dump there"));
    }
    if let Some(why) = &exited.why {
        host.warn(why);
    }
    Ok(())
}

/// A command's end for programs.
pub(crate) fn to_json(exited: &Exited) -> Map<String, Value> {
    let fields = [
        ("code", json!(exit_code(exited))),
        ("exit", json!(exited.code)),
        ("signal", json!(exited.signal)),
        ("core", json!(exited.core)),
        ("timed_out", json!(exited.timed_out)),
        ("msg", json!(exited.why)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// As shells have it.
const EXIT_NO_COMMAND: u8 = 127;
/// As shells have it.
const EXIT_NOT_RUNNABLE: u8 = 126;
/// As timeout(1) has it.
const EXIT_TIMED_OUT: u8 = 124;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells_and_timeout() {
        let exited =
            |code, signal, timed_out| Exited { code, signal, timed_out, ..Exited::default() };
        assert_eq!(exit_code(&exited(Some(3), None, false)), 3);
        assert_eq!(exit_code(&exited(None, Some(9), false)), 137);
        assert_eq!(exit_code(&exited(None, Some(200), false)), 255);
        assert_eq!(exit_code(&exited(None, Some(15), true)), 124);
        assert_eq!(exit_code(&exited(Some(0), None, true)), 124);
        assert_eq!(exit_code(&exited(None, None, false)), 255);
    }

    #[test]
    fn programs_see_whether_it_was_a_code_or_a_signal() {
        let signalled = Exited { signal: Some(15), ..Exited::default() };
        let json = Value::from(to_json(&signalled));
        assert_eq!((&json["code"], &json["signal"]), (&json!(143), &json!(15)));
        assert_eq!(json["exit"], Value::Null);
    }
}
