//! `bmstools exec`: as if the command had run here.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bmstools_tests::{Link, Testbed, with_every_link};
use rustix::process::Signal;

with_every_link!(
    output_and_exit_code_come_back,
    arguments_arrive_as_they_were_typed,
    a_command_killed_by_a_signal_exits_with_128_and_its_number,
    a_missing_command_exits_with_127,
    output_of_many_fragments_arrives_whole,
    output_past_the_limit_is_cut_with_a_mark,
    json_output_is_one_value,
    a_command_past_its_time_is_killed,
    an_interrupted_operator_ends_the_remote_process_group,
    an_operator_whose_terminal_is_gone_ends_the_remote_command,
    commands_run_beside_each_other,
);

fn output_and_exit_code_come_back(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().exec(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    assert_eq!(
        (done.code(), &*done.text(), &*done.stderr),
        (Some(3), "out\n", "err\n"),
        "{done:?}"
    );
    let done = bed.operator().exec(&["true"])?;
    assert_eq!((done.code(), &*done.text(), &*done.stderr), (Some(0), "", ""), "{done:?}");
    Ok(())
}

fn arguments_arrive_as_they_were_typed(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let words = ["two words", "$HOME", "`id`", "a'b", "\"", "\\", "*", "", "ä€", "a\nb", "-n"];
    let done = bed.operator().exec(&[&["printf", "<%s>"], &words[..]].concat())?.success()?;
    let expected: String = words.map(|word| format!("<{word}>")).concat();
    assert_eq!(done.text(), expected);
    Ok(())
}

fn a_command_killed_by_a_signal_exits_with_128_and_its_number(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().exec(&["sh", "-c", "kill -9 $$"])?;
    assert_eq!(done.code(), Some(128 + 9), "{done:?}");
    let done = bed.operator().exec(&["sh", "-c", "kill -15 $$"])?;
    assert_eq!(done.code(), Some(128 + 15), "{done:?}");
    Ok(())
}

fn a_missing_command_exits_with_127(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().exec(&["no-such-command-anywhere"])?;
    assert_eq!(done.code(), Some(127), "{done:?}");
    ensure!(done.stderr.contains("no-such-command-anywhere"), "{done:?}");
    Ok(())
}

fn output_of_many_fragments_arrives_whole(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().exec(&["seq", "30000"])?.success()?;
    let expected: String = (1..=30_000).map(|number| format!("{number}\n")).collect();
    ensure!(done.text() == expected, "{} bytes came", done.stdout.len());
    Ok(())
}

fn output_past_the_limit_is_cut_with_a_mark(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().exec(&["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])?;
    let kept = done.stdout.iter().filter(|&&byte| byte == b'x').count();
    ensure!(kept >= 100_000, "only {kept} bytes came");
    ensure!(done.stdout.len() < 2_000_000, "{} bytes came: no limit", done.stdout.len());
    let all = format!("{}{}", done.text().trim_start_matches('x'), done.stderr);
    ensure!(
        all.contains("cut") || all.contains("truncated") || all.contains("omitted"),
        "nothing says that output is missing: {all:?}"
    );
    Ok(())
}

fn json_output_is_one_value(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().json().exec(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    assert_eq!(done.code(), Some(3), "{done:?}");
    let json = done.json()?;
    ensure!(json.to_string().contains(r#""stdout":"out\n""#), "{json}");
    ensure!(json.to_string().contains(r#""stderr":"err\n""#), "{json}");
    Ok(())
}

fn a_command_past_its_time_is_killed(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let pid = bed.path("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    let done =
        bed.operator().run(&["exec", "--timeout", "1", "--", "sh", "-c", script.as_str()])?;
    ensure!(done.code().is_some_and(|code| code != 0), "{done:?}");
    ensure!(done.took < Duration::from_secs(8), "{done:?}");
    require_end_of(&[fs::read_to_string(pid)?])
}

fn an_interrupted_operator_ends_the_remote_process_group(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let pids = bed.path("pids");
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
    let mut operator = bed.operator().start(&["exec", "--", "bash", "-c", script.as_str()])?;
    let written = poll(Duration::from_secs(10), || {
        fs::read_to_string(&pids).ok().filter(|text| text.ends_with('\n'))
    });
    let pids: Vec<_> = written.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    ensure!(pids.len() == 2, "the command did not start: {}", operator.stderr());
    operator.signal(Signal::INT)?;
    let done = operator.wait(Duration::from_secs(5))?;
    ensure!(done.code() != Some(0), "{done:?}");
    require_end_of(&pids)
}

fn an_operator_whose_terminal_is_gone_ends_the_remote_command(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let pid = bed.path("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    let mut operator = bed.operator().start(&["exec", "--", "sh", "-c", script.as_str()])?;
    let written = poll(Duration::from_secs(10), || {
        fs::read_to_string(&pid).ok().filter(|text| text.ends_with('\n'))
    });
    ensure!(written.is_some(), "the command did not start: {}", operator.stderr());
    operator.signal(Signal::HUP)?;
    let done = operator.wait(Duration::from_secs(5))?;
    assert_eq!(done.code(), Some(129), "{done:?}");
    require_end_of(&[written.unwrap_or_default()])
}

fn commands_run_beside_each_other(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut slow = bed.operator().link(Link::Packet).start(&["exec", "--", "sleep", "20"])?;
    thread::sleep(Duration::from_millis(500));
    let quick = bed.operator().link(Link::Packet).exec(&["echo", "quick"])?.success()?;
    ensure!(quick.took < Duration::from_secs(5), "{quick:?}");
    ensure!(!slow.has_ended()?, "the slow command ended early: {}", slow.stderr());
    slow.signal(Signal::INT)?;
    slow.wait(Duration::from_secs(5)).map(drop)
}

/// Fails unless all these processes end soon.
fn require_end_of(pids: &[String]) -> Result<()> {
    for pid in pids {
        let status = format!("/proc/{}/status", pid.trim());
        let gone = poll(Duration::from_secs(5), || {
            let state = fs::read_to_string(&status).unwrap_or_default();
            (state.is_empty() || state.contains("State:\tZ")).then_some(())
        });
        ensure!(gone.is_some(), "process {pid} still runs");
    }
    Ok(())
}

fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
