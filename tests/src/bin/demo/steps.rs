//! The demonstration, step by step.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bmstools_tests::memory::MIB;
use bmstools_tests::testbed::{AGENT_MAC, OPERATOR_MAC};
use bmstools_tests::{Agent, AgentCommand, Link, binaries, command, data, interrupt, nic};

use crate::hosts::{Hosts, KEY_VARIABLE};
use crate::show::{self, Place, bold, run, step, succeed, typed};
use crate::size::Size;
use crate::{Arguments, table};

/// Everything, in order. What was made is removed on return, errors included.
///
/// # Errors
///
/// Where a step fails or a signal came.
pub(crate) fn run_all(arguments: &Arguments) -> Result<()> {
    command::require_root()?;
    binaries::agent().and_then(|_| binaries::operator())?;
    println!("{}", bold("bmstools: commands and files to a server that has no IP address"));

    let mut hosts = connect(arguments)?;
    keygen(&hosts)?;
    let mut agent = start_agent(&hosts)?;
    ping(&hosts)?;
    exec(&hosts)?;
    push(&hosts, &agent, arguments.size)?;
    compare(&hosts)?;
    tree(&hosts)?;
    version_1(&hosts, arguments.size)?;
    counters(&mut agent)?;
    if arguments.keep {
        agent.keep();
        hosts.keep();
        explain_kept(&hosts, &agent)?;
    } else {
        drop(agent);
        drop(hosts);
        println!("\nThe agent is stopped, its XDP program detached, both namespaces are removed.");
    }
    Ok(())
}

fn connect(arguments: &Arguments) -> Result<Hosts> {
    step(
        1,
        "Two hosts and a cable",
        "Two network namespaces stand for the operator's machine and the bare-metal server,\n\
         a veth pair for the cable. Neither has an IP address.",
    );
    let hosts = Hosts::make(arguments)?;
    println!("\n  operator$ is a shell in {:<26} {OPERATOR_MAC}", hosts.operator.name());
    println!("  server$   is a shell in {:<26} {AGENT_MAC}", hosts.agent.name());
    for (place, namespace) in [(Place::Operator, &hosts.operator), (Place::Server, &hosts.agent)] {
        let address = format!("-brief address show dev {}", nic::NAME);
        typed(place, &format!("ip {address}"));
        println!("{}", namespace.ip(&address)?.trim_end());
    }
    Ok(hosts)
}

fn keygen(hosts: &Hosts) -> Result<()> {
    step(
        2,
        "A key pair",
        "Here both sides hold the same one: by public.pem the agent knows who may open\n\
         sessions, with private.pem each side proves to the other who it is.",
    );
    let auth = hosts.path("auth");
    let mut keygen = Command::new(binaries::operator()?);
    keygen.args(["--quiet", "keygen"]).arg(&auth);
    succeed(Place::Operator, &format!("bmstools --quiet keygen {}", auth.display()), keygen)?;
    typed(Place::Operator, &format!("export {KEY_VARIABLE}={}", hosts.private_key().display()));
    fs::create_dir(hosts.path("server-auth"))?;
    for half in ["public.pem", "private.pem"] {
        fs::copy(auth.join(half), hosts.path("server-auth").join(half))
            .context("cannot give the server its keys")?;
    }
    Ok(())
}

fn start_agent(hosts: &Hosts) -> Result<Agent> {
    step(
        3,
        "The agent",
        "It attaches an XDP program to the server's interface (native mode) and receives\n\
         frames of ethertype 0x7fff through AF_XDP sockets. All others pass untouched.",
    );
    let auth = hosts.path("server-auth");
    typed(
        Place::Server,
        &format!(
            "bmstools-agent run --iface {} --link {} --auth-dir {} &",
            nic::NAME,
            Link::Xdp,
            auth.display(),
        ),
    );
    let agent = AgentCommand::new(&hosts.agent)?
        .interface(nic::NAME)
        .link(Link::Xdp)
        .auth_directory(&auth)
        .log_file(&hosts.path("agent.log"))
        .start()?;
    println!("{}", agent.log().trim_end());
    let arguments = format!("-detail link show dev {}", nic::NAME);
    typed(Place::Server, &format!("ip {arguments} | grep prog/xdp"));
    let shown = hosts.agent.ip(&arguments)?;
    let program = shown.lines().find(|line| line.contains("prog/xdp"));
    println!("{}", program.context("no XDP program is attached")?);
    Ok(agent)
}

fn ping(hosts: &Hosts) -> Result<()> {
    step(
        4,
        "Ping, over version 2",
        "Steps 4 to 8 speak version 2: both sides prove who they are, and everything is\n\
         encrypted. Nothing has to be said for that.",
    );
    let (line, ping) = hosts.bmstools(&["ping", "-c", "3"])?;
    succeed(Place::Operator, &line, ping)
}

