//! Commands over version 2: their streams, their surroundings, their end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bmstools_tests::memory::{self, MIB, Memory};
use bmstools_tests::process::{Finished, Process};
use bmstools_tests::relay::Impairments;
use bmstools_tests::remote::{poll, require_end_of, runs, words_in};
use bmstools_tests::{Agent, Link, Testbed, data, with_every_link};
use rustix::process::Signal;

with_every_link!(
    output_errors_and_exit_code_come_back,
    arguments_of_any_bytes_arrive_as_they_are,
    a_shell_interprets_a_string,
    signals_are_128_and_their_number_and_json_says_which,
    what_cannot_be_run_is_named_with_the_shells_exit_code,
    environment_directory_and_user_are_as_asked_for,
    surroundings_are_the_same_whatever_started_the_agent,
    a_command_past_its_time_is_ended_with_its_group,
    a_hundred_mebibytes_there_and_back_are_exact,
    a_reader_that_does_not_read_holds_the_command_back_and_grows_nobody,
    an_input_that_nobody_reads_is_given_up,
    a_reader_that_goes_away_ends_the_command_as_a_pipe_does,
    a_background_process_is_not_waited_for,
    signals_go_to_the_remote_process_group,
    a_second_interrupt_ends_us_and_the_command,
    an_operator_that_is_killed_takes_the_command_with_it,
    an_agent_that_ends_or_is_killed_takes_its_commands_with_it,
    commands_have_a_limit,
    commands_over_a_cable_that_loses_three_of_ten_frames_are_exact,
);

fn serving(link: Link) -> Result<(Testbed, Agent)> {
    serving_with(link, "")
}

fn serving_with(link: Link, lines: &str) -> Result<(Testbed, Agent)> {
    let bed = Testbed::new(link)?;
    let agent = bed.start_v2_agent(lines)?;
    Ok((bed, agent))
}

fn exec(bed: &Testbed, options: &[&str], command: &[&str]) -> Result<Finished> {
    bed.operator().v2().run(&[&["exec"], options, &["--"], command].concat())
}

fn commands_over_a_cable_that_loses_three_of_ten_frames_are_exact(link: Link) -> Result<()> {
    let bad = Impairments { loss: 0.3, ..Impairments::default() };
    let bed = Testbed::with_relay(link, bad, 31)?;
    let _agent = bed.start_v2_agent("")?;
    let counted: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    for code in 0..5 {
        let script = format!("seq 20000; exit {code}");
        let done = exec(&bed, &["--shell"], &[&script])?;
        assert_eq!((done.code(), done.text() == counted), (Some(code), true), "{}", done.stderr);
    }
    bed.relay()?.require_impaired().map(drop)
}

