//! How long a command takes that does nothing.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bmstools_link::Mode;
use bmstools_proto::operator::Request;

use super::contest::{Contest, Contestant};
use super::context::Context;
use super::cores::{self, SENDER};
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

    let new = |name: &'static str, link: Link| {
        let stage = &stage;
        Contestant::new(name, move |_| {
            let mut command = stage.sender().command(binaries::operator()?);
            command.args(["-t", &format!("{AGENT_MAC}%{}", nic::NAME)]);
            command.args(["--link", &link.to_string(), "--key"]).arg(stage.private_key());
            time(command.args(["exec", "--", "true"]))
        })
    };
    let mut open = None;
    let mut contestants = vec![
        new("v1-exec-new", Link::Packet).note("new session over AF_PACKET, the default"),
        new("v1-exec-new-xdp", Link::Xdp)
            .note("new session over AF_XDP: attaches and detaches a program each time"),
        Contestant::new("v1-exec-open", |_| {
            if open.is_none() {
                open = Some(Session::open(&stage, Mode::Packet)?);
            }
            let session = open.as_mut().context("no session")?;
            let done = session.request(Request::Exec(b"true".to_vec()));
            match done {
                Ok((_, took)) => Ok(Run::milliseconds(took.as_secs_f64())),
                Err(error) => {
                    open = None;
                    Err(error)
                }
            }
        })
        .note("open session, inside the benchmark: the command line opens one each time"),
    ];
    match (&ssh, &master) {
        (Ok(server), Some(master)) => {
            contestants.push(
                Contestant::new("ssh-new", |_| time(server.ssh(&stage).args([HOST, "true"])))
                    .note("new connection, Ed25519 key"),
            );
            contestants.push(
                Contestant::new("ssh-master", |_| {
                    let mut command = server.ssh(&stage);
                    time(command.arg("-S").arg(&master.socket).args([HOST, "true"]))
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
        explanation: "From the start of the program to its end, the remote process included; over \
                      an open session, from the request to the response. Default NAPI. bmstools \
                      authenticates with a 2048-bit RSA key, ssh with Ed25519."
            .to_owned(),
        unit: Unit::Milliseconds,
        reference: "v1-exec-new",
        rounds: context.choose(40, 10),
        budget: context.budget(50),
    };
    let section = contest.run(context, contestants)?;
    if let Some(session) = open {
        // What was measured stays, however the session ends.
        if let Err(error) = session.end() {
            context.progress.line(&format!("the open session did not end well: {error:#}"));
        }
    }
    Ok(section.into_iter().collect())
}

/// Runs a command on the sender's core, its output thrown away.
fn time(command: &mut Command) -> Result<Run> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cores::on(SENDER, || {
        let started = Instant::now();
        let status = command.status().context("cannot start")?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(status.success(), "it failed ({status})");
        Ok(Run::milliseconds(seconds))
    })
}
