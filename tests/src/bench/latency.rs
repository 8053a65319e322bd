//! How long a command takes that does nothing.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bmstools_link::Mode;
use bmstools_proto::operator::Request;

use super::contest::{Contest, Contestant, Turn};
use super::context::Context;
use super::cores::{self, RECEIVER, SENDER};
use super::operator::{Operator, exec_true};
use super::ours::Protocol;
use super::results::{Run, Section, Unit};
use super::session::Session;
use super::ssh::{HOST, Server};
use super::stage::{Napi, Stage};
use crate::testbed::AGENT_MAC;
use crate::{Link, binaries, nic};

/// Measures `true` over new and over open sessions.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let stage = Stage::new(Napi::Default, context.mtu)?;
    let _agent = stage.start_agent(Link::Xdp)?;
    let ssh = Server::start(&stage)?;
    let master = ssh.as_ref().ok().map(|server| server.master(&stage)).transpose()?;
    let rounds = context.choose(20, 10);
    let times = RUNS / rounds;
    let (mut open_v2, mut open_v1, mut opener) = (None, None, None);
    let mut contestants = vec![
        Contestant::several("fork", |turn| {
            repeated(turn, times, || {
                time(RECEIVER, &mut Command::new("true")).map(|run| run.value / 1e3)
            })
        })
        .note("`true` started by the benchmark on the agent's core, no network"),
        Contestant::several("v2-exec-open", |turn| {
            let (operator, session) = match &mut open_v2 {
                Some(open) => open,
                closed => {
                    let mut operator = Operator::open(&stage, nic::NAME, Mode::Packet)?;
                    let (session, _) = operator.connect(&stage)?;
                    closed.insert((operator, session))
                }
            };
            repeated(turn, times, || Ok(operator.run(exec_true(session))?.as_secs_f64()))
        })
        .note("open session, inside the benchmark, AF_PACKET"),
    ];
    contestants.push(
        Contestant::several("v2-exec-new", |turn| {
            let operator = match &mut opener {
                Some(operator) => operator,
                none => none.insert(Operator::open(&stage, nic::NAME, Mode::Packet)?),
            };
            repeated(turn, times, || {
                let (session, handshake) = operator.connect(&stage)?;
                let took = operator.run(exec_true(&session))?;
                operator.run(async {
                    session.close(0, "").await;
                    anyhow::Ok(())
                })?;
                Ok((handshake + took).as_secs_f64())
            })
        })
        .note("a new session each, handshake included, inside the benchmark, AF_PACKET"),
    );
    for (name, protocol, link) in [
        ("v2-exec-command", Protocol::V2, Link::Packet),
        ("v1-exec-new", Protocol::V1, Link::Packet),
        ("v1-exec-new-xdp", Protocol::V1, Link::Xdp),
    ] {
        let stage = &stage;
        let contestant = Contestant::new(name, move |_| command(stage, protocol, link));
        contestants.push(contestant.note(match link {
            Link::Packet => "`bmstools exec`: a process and a session each, AF_PACKET",
            _ => "the same over AF_XDP: attaches and detaches a program each time",
        }));
    }
    contestants.push(
        Contestant::several("v1-exec-open", |turn| {
            if open_v1.is_none() {
                open_v1 = Some(Session::open(&stage, Mode::Packet)?);
            }
            let session = open_v1.as_mut().context("no session")?;
            let done = repeated(turn, times, || {
                let (_, took) = session.request(Request::Exec(b"true".to_vec()))?;
                Ok(took.as_secs_f64())
            });
            if done.is_err() {
                open_v1 = None;
            }
            done
        })
        .note("open session, inside the benchmark, AF_PACKET"),
    );
    match (&ssh, &master) {
        (Ok(server), Some(master)) => {
            contestants.push(
                Contestant::new("ssh-new", |_| {
                    time(SENDER, server.ssh(&stage).args([HOST, "true"]))
                })
                .note("new connection, Ed25519 key"),
            );
            contestants.push(
                Contestant::new("ssh-master", |_| {
                    let mut command = server.ssh(&stage);
                    time(SENDER, command.arg("-S").arg(&master.socket).args([HOST, "true"]))
                })
                .note("over a connection that is open (control master)"),
            );
        }
        (ssh, _) => {
            let why = ssh.as_ref().err().cloned().unwrap_or_default();
            for name in ["ssh-new", "ssh-master"] {
                contestants.push(Contestant::absent(name, why.clone()));
            }
        }
    }
    let contest = Contest {
        id: "latency",
        title: "A command that does nothing (`true`)",
        explanation: "From the start of the program to its end, the remote process included; \
                      inside the benchmark, from the request (or the first frame of a new \
                      session) to the command's exit code, its output and errors read to their \
                      end. What is inside the benchmark runs many times a round. Default NAPI. \
                      bmstools authenticates with 2048-bit RSA keys, in version 2 both sides; \
                      ssh with Ed25519."
            .to_owned(),
        unit: Unit::Milliseconds,
        reference: "v2-exec-command",
        rounds,
        budget: context.budget(60),
    };
    let section = contest.run(context, contestants)?;
    if let Some(session) = open_v1 {
        // What was measured stays, however the session ends.
        if let Err(error) = session.end() {
            context.progress.line(&format!("the open session did not end well: {error:#}"));
        }
    }
    Ok(section.into_iter().collect())
}

/// Several runs of what returns seconds; few in a warm-up.
pub(crate) fn repeated(
    turn: Turn,
    times: u32,
    mut run: impl FnMut() -> Result<f64>,
) -> Result<Vec<Run>> {
    let times = if turn == Turn::WarmUp { times.min(WARM_UP) } else { times };
    (0..times).map(|_| Ok(Run::milliseconds(run()?))).collect()
}

fn command(stage: &Stage, protocol: Protocol, link: Link) -> Result<Run> {
    let mut command = stage.sender().command(binaries::operator()?);
    command.args(["-t", &format!("{AGENT_MAC}%{}", nic::NAME), "--proto", protocol.name()]);
    command.args(["--link", &link.to_string(), "--key"]).arg(stage.private_key());
    time(SENDER, command.args(["exec", "--", "true"]))
}

/// Runs a command on a core, its output thrown away.
fn time(core: usize, command: &mut Command) -> Result<Run> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cores::on(core, || {
        let started = Instant::now();
        let status = command.status().context("cannot start")?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(status.success(), "it failed ({status})");
        Ok(Run::milliseconds(seconds))
    })
}

/// Of what costs little, in all rounds together.
pub(crate) const RUNS: u32 = 200;
const WARM_UP: u32 = 5;