fn output_errors_and_exit_code_come_back(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let done = exec(&bed, &[], &["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    assert_eq!((done.code(), &*done.text(), &*done.stderr), (Some(3), "out\n", "err\n"));
    let done = exec(&bed, &[], &["true"])?;
    assert_eq!((done.code(), &*done.text(), &*done.stderr), (Some(0), "", ""), "{done:?}");
    for _ in 0..5 {
        let done = exec(&bed, &[], &["sh", "-c", "seq 30000; seq 30000 >&2"])?.success()?;
        let expected: String = (1..=30_000).map(|number| format!("{number}\n")).collect();
        ensure!(done.text() == expected && done.stderr == expected, "{}", done.stdout.len());
    }
    Ok(())
}

fn arguments_of_any_bytes_arrive_as_they_are(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let every: Vec<u8> = (1..=255).collect();
    let odd: [&[u8]; 12] = [
        b"two words",
        b"$HOME",
        b"`id`",
        b"a'b",
        b"\"",
        b"\\",
        b"*",
        b"",
        b"a\nb",
        b"-n",
        b"\xff\xfe",
        &every,
    ];
    let fixed = [&b"exec"[..], b"--", b"printf", b"<%s>"];
    let words: Vec<_> = fixed.iter().chain(&odd).map(|word| OsStr::from_bytes(word)).collect();
    let done = bed.operator().v2().run(&words)?.success()?;
    let expected: Vec<u8> = odd.iter().flat_map(|word| [b"<", *word, b">"].concat()).collect();
    assert_eq!(done.stdout, expected);
    // More than a pipe, a frame or a terminal's line holds.
    let long = "x".repeat(120_000);
    let done = exec(&bed, &[], &["printf", "%s%s%s", &long, &long, &long])?.success()?;
    assert_eq!(done.stdout.len(), 360_000);
    Ok(())
}

fn a_shell_interprets_a_string(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let done = exec(&bed, &["--shell"], &["echo $((6 * 7)) | tr 4 5; exit 9"])?;
    assert_eq!((done.code(), &*done.text()), (Some(9), "52\n"), "{done:?}");
    assert_eq!(exec(&bed, &["--shell"], &["a", "b"])?.code(), Some(2));
    Ok(())
}

fn signals_are_128_and_their_number_and_json_says_which(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    for (script, code) in [("kill -9 $$", 137), ("kill -15 $$", 143), ("exit 143", 143)] {
        let done = exec(&bed, &[], &["sh", "-c", script])?;
        assert_eq!((done.code(), &*done.stderr), (Some(code), ""), "{done:?}");
    }
    let operator = bed.operator().v2().json();
    let json = operator.run(&["exec", "--", "sh", "-c", "echo o; echo e >&2; kill $$"])?.json()?;
    assert_eq!((&json["code"], &json["signal"]), (&143.into(), &15.into()), "{json}");
    assert_eq!((&json["stdout"], &json["stderr"]), (&"o\n".into(), &"e\n".into()), "{json}");
    let json = operator.run(&["exec", "--", "sh", "-c", "exit 143"])?.json()?;
    assert_eq!((&json["code"], json["signal"].is_null()), (&143.into(), true), "{json}");
    Ok(())
}

fn what_cannot_be_run_is_named_with_the_shells_exit_code(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let script = bed.path("script");
    fs::write(&script, "#!/no/such/interpreter\n")?;
    let chmod = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, chmod)?;
    let script = script.display().to_string();
    let cases: [(&[&str], &str, i32, &str); 7] = [
        (&[], "no-such-command", 127, "no-such-command: no such command"),
        (&[], "/no/such/file", 127, "/no/such/file: no such command"),
        (&[], "/etc/passwd", 126, "/etc/passwd: Permission denied"),
        (&[], "/etc", 126, "/etc: "),
        (&[], &script, 126, "interpreter"),
        (&["--cwd", "/no/such/place"], "true", 255, "/no/such/place: No such file or directory"),
        (&["--user", "no-such-user"], "true", 255, "there is no user \"no-such-user\""),
    ];
    for (options, command, code, says) in cases {
        let done = exec(&bed, options, &[command])?;
        assert_eq!(done.code(), Some(code), "{done:?}");
        ensure!(done.stderr.contains(says) && done.stderr.lines().count() == 1, "{done:?}");
    }
    Ok(())
}

fn environment_directory_and_user_are_as_asked_for(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let words: [&[u8]; 9] = [
        b"exec",
        b"--env",
        b"A=b=c \n\xff",
        b"-e",
        b"EMPTY=",
        b"--",
        b"sh",
        b"-c",
        b"printf '<%s>' \"$A\" \"${EMPTY-unset}\"",
    ];
    let words = words.map(OsStr::from_bytes);
    let done = bed.operator().v2().run(&words)?.success()?;
    assert_eq!(done.stdout, b"<b=c \n\xff><>");
    let script = "id -un; id -G; pwd; echo $HOME $USER; echo x > /dev/stdout; cat < /dev/stdin";
    let done =
        exec(&bed, &["--user", "nobody", "--cwd", "/tmp"], &["sh", "-c", script])?.success()?;
    let text = done.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines[2], lines[4]), ("nobody", "/tmp", "x"), "{done:?}");
    ensure!(lines[3].ends_with(" nobody"), "{done:?}");
    let by_number = exec(&bed, &["--user", "65534"], &["id", "-G"])?.success()?;
    assert_eq!(by_number.text().trim(), lines[1]);
    // As the user, not as root.
    let closed = bed.path("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let closed = closed.display().to_string();
    let done = exec(&bed, &["--user", "nobody", "--cwd", &closed], &["true"])?;
    ensure!(done.code() == Some(255) && done.stderr.contains("Permission denied"), "{done:?}");
    Ok(())
}

