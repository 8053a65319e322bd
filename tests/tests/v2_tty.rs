//! Commands on a terminal there, from a terminal here.

use std::time::Duration;

use anyhow::{Result, ensure};
use bmstools_tests::remote::{poll, require_end_of, words_in};
use bmstools_tests::terminal::Terminal;
use bmstools_tests::{Agent, Link, Testbed, with_every_link};
use rustix::process::Signal;

with_every_link!(
    a_terminal_has_our_size_and_follows_it,
    ctrl_c_reaches_the_command_and_not_us,
    ctrl_c_reaches_what_a_shell_has_in_its_foreground,
    the_login_shell_runs_where_there_is_no_command,
    the_terminal_is_restored_whatever_ends_the_command,
    the_escape_ends_a_command_that_does_not_listen,
    the_end_of_a_piped_input_is_the_end_there,
    output_that_comes_with_the_end_is_shown,
);

fn serving(link: Link) -> Result<(Testbed, Agent)> {
    let bed = Testbed::new(link)?;
    let agent = bed.start_v2_agent("")?;
    Ok((bed, agent))
}

fn start(bed: &Testbed, words: &[&str]) -> Result<Terminal> {
    let words = [&["exec", "--tty"], words].concat();
    Terminal::start(bed.operator().v2().terminal_command(&words)?, 33, 101)
}

fn a_terminal_has_our_size_and_follows_it(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let script = "trap 'stty size' WINCH; stty size; echo $TERM; while :; do sleep 0.1; done";
    let terminal = start(&bed, &["--", "sh", "-c", script])?;
    terminal.wait_for("33 101")?;
    terminal.wait_for("vt100")?;
    for (rows, columns) in [(50, 132), (1, 1), (1000, 3000)] {
        terminal.resize(rows, columns)?;
        terminal.wait_for(&format!("\n{rows} {columns}\r"))?;
    }
    Ok(())
}

fn ctrl_c_reaches_the_command_and_not_us(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let script =
        "trap 'echo caught' INT; trap 'exit 5' QUIT; echo ready; while :; do sleep 0.1; done";
    let mut terminal = start(&bed, &["--", "sh", "-c", script])?;
    // Our terminal is raw before anything is shown on it.
    terminal.wait_for("ready")?;
    ensure!(terminal.is_raw()?, "our terminal interprets keys itself");
    terminal.type_in("\x03")?;
    terminal.wait_for("caught")?;
    terminal.type_in("\x1c")?;
    assert_eq!(terminal.wait()?.code(), Some(5), "{}", terminal.shown());
    ensure!(terminal.is_as_before()?, "our terminal was not restored");
    Ok(())
}

fn ctrl_c_reaches_what_a_shell_has_in_its_foreground(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let mut terminal = start(&bed, &["--", "bash", "--norc", "-i"])?;
    terminal.type_in("echo re''ady\r")?;
    terminal.wait_for("ready")?;
    terminal.type_in("sleep 1000; echo left with $?\r")?;
    std::thread::sleep(Duration::from_millis(500));
    terminal.type_in("\x03")?;
    terminal.type_in("echo code $?\r")?;
    terminal.wait_for("code 130")?;
    terminal.type_in("exit 9\r")?;
    assert_eq!(terminal.wait()?.code(), Some(9), "{}", terminal.shown());
    Ok(())
}

fn the_login_shell_runs_where_there_is_no_command(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let mut terminal = start(&bed, &[])?;
    terminal.type_in("echo \"<$0>\" \"$(tty)\"; exit 3\r")?;
    assert_eq!(terminal.wait()?.code(), Some(3), "{}", terminal.shown());
    let shown = terminal.shown();
    ensure!(shown.contains("<-") && shown.contains("/dev/pts/"), "{shown}");
    Ok(())
}

fn the_terminal_is_restored_whatever_ends_the_command(link: Link) -> Result<()> {
    let (bed, agent) = serving(link)?;
    let pid = bed.path("pid");
    let script = format!("rm -f {0}; echo $$ > {0}; exec sleep 1000", pid.display());
    let words = ["--", "sh", "-c", script.as_str()];
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1] {
        let mut terminal = start(&bed, &words)?;
        let pids = words_in(&pid)?;
        // The command may run before we know that it does.
        let raw = || terminal.is_raw().ok().filter(|raw| *raw);
        ensure!(poll(Duration::from_secs(5), raw).is_some(), "our terminal interprets keys itself");
        terminal.signal("bmstools", signal)?;
        assert_eq!(terminal.wait()?.code(), Some(128 + signal.as_raw()), "{}", terminal.shown());
        ensure!(terminal.is_as_before()?, "our terminal was not restored after {signal:?}");
        require_end_of(&pids, Duration::from_secs(5))?;
        std::fs::remove_file(&pid)?;
    }
    let mut terminal = start(&bed, &words)?;
    let pids = words_in(&pid)?;
    agent.end(Signal::TERM, Duration::from_secs(10))?;
    assert_eq!(terminal.wait()?.code(), Some(255), "{}", terminal.shown());
    ensure!(terminal.is_as_before()?, "our terminal was not restored after the agent's end");
    require_end_of(&pids, Duration::from_secs(5))
}

fn the_escape_ends_a_command_that_does_not_listen(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let pid = bed.path("pid");
    let script = format!("trap '' INT HUP; stty raw; echo $$ > {}; sleep 1000", pid.display());
    let mut terminal = start(&bed, &["--", "sh", "-c", script.as_str()])?;
    let pids = words_in(&pid)?;
    let raw = || terminal.is_raw().ok().filter(|raw| *raw);
    ensure!(poll(Duration::from_secs(5), raw).is_some(), "our terminal interprets keys itself");
    terminal.type_in("\r~.")?;
    assert_eq!(terminal.wait()?.code(), Some(255), "{}", terminal.shown());
    ensure!(terminal.is_as_before()?, "our terminal was not restored");
    require_end_of(&pids, Duration::from_secs(5))
}

fn the_end_of_a_piped_input_is_the_end_there(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    // Process::start gives an empty input.
    let done = bed.operator().v2().run(&["exec", "--tty", "--", "cat"])?;
    assert_eq!(done.code(), Some(0), "{done:?}");
    Ok(())
}

fn output_that_comes_with_the_end_is_shown(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    for _ in 0..5 {
        let done = bed.operator().v2().run(&["exec", "--tty", "--", "seq", "20000"])?.success()?;
        let expected: String = (1..=20_000).map(|number| format!("{number}\r\n")).collect();
        ensure!(done.text() == expected, "{} bytes of {}", done.stdout.len(), expected.len());
    }
    Ok(())
}
