//! Commands that run without a session.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use bmstools_tests::remote::{poll, require_end_of, runs, words_in};
use bmstools_tests::{Agent, Link, Testbed, with_every_link};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

with_every_link!(
    a_job_outlives_its_session_and_its_end_is_known,
    logs_follow_a_job_to_its_end,
    a_job_is_killed_with_its_process_group,
    a_job_past_its_time_is_ended,
    output_past_the_limit_is_counted_and_told,
    jobs_live_on_when_the_agent_is_restarted_or_killed,
    a_job_whose_keeper_was_killed_is_lost,
    jobs_that_have_ended_are_forgotten,
    what_cannot_be_started_leaves_no_job,
    a_job_that_is_none_is_named,
);

fn serving(link: Link) -> Result<(Testbed, Agent)> {
    let bed = Testbed::new(link)?;
    let agent = bed.start_v2_agent("[jobs]\nkeep = 2\nmax_output = 100000")?;
    Ok((bed, agent))
}

/// Starts `script` as a job, and returns its name.
fn detach(bed: &Testbed, script: &str) -> Result<String> {
    let done = bed.operator().v2().run(&["exec", "--detach", "--", "sh", "-c", script])?;
    Ok(done.success()?.text().trim().to_owned())
}

/// All jobs.
fn jobs(bed: &Testbed) -> Result<Vec<Value>> {
    let done = bed.operator().v2().json().run(&["jobs"])?.success()?;
    Ok(done.text().lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn a_job_outlives_its_session_and_its_end_is_known(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let go_on = bed.path("go-on");
    let script = format!(
        "echo out; echo err >&2; until [ -e {} ]; do sleep 0.1; done; exit 4",
        go_on.display()
    );
    let job = detach(&bed, &script)?;
    ensure!(job.len() == 5 && job.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{job:?}");
    let listed = jobs(&bed)?;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["job"], &listed[0]["state"]), (&job.clone().into(), &"running".into()));
    assert_eq!(listed[0]["command"][2], script);
    for (path, mode) in [("", 0o700), ("stdout", 0o600), ("stderr", 0o600), ("record", 0o600)] {
        let about = fs::metadata(bed.path("jobs").join(&job).join(path))?;
        assert_eq!(about.permissions().mode() & 0o777, mode, "{path}");
    }
    let operator = bed.operator().v2();
    let logs = operator.run(&["logs", &job])?.success()?;
    assert_eq!((&*logs.text(), &*logs.stderr), ("out\n", "err\n"));
    let mut waiting = operator.start(&["wait", &job])?;
    ensure!(!waiting.has_ended()?, "a running job was not waited for");
    fs::write(go_on, "")?;
    assert_eq!(waiting.wait(Duration::from_secs(10))?.code(), Some(4));
    let text = operator.run(&["jobs"])?.success()?.text();
    ensure!(text.contains("exited 4") && text.contains(&job), "{text}");
    assert_eq!(operator.run(&["wait", &job])?.code(), Some(4));
    Ok(())
}

fn logs_follow_a_job_to_its_end(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let job = detach(&bed, "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; seq 2000 >&2")?;
    let done = bed.operator().v2().run(&["logs", "--follow", &job])?.success()?;
    assert_eq!(done.text(), "1\n2\n3\n4\n5\n");
    let expected: String = (1..=2000).map(|number| format!("{number}\n")).collect();
    assert_eq!(done.stderr, expected);
    Ok(())
}

fn a_job_is_killed_with_its_process_group(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let pids = bed.path("pids");
    let script = format!("trap 'exit 7' USR1; sleep 1000 & echo $$ $! > {}; wait", pids.display());
    let operator = bed.operator().v2();
    let job = detach(&bed, &script)?;
    let sleeper = words_in(&pids)?[1].parse().ok().and_then(Pid::from_raw);
    operator.run(&["kill", "--signal", "USR1", &job])?.success()?;
    assert_eq!(operator.run(&["wait", &job])?.code(), Some(7));
    let done = operator.run(&["kill", &job])?;
    assert_eq!(done.code(), Some(255));
    ensure!(done.stderr.contains("does not run any more"), "{done:?}");
    // Caught by the shell's trap before it became `sleep`, the signal did not end this.
    let _ = sleeper.map(|sleeper| kill_process(sleeper, Signal::KILL));
    fs::remove_file(&pids)?;
    let job = detach(&bed, &script)?;
    let pids = words_in(&pids)?;
    operator.run(&["kill", &job])?.success()?;
    assert_eq!(operator.run(&["wait", &job])?.code(), Some(143));
    require_end_of(&pids, Duration::from_secs(5))
}

fn a_job_past_its_time_is_ended(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let operator = bed.operator().v2();
    let words = ["exec", "--detach", "--timeout", "0.5", "--", "sleep", "1000"];
    let job = operator.run(&words)?.success()?.text().trim().to_owned();
    let done = operator.run(&["wait", &job])?;
    assert_eq!(done.code(), Some(124), "{done:?}");
    assert_eq!(jobs(&bed)?[0]["timed_out"], true);
    Ok(())
}

fn output_past_the_limit_is_counted_and_told(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let operator = bed.operator().v2();
    let job = detach(&bed, "head -c 300000 /dev/zero; head -c 100000 /dev/zero >&2")?;
    assert_eq!(operator.run(&["wait", &job])?.code(), Some(0));
    let done = operator.run(&["logs", &job])?.success()?;
    assert_eq!(done.stdout.len(), 100_000);
    ensure!(
        done.stderr.contains("stdout of job") && done.stderr.contains("200000 bytes"),
        "{done:?}"
    );
    ensure!(!done.stderr.contains("stderr of job"), "{}", done.stderr.len());
    assert_eq!(jobs(&bed)?[0]["stdout_cut"], 200_000);
    Ok(())
}

fn jobs_live_on_when_the_agent_is_restarted_or_killed(link: Link) -> Result<()> {
    let (bed, mut agent) = serving(link)?;
    for (round, signal) in [Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let pid = bed.path("pid");
        let go_on = bed.path(&format!("go-on-{round}"));
        let script = format!(
            "echo $$ > {}; until [ -e {} ]; do sleep 0.1; done; echo done; exit 6",
            pid.display(),
            go_on.display()
        );
        let job = detach(&bed, &script)?;
        let pids = words_in(&pid)?;
        agent.end(signal, Duration::from_secs(10))?;
        ensure!(runs(&pids[0]), "the job ended with the agent ({signal:?})");
        agent = bed.start_v2_agent("")?;
        let listed = jobs(&bed)?;
        let ours = listed.iter().find(|listed| listed["job"] == *job);
        assert_eq!(ours.map(|job| &job["state"]), Some(&"running".into()), "{listed:?}");
        fs::write(go_on, "")?;
        assert_eq!(bed.operator().v2().run(&["wait", &job])?.code(), Some(6));
        assert_eq!(bed.operator().v2().run(&["logs", &job])?.success()?.text(), "done\n");
        fs::remove_file(pid)?;
    }
    Ok(())
}

fn a_job_whose_keeper_was_killed_is_lost(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let pid = bed.path("pid");
    let job = detach(&bed, &format!("echo $$ $PPID > {}; exec sleep 1000", pid.display()))?;
    let pids = words_in(&pid)?;
    let keeper = pids[1].parse().ok().and_then(Pid::from_raw);
    ensure!(keeper.is_some_and(|keeper| kill_process(keeper, Signal::KILL).is_ok()), "{pids:?}");
    require_end_of(&pids, Duration::from_secs(5))?;
    let done = bed.operator().v2().run(&["wait", &job])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("was lost"), "{done:?}");
    assert_eq!(jobs(&bed)?[0]["state"], "lost");
    Ok(())
}

