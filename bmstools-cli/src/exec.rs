//! `bmstools exec`: a command there, its output and exit code here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use anyhow::anyhow;
use bmstools_proto::operator::Request;
use bmstools_proto::response::{Code, ExecData, Response};
use serde_json::json;

use crate::connect::Connector;
use crate::output::{EXIT_FAILURE, Failure, Output};
use crate::quote;
use crate::signals::Signals;
use crate::stop::{self, Outcome};
use crate::v2::exec::ExecArgs;

/// Runs the command and shows what it left; returns its exit code.
///
/// # Errors
///
/// Where the session fails, the agent refuses, or time or a signal cuts it short.
pub(crate) async fn run(
    args: ExecArgs,
    connector: &Connector,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let line = command_line(args.shell, args.command)?;
    let (mut session, _) = connector.connect(signals).await?;
    session.submit(Request::Exec(line))?;
    let response = match stop::wait(session.response(), args.timeout, signals).await {
        Outcome::Done(response) => response?,
        Outcome::Signal(signal) => {
            stop::end(session, signals).await;
            return Err(Failure::Interrupted(signal));
        }
        Outcome::TimedOut => {
            stop::end(session, signals).await;
            let seconds = args.timeout.unwrap_or_default().as_secs_f64();
            return Err(Failure::Other(anyhow!(
                "the command did not finish within {seconds} s (--timeout): its session was \
                 ended, so the agent kills it"
            )));
        }
    };
    let shown = show(response, output);
    stop::end(session, signals).await;
    shown
}

fn command_line(shell: bool, mut command: Vec<OsString>) -> Result<Vec<u8>, Failure> {
    if !shell {
        return Ok(quote::command_line(&command));
    }
    match (command.pop(), command.is_empty()) {
        (Some(line), true) => Ok(line.into_vec()),
        _ => Err(Failure::Usage(
            "--shell takes the whole command line as one argument: quote it, as in \
             exec --shell -- 'dmesg | tail'"
                .into(),
        )),
    }
}

fn show(response: Response, output: &Output) -> Result<u8, Failure> {
    let (data, msg) = match response {
        Response { code: Code::Success, msg, data: Some(data) } => (data, msg),
        Response { code: Code::Success, .. } => {
            return Err(Failure::Other(anyhow!(
                "the agent reports success but no result: does it speak another --proto?"
            )));
        }
        refusal => {
            // A command that the agent killed has left what it wrote until then.
            if let Some(data) = &refusal.data {
                if output.json {
                    let object = json!({ "stdout": data.stdout, "stderr": data.stderr });
                    output.result(object, "")?;
                } else {
                    output.remote(&data.stdout, &data.stderr)?;
                }
            }
            return Err(Failure::Other(refused("the command", &refusal)));
        }
    };
    let ExecData { code, stdout, stderr } = &data;
    if output.json {
        let object = json!({ "code": code, "stdout": stdout, "stderr": stderr, "msg": msg });
        output.result(object, "")?;
    } else {
        output.remote(stdout, stderr)?;
        if let Some(msg) = msg {
            output.warn(&msg);
        }
    }
    Ok(u8::try_from(*code).unwrap_or(EXIT_FAILURE))
}

/// The agent's refusal of `what`, in its own words.
pub(crate) fn refused(what: &str, response: &Response) -> anyhow::Error {
    let code = response.code.name();
    match &response.msg {
        Some(msg) if !msg.is_empty() => anyhow!("the agent refused {what}: {msg} ({code})"),
        _ => anyhow!("the agent refused {what} ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_takes_exactly_one_argument_and_leaves_it_alone() {
        let line = command_line(true, vec!["a | b 'c'".into()]).unwrap();
        assert_eq!(line, b"a | b 'c'");
        let two = command_line(true, vec!["a".into(), "b".into()]);
        assert!(matches!(two, Err(Failure::Usage(_))));
    }

    #[test]
    fn a_refusal_is_told_in_the_agents_words_with_its_code() {
        let response = Response::error(Code::ParameterError, "no such file");
        let text = refused("x", &response).to_string();
        assert_eq!(text, "the agent refused x: no such file (ParameterError)");
        let text = refused("x", &Response { code: Code::AuthError, msg: None, data: None });
        assert_eq!(text.to_string(), "the agent refused x (AuthError)");
    }

    #[test]
    fn a_success_without_a_result_is_a_failure_of_ours() {
        let output = Output { json: false, quiet: true };
        assert!(matches!(show(Response::success(), &output), Err(Failure::Other(_))));
    }
}
