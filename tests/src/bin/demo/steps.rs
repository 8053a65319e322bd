//! The demonstration, step by step.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bmstools_common::counters::Counter;
use bmstools_tests::counters::Counters;
use bmstools_tests::memory::MIB;
use bmstools_tests::testbed::{AGENT_MAC, OPERATOR_MAC};
use bmstools_tests::{Agent, AgentCommand, Link, binaries, command, data, nic};

use crate::hosts::Hosts;
use crate::show::{bold, output, run, step, succeed, typed};
use crate::size::Size;
use crate::{Arguments, interrupt};

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
    push(&hosts, arguments.size)?;
    compare(&hosts)?;
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
        "Two network namespaces stand for the operator's machine and the bare-metal\n\
         server, a veth pair for the cable. Neither has an IP address.",
    );
    let hosts = Hosts::make(arguments)?;
    for namespace in [&hosts.operator, &hosts.agent] {
        for what in ["link", "address"] {
            typed(&format!("ip -n {} -brief {what} show dev {}", namespace.name(), nic::NAME));
            output(&namespace.ip(&format!("-brief {what} show dev {}", nic::NAME))?);
        }
    }
    println!("\n   {OPERATOR_MAC} is the operator, {AGENT_MAC} the server.");
    Ok(hosts)
}

fn keygen(hosts: &Hosts) -> Result<()> {
    step(2, "A key pair", "The operator keeps private.pem. The server needs public.pem only.");
    let mut keygen = Command::new(binaries::operator()?);
    keygen.arg("keygen").arg(hosts.path("auth"));
    succeed(keygen)?;
    fs::create_dir(hosts.path("server-auth"))?;
    fs::copy(hosts.path("auth/public.pem"), hosts.path("server-auth/public.pem"))
        .context("cannot give the server its key")?;
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
    let log = hosts.path("agent.log");
    typed(&format!(
        "ip netns exec {} {} run --iface {} --link {} --auth-dir {} &",
        hosts.agent.name(),
        binaries::agent()?.display(),
        nic::NAME,
        Link::Xdp,
        auth.display(),
    ));
    let agent = AgentCommand::new(&hosts.agent)?
        .interface(nic::NAME)
        .link(Link::Xdp)
        .auth_directory(&auth)
        .log_file(&log)
        .start()?;
    output(&agent.log());
    let arguments = format!("-detail link show dev {}", nic::NAME);
    typed(&format!("ip -n {} {arguments} | grep xdp", hosts.agent.name()));
    let shown = hosts.agent.ip(&arguments)?;
    let lines: Vec<_> = shown.lines().filter(|line| line.contains("xdp")).collect();
    if lines.is_empty() {
        bail!("no XDP program is attached");
    }
    output(&lines.join("\n"));
    Ok(agent)
}

fn ping(hosts: &Hosts) -> Result<()> {
    step(4, "Ping", "Opens a session, authenticates, ends it.");
    let mut ping = hosts.bmstools()?;
    ping.arg("ping");
    succeed(ping)
}

fn exec(hosts: &Hosts) -> Result<()> {
    step(5, "Commands", "Output, errors and exit code come back as if the command had run here.");
    let mut uname = hosts.bmstools()?;
    uname.args(["exec", "--", "uname", "-a"]);
    succeed(uname)?;
    let mut link = hosts.bmstools()?;
    link.args(["exec", "--", "ip", "-brief", "link"]);
    succeed(link)?;
    let mut failing = hosts.bmstools()?;
    failing.args(["exec", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    let status = run(failing)?;
    typed("echo $?");
    output(&status.code().map_or_else(|| status.to_string(), |code| code.to_string()));
    if status.code() != Some(3) {
        bail!("the command's exit code is 3, not that");
    }
    Ok(())
}

fn push(hosts: &Hosts, size: Size) -> Result<()> {
    step(
        6,
        &format!("A file of {size}"),
        "Random bytes, from a file in memory to a file in memory, at an MTU of 1500.",
    );
    let arrived = hosts.path("arrived");
    warm(&arrived, size)?;
    data::write_random(&hosts.path("random"), SEED, size.0)?;
    let mut push = hosts.bmstools()?;
    push.arg("push").arg(hosts.path("random")).arg(arrived);
    succeed(push)
}

/// Touches the memory that the file will need: the first use of memory is slow,
/// and is not what is shown here.
fn warm(path: &std::path::Path, size: Size) -> Result<()> {
    let block = vec![1; MIB as usize];
    let mut file = fs::File::create(path)?;
    let mut left = size.0;
    while left > 0 {
        interrupt::check()?;
        let len = left.min(MIB);
        std::io::Write::write_all(&mut file, &block[..len as usize])?;
        left -= len;
    }
    drop(file);
    fs::remove_file(path).context("cannot remove what was only made to warm up")
}

fn compare(hosts: &Hosts) -> Result<()> {
    step(7, "The same bytes?", "The digests of both files.");
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.arg(hosts.path("random")).arg(hosts.path("arrived"));
    succeed(sha256sum)?;
    data::require_same(&hosts.path("random"), &hosts.path("arrived"))?;
    println!("\n   Both files are the same, byte for byte.");
    Ok(())
}

fn counters(agent: &mut Agent) -> Result<()> {
    step(8, "The XDP program's counters", "What became of every frame that reached the server.");
    typed(&format!("kill -USR1 {}", agent.id()));
    println!();
    table(&agent.counters()?);
    Ok(())
}

fn table(counters: &Counters) {
    println!("   {:<24}{:>14}", "verdict", "frames");
    println!("   {:-<38}", "");
    for counter in Counter::ALL {
        let frames = counters.get(*counter);
        let shown = matches!(counter, Counter::Session | Counter::Open | Counter::Passed);
        if frames > 0 || shown {
            println!("   {:<24}{frames:>14}", counter.name());
        }
    }
    println!("   {:-<38}", "");
    println!("   {:<24}{:>14}", "all", counters.verdicts());
}

fn explain_kept(hosts: &Hosts, agent: &Agent) -> Result<()> {
    let bmstools = hosts.bmstools()?;
    let words: Vec<_> = [bmstools.get_program()]
        .into_iter()
        .chain(bmstools.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    println!("\n{}", bold("Everything is kept."));
    println!("\n   Try:");
    println!("     {} ping", words.join(" "));
    println!("     {} exec -- uptime", words.join(" "));
    println!("   The agent's log: {}", hosts.path("agent.log").display());
    println!("\n   Remove it all with:");
    println!("     kill {}", agent.id());
    println!("     ip netns delete {}", hosts.operator.name());
    println!("     ip netns delete {}", hosts.agent.name());
    println!("     rm -r {}", hosts.directory().display());
    Ok(())
}

const SEED: u64 = 0x7fff;