fn surroundings_are_the_same_whatever_started_the_agent(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let done =
        exec(&bed, &["--no-stdin"], &["sh", "-c", "pwd; wc -c; tty; env | sort"])?.success()?;
    let text = done.text();
    ensure!(text.starts_with("/\n0\nnot a tty\n"), "{text}");
    let names: Vec<_> = text.lines().skip(3).filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names, ["HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "USER"]);
    // Nothing of the agent's is open in it.
    let done = exec(&bed, &[], &["ls", "/proc/self/fd"])?.success()?;
    assert_eq!(done.text(), "0\n1\n2\n3\n");
    Ok(())
}

fn a_command_past_its_time_is_ended_with_its_group(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let pids = bed.path("pids");
    let script = format!("trap '' TERM; sleep 1000 & echo $$ $! > {}; wait; wait", pids.display());
    let done = exec(&bed, &["--timeout", "0.5"], &["sh", "-c", &script])?;
    assert_eq!(done.code(), Some(124), "{done:?}");
    ensure!(done.stderr.contains("--timeout"), "{done:?}");
    ensure!(done.took < Duration::from_secs(15), "{done:?}");
    require_end_of(&words_in(&pids)?, Duration::from_secs(5))?;
    let done = exec(&bed, &["--timeout", "60"], &["sh", "-c", "exit 3"])?;
    assert_eq!((done.code(), &*done.stderr), (Some(3), ""), "{done:?}");
    Ok(())
}

fn a_hundred_mebibytes_there_and_back_are_exact(link: Link) -> Result<()> {
    let (bed, agent) = serving(link)?;
    let place = memory::directory("bmstest-cat-", 256 * MIB)?;
    let (sent, arrived) = (place.path().join("sent"), place.path().join("arrived"));
    data::write_random(&sent, 1, 100 * MIB)?;
    let before = agent.memory()?;
    let command = bed.operator().v2().command(&["exec", "--", "cat"])?;
    let (input, output) = (File::open(&sent)?, File::create(&arrived)?);
    let mut cat = Process::start_with("bmstools", command, input.into(), output.into())?;
    cat.wait(Duration::from_secs(120))?.success()?;
    data::require_same(&sent, &arrived)?;
    require_growth(&agent, before)
}

fn a_reader_that_does_not_read_holds_the_command_back_and_grows_nobody(link: Link) -> Result<()> {
    let (bed, agent) = serving(link)?;
    exec(&bed, &[], &["head", "-c", "1000000", "/dev/zero"])?.success()?;
    let before = agent.memory()?;
    let done = bed.path("done");
    let script = format!("head -c {} /dev/zero; echo > {}", 256 * MIB, done.display());
    let command = bed.operator().v2().command(&["exec", "--", "sh", "-c", &script])?;
    let (mut reader, writer) = std::io::pipe()?;
    let mut operator =
        Process::start_with("bmstools", command, Stdio::null(), Stdio::from(writer))?;
    reader.read_exact(&mut [0; 1])?;
    thread::sleep(Duration::from_secs(2));
    ensure!(!done.exists(), "the command was not held back");
    let held = Memory::of(operator.id())?;
    ensure!(held.peak < 64 * MIB, "the operator holds {held:?}");
    let rest = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut count = 1;
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            count += read as u64;
        }
        count
    });
    // The writing end that this process had is gone with the command it was given to.
    operator.wait(Duration::from_secs(120))?.success()?;
    assert_eq!(rest.join().ok().context("the reader panicked")?, 256 * MIB);
    ensure!(done.exists());
    require_growth(&agent, before)
}

/// Fails where the agent has grown by more than a session's buffers.
fn require_growth(agent: &Agent, before: Memory) -> Result<()> {
    let after = agent.memory()?;
    let grown = after.peak.saturating_sub(before.resident);
    ensure!(grown < 32 * MIB, "the agent has grown from {before:?} to {after:?}");
    Ok(())
}

fn an_input_that_nobody_reads_is_given_up(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let start = |words: &[&str]| {
        let command = bed.operator().v2().command(words)?;
        let zeros = File::open("/dev/zero")?;
        Process::start_with("bmstools", command, zeros.into(), Stdio::piped())
    };
    let done = start(&["exec", "--", "head", "-c", "1"])?.wait(Duration::from_secs(10))?;
    assert_eq!((done.code(), done.stdout.len()), (Some(0), 1), "{}", done.stderr);
    // One that has closed it and goes on.
    let script = "exec < /dev/null; sleep 1; echo done";
    let done = start(&["exec", "--", "sh", "-c", script])?.wait(Duration::from_secs(10))?;
    assert_eq!((done.code(), &*done.text()), (Some(0), "done\n"), "{}", done.stderr);
    Ok(())
}

fn a_reader_that_goes_away_ends_the_command_as_a_pipe_does(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let command = bed.operator().v2().command(&["exec", "--", "yes"])?;
    let (mut reader, writer) = std::io::pipe()?;
    let mut operator =
        Process::start_with("bmstools", command, Stdio::null(), Stdio::from(writer))?;
    reader.read_exact(&mut [0; 10])?;
    drop(reader);
    let done = operator.wait(Duration::from_secs(10))?;
    assert_eq!((done.code(), &*done.stderr), (Some(141), ""), "{done:?}");
    Ok(())
}

fn a_background_process_is_not_waited_for(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let done = exec(&bed, &[], &["sh", "-c", "sleep 20 & echo $!"])?;
    let pid = done.text().trim().to_owned();
    ensure!(done.code() == Some(0) && done.took < Duration::from_secs(10), "{done:?}");
    ensure!(done.stderr.contains("a background process still holds the output"), "{done:?}");
    ensure!(runs(&pid), "the background process was ended");
    exec(&bed, &[], &["kill", &pid])?.success().map(drop)
}

