//! Ends of every kind: clean ones and those that nobody could prepare for.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bmstools_tests::memory::MIB;
use bmstools_tests::peer::Options;
use bmstools_tests::process::Process;
use bmstools_tests::{Agent, Link, Operator, Testbed, data, nic, with_every_link};
use rustix::process::Signal;

with_every_link!(
    a_killed_operator_leaves_no_file_and_no_session,
    an_interrupted_push_leaves_no_file,
    a_terminated_agent_ends_sessions_and_commands_at_once,
    an_interrupted_agent_ends_cleanly,
    a_killed_agent_leaves_no_program_and_a_new_one_serves_at_once,
    a_silent_session_ends_by_itself,
);

/// A push that takes longer than any test looks at it, with some of it done.
fn long_push(bed: &Testbed, operator: &Operator<'_>) -> Result<Process> {
    let sent = bed.random_file("sent", 512 * MIB)?;
    fs::create_dir(bed.path("remote"))?;
    let remote = bed.path("remote/arrived");
    let push = operator.start(&[Path::new("push"), &sent, &remote])?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while nic::statistics(bed.agent_namespace(), nic::NAME)?.received < 5000 {
        ensure!(Instant::now() < deadline, "nothing arrives: {}", push.stderr());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(push)
}

fn require_nothing_left(bed: &Testbed, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let left: Vec<_> =
            fs::read_dir(bed.path("remote"))?.flatten().map(|entry| entry.path()).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left behind: {left:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn open_sessions(agent: &mut Agent) -> Result<u64> {
    Ok(agent.counters()?.named("sessions_open"))
}

fn a_killed_operator_leaves_no_file_and_no_session(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    // It may be killed between two messages, when there is nothing that its session
    // could wait for but a request.
    let config = bed.path("agent.toml");
    fs::write(&config, "[sessions]\nidle_timeout = 30\n")?;
    let mut agent = bed.agent_command()?.config(&config).start()?;
    let mut push = long_push(&bed, &bed.operator())?;
    push.signal(Signal::KILL)?;
    push.wait(Duration::from_secs(5))?;
    assert_eq!(open_sessions(&mut agent)?, 1);
    // A deployed operator may be silent for 33 s in mid-message and come back.
    require_no_session(&mut agent, Duration::from_secs(40))?;
    require_nothing_left(&bed, Duration::from_secs(1))?;
    bed.operator().exec(&["true"])?.success().map(drop)
}

fn require_no_session(agent: &mut Agent, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let open = open_sessions(agent)?;
        if open == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{open} sessions are still open");
        thread::sleep(Duration::from_millis(100));
    }
}

fn an_interrupted_push_leaves_no_file(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving(link)?;
    let mut push = long_push(&bed, &bed.operator())?;
    push.signal(Signal::INT)?;
    let done = push.wait(Duration::from_secs(5))?;
    ensure!(done.code() == Some(130), "{done:?}");
    require_nothing_left(&bed, Duration::from_secs(5))?;
    require_no_session(&mut agent, Duration::from_secs(5))
}

fn a_terminated_agent_ends_sessions_and_commands_at_once(link: Link) -> Result<()> {
    let (bed, agent) = Testbed::serving(link)?;
    let pid = bed.path("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    let mut operator = bed.operator().start(&["exec", "--", "sh", "-c", script.as_str()])?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
        ensure!(Instant::now() < deadline, "the command did not start");
        thread::sleep(Duration::from_millis(10));
    }
    let ended = agent.end(Signal::TERM, Duration::from_secs(5))?;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let told = Instant::now();
    let done = operator.wait(Duration::from_secs(5))?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("ended the session"), "{done:?}");
    ensure!(told.elapsed() < Duration::from_secs(3), "it took {:?}", told.elapsed());
    let command = Path::new("/proc").join(fs::read_to_string(&pid)?.trim());
    let state = fs::read_to_string(command.join("status")).unwrap_or_default();
    ensure!(state.is_empty() || state.contains("State:\tZ"), "the command still runs: {state}");
    ensure!(!nic::has_xdp_program(bed.agent_namespace(), nic::NAME)?, "a program is attached");
    Ok(())
}

fn an_interrupted_agent_ends_cleanly(link: Link) -> Result<()> {
    let (bed, agent) = Testbed::serving(link)?;
    assert_eq!(nic::has_xdp_program(bed.agent_namespace(), nic::NAME)?, link.is_xdp());
    let ended = agent.end(Signal::INT, Duration::from_secs(5))?;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    ensure!(!nic::has_xdp_program(bed.agent_namespace(), nic::NAME)?, "a program is attached");
    bmstools_tests::agent::last_counters(&ended.stderr).map(drop)
}

fn a_killed_agent_leaves_no_program_and_a_new_one_serves_at_once(link: Link) -> Result<()> {
    let (bed, agent) = Testbed::serving(link)?;
    // An operator's XDP program would keep frames from others on its host.
    let operator = bed.operator().link(Link::Packet);
    let mut push = long_push(&bed, &operator)?;
    let ended = agent.end(Signal::KILL, Duration::from_secs(5))?;
    assert_eq!(ended.signal(), Some(9), "{ended:?}");
    // The kernel detaches a dead process's program off its own work queue.
    let deadline = Instant::now() + Duration::from_secs(2);
    while nic::has_xdp_program(bed.agent_namespace(), nic::NAME)? {
        ensure!(Instant::now() < deadline, "the program is still attached");
        thread::sleep(Duration::from_millis(10));
    }
    let _restarted = bed.start_agent()?;
    let served = operator.exec(&["echo", "served"])?.success()?;
    ensure!(served.took < Duration::from_secs(3), "{served:?}");
    let done = push.wait(Duration::from_secs(60))?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("52:54:00:aa:bb:01"), "{done:?}");
    ensure!(!bed.path("remote/arrived").exists(), "half a file is in place");
    let sent = bed.random_file("again", MIB)?;
    bed.operator().push(&sent, &bed.path("remote/again"))?;
    data::require_same(&sent, &bed.path("remote/again"))
}

fn a_silent_session_ends_by_itself(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let config = bed.path("agent.toml");
    fs::write(&config, "[sessions]\nidle_timeout = 1\n")?;
    let mut agent = bed.agent_command()?.config(&config).start()?;
    let mut operators = Vec::new();
    for key in 1..=3 {
        let mut operator = bed.hand_operator(Options::documented(key))?;
        operator.authenticate(&bed.keys)?;
        operators.push(operator);
    }
    assert_eq!(open_sessions(&mut agent)?, 3);
    require_no_session(&mut agent, Duration::from_secs(5))
}
