//! Jobs for people and for programs.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt as _;

use bmstools_proto::v2::message::exec::{Job, JobState};
use serde_json::{Value, json};

use super::signal;
use crate::output::one_line;
use crate::quote;
use crate::v2::exec::outcome;

/// A table with a line a job.
pub(crate) fn text(jobs: &[Job]) -> String {
    let mut text = String::new();
    if !jobs.is_empty() {
        text.push_str("JOB    STATE           STARTED (UTC)        USER      COMMAND\n");
    }
    for job in jobs {
        let user = one_line(job.user.as_deref().unwrap_or("-"));
        let line = (&one_line(&job.id), state(job), time(job.started), user, command(job));
        let (id, state, started, user, command) = line;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{id:<6} {state:<15} {started:<20} {user:<9} {command}");
    }
    text
}

/// A job as an object.
pub(crate) fn to_json(job: &Job) -> Value {
    let mut object = job.exited.as_ref().map(outcome::to_json).unwrap_or_default();
    let argv: Vec<_> = job.argv.iter().map(|word| String::from_utf8_lossy(word)).collect();
    let fields = [
        ("job", json!(job.id)),
        ("state", json!(state_name(job.state))),
        ("command", json!(argv)),
        ("shell", json!(job.shell)),
        ("user", json!(job.user)),
        ("pid", json!(job.pid)),
        ("started", json!(time(job.started))),
        ("ended", json!(job.ended.map(time))),
        ("stdout_cut", json!(job.output_cut)),
        ("stderr_cut", json!(job.errors_cut)),
    ];
    object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}

fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Exited => "exited",
        JobState::Lost => "lost",
        _ => "unknown",
    }
}

fn state(job: &Job) -> String {
    match &job.exited {
        Some(exited) if exited.timed_out => "timed out".into(),
        Some(exited) => match (exited.code, exited.signal) {
            (Some(code), _) => format!("exited {code}"),
            (None, Some(number)) => format!("killed {}", signal::name(number)),
            (None, None) => "exited".into(),
        },
        None => state_name(job.state).into(),
    }
}

/// The command as one could type it.
fn command(job: &Job) -> String {
    let plain = |word: &[u8]| {
        !word.is_empty()
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:=,@%+".contains(byte))
    };
    let words = job.argv.iter().map(|word| {
        let bytes = match plain(word) || job.shell {
            true => word.to_vec(),
            false => quote::command_line(&[OsString::from_vec(word.to_vec())]),
        };
        String::from_utf8_lossy(&bytes).into_owned()
    });
    one_line(&words.collect::<Vec<_>>().join(" "))
}

/// Milliseconds since 1970 as a time in UTC, by the proleptic Gregorian calendar.
fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use bmstools_proto::v2::message::exec::Exited;

    use super::*;

    fn job(argv: &[&[u8]], exited: Option<Exited>) -> Job {
        Job {
            id: "k7x2p".into(),
            state: if exited.is_some() { JobState::Exited } else { JobState::Running },
            argv: argv.iter().map(|word| word.to_vec().into()).collect(),
            shell: false,
            user: None,
            pid: 7,
            started: 1_000,
            ended: None,
            exited,
            output_cut: 0,
            errors_cut: 0,
        }
    }

    #[test]
    fn times_are_those_of_date() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(time(1_709_251_199_999), "2024-02-29 23:59:59");
        assert_eq!(time(4_102_444_800_000), "2100-01-01 00:00:00");
    }

    #[test]
    fn a_line_shows_how_a_job_is_and_what_it_runs() {
        let killed = Exited { signal: Some(15), ..Exited::default() };
        let text = text(&[job(&[b"sh", b"-c", b"a 'b'\x1b"], Some(killed)), job(&[b"ls"], None)]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("killed SIGTERM"), "{text}");
        assert!(lines[1].ends_with(r"sh -c 'a '\''b'\''\u{1b}'"), "{text}");
        assert!(lines[2].contains("running") && lines[2].ends_with("ls"), "{text}");
        assert_eq!(super::text(&[]), "");
    }

    #[test]
    fn programs_see_a_jobs_end() {
        let json = to_json(&job(&[b"x"], Some(Exited { code: Some(4), ..Exited::default() })));
        assert_eq!((&json["state"], &json["code"]), (&json!("exited"), &json!(4)));
        let json = to_json(&job(&[b"x"], None));
        assert_eq!((&json["state"], json.get("code")), (&json!("running"), None));
    }
}