fn exec(hosts: &Hosts) -> Result<()> {
    step(
        5,
        "Commands, over version 2",
        "Output, errors and exit code come back as if the command had run here.",
    );
    for words in [&["uname", "-a"][..], &["ip", "-brief", "link", "show", "dev", nic::NAME]] {
        let (line, exec) = hosts.bmstools(&[&["exec", "--"], words].concat())?;
        succeed(Place::Operator, &line, exec)?;
    }
    let words = ["exec", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"];
    let (line, failing) = hosts.bmstools(&words)?;
    let status = run(Place::Operator, &line, failing)?;
    typed(Place::Operator, "echo $?");
    println!("{}", status.code().map_or_else(|| status.to_string(), |code| code.to_string()));
    if status.code() != Some(3) {
        bail!("the command's exit code is 3, not that");
    }
    Ok(())
}

fn push(hosts: &Hosts, agent: &Agent, size: Size) -> Result<()> {
    step(
        6,
        &format!("A file of {size}, over version 2"),
        "Random bytes, from a file in memory to a file in memory, encrypted, at an MTU of\n\
         1500, with AF_XDP sockets at both ends.",
    );
    let (sent, arrived) = (hosts.path("random"), hosts.path("arrived"));
    warm(&arrived, size)?;
    data::write_random(&sent, SEED, size.0)?;
    let took = timed_push(hosts, &["--link", "xdp"], &sent, &arrived)?;
    println!(
        "\nThe whole command took {took:.2} s: {:.2} Gb/s. The agent's memory peaked at {} MiB.",
        size.0 as f64 * 8e-9 / took,
        agent.memory()?.peak / MIB,
    );
    Ok(())
}

/// Seconds that a push took as a whole command.
fn timed_push(hosts: &Hosts, options: &[&str], from: &Path, to: &Path) -> Result<f64> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let (line, push) = hosts.bmstools(&[options, &["push", &from, &to]].concat())?;
    let started = Instant::now();
    succeed(Place::Operator, &line, push)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Touches the memory that the file will need: the first use of memory is slow,
/// and is not what is shown here.
fn warm(path: &Path, size: Size) -> Result<()> {
    let block = vec![1; MIB as usize];
    let mut file = File::create(path)?;
    let mut left = size.0;
    while left > 0 {
        interrupt::check()?;
        let len = left.min(MIB);
        file.write_all(&block[..len as usize])?;
        left -= len;
    }
    fs::remove_file(path).context("cannot remove what was only made to warm up")
}

fn compare(hosts: &Hosts) -> Result<()> {
    step(7, "The same bytes?", "The digests of both files.");
    require_same(hosts, &hosts.path("arrived"))
}

fn require_same(hosts: &Hosts, arrived: &Path) -> Result<()> {
    let sent = hosts.path("random");
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.args([&sent, arrived]);
    let line = format!("sha256sum {} {}", sent.display(), arrived.display());
    succeed(Place::Here, &line, sha256sum)?;
    data::require_same(&sent, arrived)?;
    println!("\nBoth files are the same, byte for byte.");
    Ok(())
}

fn tree(hosts: &Hosts) -> Result<()> {
    step(8, "A directory there and back, over version 2", "Links, modes and times with it.");
    let (tree, there, back) = (hosts.path("tree"), hosts.path("there"), hosts.path("back"));
    fs::create_dir_all(tree.join("etc"))?;
    fs::write(tree.join("etc/motd"), "reached at layer 2\n")?;
    symlink("etc/motd", tree.join("motd"))?;
    let [tree, there, back] = [tree, there, back].map(|path| path.display().to_string());
    for words in [["push", "-r", &tree, &there], ["pull", "-r", &there, &back]] {
        let (line, copy) = hosts.bmstools(&words)?;
        succeed(Place::Operator, &line, copy)?;
    }
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--no-dereference", &tree, &back]);
    let line = format!("diff --recursive --no-dereference {tree} {back}");
    succeed(Place::Here, &line, diff)
}

fn version_1(hosts: &Hosts, size: Size) -> Result<()> {
    step(
        9,
        "The same over version 1",
        "The protocol of older operators and servers, for whoever needs it: the operator\n\
         proves who it is, nothing is encrypted, and each fragment is acknowledged.",
    );
    for words in [&["ping"][..], &["exec", "--", "uname", "-n"]] {
        let (line, exec) = hosts.bmstools(&[&["--proto", "v1"], words].concat())?;
        succeed(Place::Operator, &line, exec)?;
    }
    // Version 1 replaces no file, and the memory is needed.
    fs::remove_file(hosts.path("arrived"))?;
    let (sent, arrived) = (hosts.path("random"), hosts.path("arrived-v1"));
    let took = timed_push(hosts, &["--proto", "v1", "--link", "xdp"], &sent, &arrived)?;
    let rate = size.0 as f64 * 8e-9 / took;
    println!("\nThe whole command took {took:.2} s: {rate:.2} Gb/s.");
    require_same(hosts, &arrived)
}

fn counters(agent: &mut Agent) -> Result<()> {
    step(10, "The XDP program's counters", "What became of every frame that reached the server.");
    typed(Place::Server, &format!("kill -USR1 {}    # the agent logs its counters", agent.id()));
    table::print(&agent.counters()?);
    Ok(())
}

fn explain_kept(hosts: &Hosts, agent: &Agent) -> Result<()> {
    let (operator, server) = (hosts.operator.name(), hosts.agent.name());
    let operators_shell = format!(
        "ip netns exec {operator} env {KEY_VARIABLE}={}",
        show::line(&[&hosts.private_key().display().to_string()])
    );
    let bmstools = format!("{} -t {AGENT_MAC}", binaries::operator()?.display());
    println!("\n{}", bold("Everything is kept. Use it:"));
    println!("  {operators_shell} {bmstools} ping");
    println!("  {operators_shell} {bmstools} exec -- uptime");
    println!("  ip netns exec {server} ip -detail link show dev {}", nic::NAME);
    println!("  tail -f {}", hosts.path("agent.log").display());
    println!("{}", bold("Remove it:"));
    println!("  kill {}", agent.id());
    println!("  ip netns delete {operator}; ip netns delete {server}");
    println!("  rm -r {}", hosts.directory().display());
    Ok(())
}

const SEED: u64 = 0x7fff;