fn jobs_that_have_ended_are_forgotten(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let operator = bed.operator().v2();
    let lasting = detach(&bed, "sleep 1000")?;
    let mut ended = Vec::new();
    for _ in 0..4 {
        let job = detach(&bed, "true")?;
        assert_eq!(operator.run(&["wait", &job])?.code(), Some(0));
        ended.push(job);
    }
    let names = |bed| -> Result<Vec<String>> {
        Ok(jobs(bed)?.iter().filter_map(|job| job["job"].as_str().map(str::to_owned)).collect())
    };
    // Two are kept, beside the one that runs.
    assert_eq!(names(&bed)?, [&*lasting, &*ended[2], &*ended[3]]);
    operator.run(&["jobs", "--forget", &ended[2]])?.success()?;
    assert_eq!(names(&bed)?, [&*lasting, &*ended[3]]);
    let done = operator.run(&["jobs", "--forget", &lasting])?;
    ensure!(done.code() == Some(255) && done.stderr.contains("still runs"), "{done:?}");
    operator.run(&["jobs", "--prune"])?.success()?;
    assert_eq!(names(&bed)?, [&*lasting]);
    operator.run(&["kill", "--signal", "9", &lasting])?.success()?;
    assert_eq!(operator.run(&["wait", &lasting])?.code(), Some(137));
    Ok(())
}

fn what_cannot_be_started_leaves_no_job(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let operator = bed.operator().v2();
    let done = operator.run(&["exec", "--detach", "--", "no-such-command-anywhere"])?;
    assert_eq!(done.code(), Some(127), "{done:?}");
    let done = operator.run(&["exec", "--detach", "--cwd", "/no-such-place", "--", "true"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("/no-such-place"), "{done:?}");
    assert_eq!(jobs(&bed)?, Vec::<Value>::new());
    let left =
        || fs::read_dir(bed.path("jobs")).map(Iterator::count).ok().filter(|left| *left == 0);
    ensure!(poll(Duration::from_secs(2), left).is_some(), "a directory stays behind");
    Ok(())
}

fn a_job_that_is_none_is_named(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    for words in [["logs", "nosuch"], ["wait", "../x"], ["kill", "a/b"]] {
        let done = bed.operator().v2().run(&words)?;
        assert_eq!(done.code(), Some(255), "{done:?}");
        let wanted = format!("there is no job {:?}", words[1]);
        ensure!(done.stderr.contains(&wanted), "{done:?}");
    }
    Ok(())
}