fn signals_go_to_the_remote_process_group(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let pids = bed.path("pids");
    // Both the shell and its child must get it.
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1] {
        let mut operator = bed.operator().v2().start(&["exec", "--", "sh", "-c", &script])?;
        let running = words_in(&pids)?;
        operator.signal(signal)?;
        let done = operator.wait(Duration::from_secs(10))?;
        assert_eq!(done.code(), Some(128 + signal.as_raw()), "{done:?}");
        // A shell without a terminal makes its background processes ignore these.
        let ended =
            if matches!(signal, Signal::INT | Signal::QUIT) { &running[..1] } else { &running };
        require_end_of(ended, Duration::from_secs(5))?;
        for left in &running[ended.len()..] {
            exec(&bed, &[], &["kill", left])?.success()?;
        }
        fs::remove_file(&pids)?;
    }
    // A command may have something to do first, and ends as it likes.
    let script = format!(
        "trap 'echo bye; exit 42' INT; echo $$ > {}; while :; do sleep 0.1; done",
        pids.display()
    );
    let mut operator = bed.operator().v2().start(&["exec", "--", "sh", "-c", &script])?;
    words_in(&pids)?;
    operator.signal(Signal::INT)?;
    let done = operator.wait(Duration::from_secs(10))?;
    assert_eq!((done.code(), &*done.text()), (Some(42), "bye\n"), "{done:?}");
    Ok(())
}

fn a_second_interrupt_ends_us_and_the_command(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let pids = bed.path("pids");
    let script = format!("trap '' INT HUP; sleep 1000 & echo $$ $! > {}; wait", pids.display());
    let mut operator = bed.operator().v2().start(&["exec", "--", "sh", "-c", &script])?;
    let running = words_in(&pids)?;
    operator.signal(Signal::INT)?;
    thread::sleep(Duration::from_millis(500));
    ensure!(!operator.has_ended()?, "the first interrupt ended us: {}", operator.stderr());
    operator.signal(Signal::INT)?;
    let done = operator.wait(Duration::from_secs(5))?;
    assert_eq!(done.code(), Some(130), "{done:?}");
    require_end_of(&running, Duration::from_secs(10))
}

fn an_operator_that_is_killed_takes_the_command_with_it(link: Link) -> Result<()> {
    let (bed, _agent) = serving_with(link, "[sessions]\nidle_timeout = 3")?;
    let pids = bed.path("pids");
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
    let mut operator = bed.operator().v2().start(&["exec", "--", "sh", "-c", &script])?;
    let running = words_in(&pids)?;
    thread::sleep(Duration::from_secs(5));
    ensure!(!operator.has_ended()?, "a silent command's session ended: {}", operator.stderr());
    operator.signal(Signal::KILL)?;
    operator.wait(Duration::from_secs(5))?;
    require_end_of(&running, Duration::from_secs(15))
}

fn an_agent_that_ends_or_is_killed_takes_its_commands_with_it(link: Link) -> Result<()> {
    for signal in [Signal::TERM, Signal::KILL] {
        let (bed, agent) = serving_with(link, "[sessions]\nidle_timeout = 3")?;
        let pid = bed.path("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
        let mut operator = bed.operator().v2().start(&["exec", "--", "sh", "-c", &script])?;
        let running = words_in(&pid)?;
        agent.end(signal, Duration::from_secs(10))?;
        require_end_of(&running, Duration::from_secs(5))?;
        let done = operator.wait(Duration::from_secs(20))?;
        ensure!(done.code() == Some(255) && done.stderr.lines().count() == 1, "{done:?}");
    }
    Ok(())
}

fn commands_have_a_limit(link: Link) -> Result<()> {
    let (bed, _agent) = serving_with(link, "[exec]\nmax_commands = 1")?;
    let pid = bed.path("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    // One packet socket may have a neighbour; an XDP program may not.
    let operator = bed.operator().v2().link(Link::Packet);
    let mut first = operator.start(&["exec", "--", "sh", "-c", &script])?;
    words_in(&pid)?;
    let done = operator.run(&["exec", "--", "true"])?;
    ensure!(done.code() == Some(255) && done.stderr.contains("exec.max_commands"), "{done:?}");
    first.signal(Signal::TERM)?;
    first.wait(Duration::from_secs(5))?;
    let free = || operator.run(&["exec", "--", "true"]).ok().filter(|done| done.code() == Some(0));
    ensure!(poll(Duration::from_secs(5), free).is_some(), "the limit stays reached");
    Ok(())
}
