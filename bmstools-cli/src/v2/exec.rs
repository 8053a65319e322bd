//! `bmstools exec`: a command there, its streams and its exit code here.

mod attached;
mod escape;
pub(crate) mod input;
pub(crate) mod outcome;
pub(crate) mod output;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use bmstools_proto::v2::message::exec::{Exec, Started, Variable};
use bmstools_proto::v2::message::{Answer, Request};
use clap::Args;
use serde_json::json;

use super::ask::ask;
use super::tty;
use crate::args::seconds;
use crate::output::Failure;
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// End the command after so many seconds, with SIGTERM and 5 seconds later with
    /// SIGKILL; the exit code is 124 then
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
    /// Take one argument and let the remote bash interpret it (sh where there is none),
    /// instead of passing every argument through unchanged
    #[arg(long)]
    pub(crate) shell: bool,
    /// Run it on a terminal there. Without a command, run the login shell. Ctrl-C goes to
    /// the command; Enter, ~ and . end the session
    #[arg(long, conflicts_with = "detach")]
    pub(crate) tty: bool,
    /// Add a variable to the command's environment; without `=V`, the value it has here
    #[arg(short, long = "env", value_name = "K[=V]")]
    pub(crate) env: Vec<OsString>,
    /// Run in this directory instead of `/`
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) cwd: Option<OsString>,
    /// Run as this user, by name or number, with the user's groups
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Give the command an empty standard input, as `< /dev/null` does
    #[arg(short, long)]
    pub(crate) no_stdin: bool,
    /// Let it run without this session, print the job's name and return at once; see
    /// `jobs`, `logs`, `wait` and `kill`
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required_unless_present = "tty", value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

impl ExecArgs {
    /// The options given that version 1 does not have.
    pub(crate) fn only_v2(&self) -> Vec<&'static str> {
        let given = [
            ("--tty", self.tty),
            ("--env", !self.env.is_empty()),
            ("--cwd", self.cwd.is_some()),
            ("--user", self.user.is_some()),
            ("--no-stdin", self.no_stdin),
            ("--detach", self.detach),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// Refuses what makes no sense, before anything is sent.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.request().map(drop)
    }

    /// The request, without its streams.
    fn request(&self) -> Result<Exec, Failure> {
        if self.shell && self.command.len() != 1 {
            return Err(Failure::Usage(
                "--shell takes the whole command line as one argument: quote it, as in \
                 exec --shell -- 'dmesg | tail'"
                    .into(),
            ));
        }
        Ok(Exec {
            argv: self.command.iter().map(|word| word.as_bytes().to_vec().into()).collect(),
            shell: self.shell,
            env: self.env.iter().map(|text| variable(text)).collect::<Result<_, _>>()?,
            cwd: self.cwd.clone().map(|cwd| cwd.into_vec().into()),
            user: self.user.clone(),
            tty: self.tty.then(tty::describe),
            timeout: self.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            output: None,
            errors: None,
            detach: self.detach,
        })
    }
}

fn variable(text: &OsStr) -> Result<Variable, Failure> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], bytes[at + 1..].to_vec()),
        None => {
            let value = env::var_os(text).ok_or_else(|| {
                let text = text.display();
                Failure::Usage(format!("--env {text}: it is not set here; give it as {text}=VALUE"))
            })?;
            (bytes, value.into_vec())
        }
    };
    if name.is_empty() {
        let text = text.display();
        return Err(Failure::Usage(format!("--env {text}: a variable needs a name")));
    }
    Ok(Variable { name: name.to_vec().into(), value: value.into() })
}

/// Runs the command there; returns its exit code.
///
/// # Errors
///
/// Where the session fails, the agent refuses, or a signal cuts it short.
pub(crate) async fn run(host: &Host, args: &ExecArgs) -> Result<u8, Failure> {
    let request = args.request()?;
    if args.detach {
        return detach(host, request).await;
    }
    attached::run(host, request, !args.no_stdin && host.is_alone()).await
}

async fn detach(host: &Host, request: Exec) -> Result<u8, Failure> {
    let asked = async {
        let (_send, mut recv) = ask(host.session(), &Request::Exec(request)).await?;
        anyhow::Ok(recv.receive::<Answer<Started>>().await?)
    };
    let answer = tokio::select! {
        answer = asked => answer?,
        signal = host.signal() => return Err(Failure::Interrupted(signal)),
    };
    let started = match outcome::started(host, answer)? {
        Ok(started) => started,
        Err(code) => return Ok(code),
    };
    let job = started.job.unwrap_or_default();
    host.result(json!({ "job": job, "pid": started.pid }), &job)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign_and_keeps_its_bytes() {
        let text = OsStr::from_bytes(b"A=b=\xff\n");
        let variable = variable(text).unwrap();
        assert_eq!((&variable.name[..], &variable.value[..]), (&b"A"[..], &b"b=\xff\n"[..]));
    }

    #[test]
    fn a_variable_without_a_value_has_the_one_it_has_here() {
        let variable = variable(OsStr::new("CARGO_PKG_NAME"));
        assert_eq!(variable.unwrap().value.to_vec(), b"bmstools-cli");
        for bad in ["NO_SUCH_VARIABLE_HERE", "=x", ""] {
            assert!(matches!(super::variable(OsStr::new(bad)), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
