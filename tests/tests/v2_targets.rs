//! One command on many servers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bmstools_common::Mac;
use bmstools_tests::memory::{self, MIB};
use bmstools_tests::nic::{self, End, PairOptions};
use bmstools_tests::process::{Finished, Process};
use bmstools_tests::{Agent, AgentCommand, KeyPair, Link, Namespace, binaries};
use tempfile::TempDir;

/// Servers on a switch, and an operator who has them all in the inventory.
struct Rack {
    operator: Namespace,
    _switch: Namespace,
    _servers: Vec<(Namespace, Option<Agent>)>,
    keys: KeyPair,
    directory: TempDir,
}

/// How a server is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Well,
    /// It has no agent.
    Dead,
    /// Its agent knows other keys.
    Refusing,
}

impl Rack {
    fn new(kinds: &[Kind]) -> Result<Self> {
        let keys = KeyPair::shared(2048)?;
        let directory = memory::directory("bmstest-", 16 * MIB)?;
        let switch = Namespace::new("switch")?;
        switch.ip("link add bridge type bridge")?;
        switch.ip("link set bridge up")?;
        let operator = Namespace::new("operator")?;
        plug(&switch, &operator, 0)?;
        let mut servers = Vec::new();
        let mut inventory = String::new();
        let mut names = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            let number = at + 1;
            let namespace = Namespace::new(&format!("server{number}"))?;
            plug(&switch, &namespace, number)?;
            let agent = match kind {
                Kind::Dead => None,
                kind => Some(serve(&namespace, &directory, number, &keys, *kind)?),
            };
            let name = format!("server{number:02}");
            inventory += &format!("[hosts.{name}]\nmac = \"{}\"\n", mac(number));
            names.push(format!("\"{name}\""));
            servers.push((namespace, agent));
        }
        inventory += &format!("[groups]\nrack = [{}]\n", names.join(", "));
        fs::write(directory.path().join("hosts.toml"), inventory)?;
        Ok(Self { operator, _switch: switch, _servers: servers, keys, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.operator.command(binaries::operator()?);
        command.arg("--inventory").arg(self.path("hosts.toml"));
        command.arg("--key").arg(self.keys.private_path());
        command.args(["--iface", nic::NAME]).args(words);
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Finished> {
        Process::start("bmstools", self.command(words)?)?.wait(Duration::from_secs(120))
    }
}

/// Connects a host to the switch.
fn plug(switch: &Namespace, host: &Namespace, number: usize) -> Result<()> {
    let port = format!("port{number}");
    let there = End { namespace: host, name: nic::NAME, mac: mac(number) };
    let here = End { namespace: switch, name: &port, mac: mac(0x100 + number) };
    nic::connect(here, there, PairOptions::default())?;
    switch.ip(&format!("link set {port} master bridge")).map(drop)
}

fn mac(number: usize) -> Mac {
    let [.., high, low] = (number as u32).to_be_bytes();
    Mac([0x52, 0x54, 0, 0xcc, high, low])
}

fn serve(
    namespace: &Namespace,
    directory: &TempDir,
    number: usize,
    keys: &KeyPair,
    kind: Kind,
) -> Result<Agent> {
    let auth = directory.path().join(format!("auth{number}"));
    let more = auth.join("authorized_keys.d");
    fs::create_dir_all(&more)?;
    keys.install(&auth)?;
    let authorized = if kind == Kind::Well { keys.clone() } else { KeyPair::of_type("ed25519")? };
    fs::copy(authorized.public_path(), more.join("operator.pem"))?;
    AgentCommand::new(namespace)?
        .interface(nic::NAME)
        .link(Link::Packet)
        .auth_directory(&auth)
        .log_file(&directory.path().join(format!("log{number}")))
        .start()
}

/// Twenty, of which one is dead and one refuses.
fn twenty() -> [Kind; 20] {
    let mut kinds = [Kind::Well; 20];
    kinds[6] = Kind::Dead;
    kinds[12] = Kind::Refusing;
    kinds
}

#[test]
fn eighteen_of_twenty_complete_and_the_summary_names_the_two() -> Result<()> {
    let rack = Rack::new(&twenty())?;
    let words = ["-t", "@rack", "--connect-timeout", "3", "exec", "--", "echo", "hello"];
    let done = rack.run(&words)?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    let text = done.text();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected: Vec<_> = (1..=20)
        .filter(|number| ![7, 13].contains(number))
        .map(|number| format!("server{number:02} | hello"))
        .collect();
    assert_eq!(lines, expected, "{}", done.stderr);
    let summary = done.stderr.lines().last().context("no summary")?;
    assert_eq!(
        summary, "bmstools: 18 of 20 servers done; 2 failed: server07, server13",
        "{}",
        done.stderr
    );
    let why = |name: &str| {
        let line = done.stderr.lines().find(|line| line.starts_with(&format!("bmstools: {name}:")));
        line.unwrap_or_default().to_owned()
    };
    ensure!(why("server07").contains("no answer"), "{}", done.stderr);
    ensure!(why("server13").contains("does not accept the key"), "{}", done.stderr);
    Ok(())
}

#[test]
fn programs_get_one_object_a_server() -> Result<()> {
    let rack = Rack::new(&twenty())?;
    let words = ["-t", "@rack", "--connect-timeout", "3", "--json", "status"];
    let done = rack.run(&words)?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    let objects: Vec<serde_json::Value> =
        done.text().lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(objects.len(), 20, "{done:?}");
    let failed: Vec<_> = objects.iter().filter(|object| object.get("error").is_some()).collect();
    assert_eq!(failed.len(), 2, "{done:?}");
    let mut hosts: Vec<_> = objects.iter().filter_map(|object| object["host"].as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), 20, "{hosts:?}");
    let well = objects.iter().filter(|object| object["sessions"]["v2"] == 1).count();
    assert_eq!(well, 18, "{done:?}");
    Ok(())
}

#[test]
fn all_well_needs_no_summary_and_a_server_comes_once() -> Result<()> {
    let rack = Rack::new(&[Kind::Well; 3])?;
    let first = mac(1).to_string();
    let words = ["-t", "@rack", "-t", "server02", "-t", &first, "ping", "-c", "1", "--quiet"];
    let done = rack.run(&words)?.success()?;
    assert_eq!(done.stderr, "");
    let answered = done.text().lines().filter(|line| line.contains("1 sent, 1 answered")).count();
    assert_eq!(answered, 3, "{}", done.text());
    Ok(())
}

#[test]
fn the_highest_exit_code_counts_and_is_told() -> Result<()> {
    let rack = Rack::new(&[Kind::Well; 2])?;
    let command = "test \"$(cat /sys/class/net/eth0/address)\" = 52:54:00:cc:00:01 || exit 7";
    let done = rack.run(&["-t", "@rack", "exec", "--shell", "--", command])?;
    assert_eq!(done.code(), Some(7), "{done:?}");
    ensure!(done.stderr.contains("1 with an exit code: server02 (7)"), "{done:?}");
    Ok(())
}

#[test]
fn output_in_one_piece_stands_under_its_servers_name() -> Result<()> {
    let rack = Rack::new(&[Kind::Well; 2])?;
    let command = "echo one; sleep 0.2; echo two";
    let words = ["-t", "@rack", "--grouped", "exec", "--shell", "--", command];
    let done = rack.run(&words)?.success()?;
    for name in ["server01", "server02"] {
        let piece = format!("==> {name} <==\none\ntwo\n");
        ensure!(done.text().contains(&piece), "{}", done.text());
    }
    Ok(())
}

#[test]
fn an_interrupt_ends_all_sessions() -> Result<()> {
    let rack = Rack::new(&[Kind::Well; 3])?;
    let words = ["-t", "@rack", "--json", "ping", "-c", "1000", "--interval", "0.1"];
    let mut pinging = Process::start("bmstools", rack.command(&words)?)?;
    std::thread::sleep(Duration::from_secs(2));
    pinging.signal(rustix::process::Signal::INT)?;
    let done = pinging.wait(Duration::from_secs(10))?;
    assert_eq!(done.code(), Some(130), "{done:?}");
    ensure!(done.stderr.contains("3 interrupted: server01, server02, server03"), "{done:?}");
    // A moment for what may still be under way of them.
    std::thread::sleep(Duration::from_secs(1));
    let done = rack.run(&["-t", "server01", "--json", "status"])?.success()?.json()?;
    assert_eq!(done["sessions"]["v2"], 1, "sessions stay behind: {done}");
    Ok(())
}
