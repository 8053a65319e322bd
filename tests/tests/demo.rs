//! The demonstration: what a newcomer runs first.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bmstools_tests::command;
use bmstools_tests::process::Process;
use rustix::process::Signal;

fn start(size: &str) -> Result<Process> {
    command::require_root()?;
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.args(["--size", size]);
    Process::start("the demonstration", demo)
}

/// Fails where something of the demonstration with this process id is left.
fn require_nothing_left(demo: u32) -> Result<()> {
    for entry in fs::read_dir("/run/netns")?.flatten() {
        let name = entry.file_name();
        let prefix = format!("bmstest-{demo}-");
        ensure!(!name.to_string_lossy().starts_with(&prefix), "{name:?} is left");
    }
    Ok(())
}

#[test]
fn it_shows_every_step_and_leaves_nothing() -> Result<()> {
    let mut demo = start("8M")?;
    let done = demo.wait(Duration::from_secs(60))?.success()?;
    let text = done.text();
    for shown in [
        "prog/xdp",
        "bmstools -t 52:54:00:aa:bb:01 ping",
        "over version 2",
        "--proto v1 --link xdp push",
        "exec -- uname -a",
        "8388608 bytes",
        "Gb/s",
        "same, byte for byte",
        "of a live session: to the AF_XDP socket",
    ] {
        ensure!(text.contains(shown), "nothing of `{shown}`:\n{text}");
    }
    ensure!(done.stderr.contains("to stderr"), "{}", done.stderr);
    require_nothing_left(demo.id())
}

#[test]
fn a_signal_in_mid_push_removes_everything() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        let mut demo = start("1G")?;
        let directory = wait_for_push(&mut demo)?;
        demo.signal(signal)?;
        let done = demo.wait(Duration::from_secs(20))?;
        assert_eq!(done.code(), Some(130), "{done:?}");
        ensure!(done.text().contains("Interrupted"), "{}", done.text());
        ensure!(!Path::new(&directory).exists(), "{directory} is left");
        require_nothing_left(demo.id())?;
    }
    Ok(())
}

/// Waits until the push runs; the demonstration's directory.
fn wait_for_push(demo: &mut Process) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = demo.stdout();
        let push = text.lines().find(|line| line.contains(" push /"));
        if let Some(file) = push.and_then(|line| line.split_whitespace().last()) {
            thread::sleep(Duration::from_millis(300));
            ensure!(!demo.has_ended()?, "it ended early: {text}");
            let directory = Path::new(file).parent().unwrap_or(Path::new("/"));
            return Ok(directory.display().to_string());
        }
        ensure!(Instant::now() < deadline, "it did not come to the push: {text}");
        ensure!(!demo.has_ended()?, "it ended early: {text}{}", demo.stderr());
        thread::sleep(Duration::from_millis(10));
    }
}
