//! `bmstools jobs`, `logs`, `wait` and `kill`: commands that run without a session.

mod signal;
mod table;

use anyhow::{Context as _, anyhow};
use bmstools_proto::v2::message::Request;
use bmstools_proto::v2::message::exec::{Job, JobReply, JobRequest, JobState};
use bmstools_session::RecvStream;
use clap::Args;
use serde_json::{Value, json};

use super::ask::{answer, ask};
use super::exec::outcome;
use super::exec::output::{self, Which};
use crate::output::{EXIT_FAILURE, Failure};
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Remove this job that has ended, with what it wrote
    #[arg(long, value_name = "JOB", conflicts_with = "prune")]
    pub(crate) forget: Option<String>,
    /// Remove every job that has ended, with what it wrote
    #[arg(long)]
    pub(crate) prune: bool,
}

/// Lists the jobs there, or forgets some.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn run(host: &Host, args: &JobsArgs) -> Result<u8, Failure> {
    let request = match (&args.forget, args.prune) {
        (None, false) => JobRequest::List,
        (job, _) => JobRequest::Forget(job.clone()),
    };
    let (_send, mut recv) = ask(host.session(), &Request::Job(request)).await?;
    let mut jobs = Vec::new();
    while let JobReply::Job(job) = answer(&mut recv).await? {
        jobs.push(job);
    }
    if host.json() {
        for job in &jobs {
            host.result(table::to_json(job), "")?;
        }
    } else if args.forget.is_none() && !args.prune {
        host.stdout(table::text(&jobs).as_bytes())?;
    } else if !host.quiet() {
        for job in &jobs {
            host.stdout(format!("forgot {}\n", job.id).as_bytes())?;
        }
    }
    Ok(0)
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until the job ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The job's name, as `jobs` shows it
    pub(crate) job: String,
}

/// Shows what a job wrote.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn logs(host: &Host, args: &LogsArgs) -> Result<u8, Failure> {
    let open = async || anyhow::Ok(host.session().open_stream().await?);
    let (mut send, mut recv) = open().await?;
    let (mut to_stdout, stdout) = open().await?;
    let (mut to_stderr, stderr) = open().await?;
    let (job, follow) = (args.job.clone(), args.follow);
    let (output, errors) = (to_stdout.id(), to_stderr.id());
    let request = JobRequest::Logs { job, follow, output, errors };
    send.send(&Request::Job(request)).await.context("cannot ask the agent")?;
    answer::<JobReply>(&mut recv).await?;
    // The agent has them: this opens both.
    to_stdout.finish();
    to_stderr.finish();
    let (stdout, stderr) = tokio::try_join!(
        output::pass_on(host, Which::Stdout, stdout),
        output::pass_on(host, Which::Stderr, stderr)
    )?;
    let job = one(&mut recv).await?;
    for (cut, name) in [(job.output_cut, "stdout"), (job.errors_cut, "stderr")] {
        if cut > 0 {
            host.warn(&format!(
                "{name} of job {} was cut: {cut} bytes are missing at its end (jobs.max_output \
                 of the agent)",
                job.id
            ));
        }
    }
    if host.json() {
        let mut object = table::to_json(&job);
        object["stdout"] = stdout.text().into();
        object["stderr"] = stderr.text().into();
        object["stdout_cut"] = json!(job.output_cut + stdout.cut());
        object["stderr_cut"] = json!(job.errors_cut + stderr.cut());
        host.result(object, "")?;
    }
    Ok(0)
}

/// The one job that an answer is about.
async fn one(recv: &mut RecvStream) -> anyhow::Result<Job> {
    match answer(recv).await? {
        JobReply::Job(job) => Ok(job),
        _ => Err(anyhow!("the agent answered something else than was asked")),
    }
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The job's name, as `jobs` shows it
    pub(crate) job: String,
}

/// Waits for a job; returns its exit code.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn wait(host: &Host, args: &WaitArgs) -> Result<u8, Failure> {
    let request = Request::Job(JobRequest::Wait(args.job.clone()));
    let (_send, mut recv) = ask(host.session(), &request).await?;
    let job = one(&mut recv).await?;
    if host.json() {
        host.result(table::to_json(&job), "")?;
    }
    match &job.exited {
        Some(exited) => {
            outcome::explain(host, exited, &format!("job {}", job.id))?;
            Ok(outcome::exit_code(exited))
        }
        None if job.state == JobState::Lost => {
            let lost = "was lost: what kept it was killed, so nobody knows how it ended";
            outcome::tell(host, &format!("job {} {lost}", job.id))?;
            Ok(EXIT_FAILURE)
        }
        None => Err(anyhow!("the agent does not say how job {} ended", job.id).into()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIG", default_value = "TERM", value_parser = signal::parse)]
    pub(crate) signal: u8,
    /// The job's name, as `jobs` shows it
    pub(crate) job: String,
}

/// Sends a signal to a job's process group.
///
/// # Errors
///
/// Where the session fails or the agent refuses.
pub(crate) async fn kill(host: &Host, args: &KillArgs) -> Result<u8, Failure> {
    let (job, signal) = (args.job.clone(), args.signal);
    let request = Request::Job(JobRequest::Kill { job, signal });
    let (_send, mut recv) = ask(host.session(), &request).await?;
    answer::<JobReply>(&mut recv).await?;
    if host.json() {
        host.result(Value::Object(serde_json::Map::new()), "")?;
    }
    Ok(0)
}
