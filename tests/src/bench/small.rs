//! Many small files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bmstools_link::Mode;
use bmstools_proto::operator::Request;

use super::contest::{Contest, Contestant, Turn, timed};
use super::context::Context;
use super::cores::{self, SENDER};
use super::files::{Files, remove};
use super::job;
use super::ours::Protocol;
use super::peers::{LIMIT, at, sender};
use super::results::{Run, Section, Unit};
use super::session::Session;
use super::ssh::{HOST, Server};
use super::stage::{Napi, Stage};
use super::tools::{RSYNC, TAR};
use crate::process::Process;
use crate::{Link, data};

/// Measures a directory of small files.
///
/// # Errors
///
/// Where a signal came, or the hosts cannot be made.
pub(crate) fn measure(context: &Context) -> Result<Vec<Section>> {
    let count = context.choose(10_000, 1000);
    let few = context.choose(200, 50);
    let stage = Stage::new(Napi::Threaded, context.mtu)?;
    let ssh = Server::start(&stage)?;
    let agent = stage.start_agent(Link::Xdp)?;
    let files = &context.files;

    let (stage, ssh) = (&stage, &ssh);
    let mut contestants = vec![
        Contestant::new("v2-push-r", |turn| {
            copied(files, turn, count, |from, to| by_push(stage, from, to))
        })
        .note("`bmstools push -r`, encrypted, every file's digest compared"),
        Contestant::new("v1-session", |turn| {
            copied(files, turn, count, |from, to| in_one_session(stage, from, to))
        })
        .note(
            "one session inside the benchmark, file after file; the command line opens one a file",
        ),
        Contestant::new("v1-tar", |turn| {
            copied(files, turn, count, |from, to| by_tar(stage, files, from, to))
        })
        .note("tar to a file, `bmstools push`, `bmstools exec` of tar: v1 has no directories"),
        Contestant::new("v1-push-each", |turn| {
            copied(files, turn, few, |from, to| one_by_one(stage, from, to))
        })
        .note(format!(
            "`bmstools push` for each of {few} files only: no directory, no extrapolation"
        )),
    ];
    match ssh {
        Ok(server) => {
            contestants.push(Contestant::new("scp-r", |turn| {
                copied(files, turn, count, |from, to| {
                    let mut command = server.client(stage, "scp");
                    command.arg("-q").arg("-r").arg(from.join(".")).arg(at(HOST, to));
                    sender("scp", from, command)
                })
            }));
            contestants.push(match RSYNC.find() {
                Some(program) => Contestant::new("rsync", move |turn| {
                    copied(files, turn, count, |from, to| {
                        let mut command = stage.sender().command(&program);
                        command.args([
                            "-r",
                            "-e",
                            &format!("ssh -F {}", server.config().display()),
                        ]);
                        command.arg(from.join("")).arg(at(HOST, to));
                        sender("rsync", from, command)
                    })
                })
                .note("over ssh"),
                None => Contestant::absent("rsync", RSYNC.missing().unwrap_or_default()),
            });
            contestants.push(match TAR.missing() {
                None => Contestant::new("tar-ssh", |turn| {
                    copied(files, turn, count, |from, to| {
                        let line =
                            "tar -C \"$1\" -cf - . | ssh -F \"$2\" \"$3\" tar -C \"$4\" -xf -";
                        let mut command = stage.sender().command("sh");
                        command.args(["-c", line, "sh"]).arg(from).arg(server.config());
                        command.arg(HOST).arg(to);
                        sender("tar over ssh", from, command)
                    })
                })
                .note("tar | ssh tar"),
                Some(why) => Contestant::absent("tar-ssh", why),
            });
        }
        Err(why) => {
            for name in ["scp-r", "rsync", "tar-ssh"] {
                contestants.push(Contestant::absent(name, why));
            }
        }
    }
    let contest = Contest {
        id: "small-files",
        title: &format!("{count} files of 4 KiB"),
        explanation: "The time until all files are there. Threaded NAPI, AF_XDP. bmstools pushes \
                      directories in v2 and single files in v1; what is done instead stands with \
                      each row."
            .to_owned(),
        unit: Unit::Seconds,
        reference: "v2-push-r",
        rounds: 3,
        budget: context.budget(75),
    };
    let section = contest.run(context, contestants)?;
    drop(agent);
    Ok(section.into_iter().collect())
}

/// Copies a directory of `count` files with `copy` and checks what arrived.
fn copied(
    files: &Files,
    turn: Turn,
    count: usize,
    copy: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<Run> {
    let count = if turn == Turn::WarmUp { count.min(WARM_UP) } else { count };
    let from = files.small(count, LEN)?;
    let to = files.path("arrived-small");
    remove(&to)?;
    fs::create_dir(&to)?;
    let ((), seconds, cpu) = timed(|| copy(&from, &to))?;
    let checked = check(&from, &to, count, turn == Turn::WarmUp);
    remove(&to)?;
    checked?;
    let bytes = (count * LEN) as u64;
    Ok(Run { bytes, ..Run::seconds(seconds) }.with_cpu(cpu).with("files", count as f64))
}

fn check(from: &Path, to: &Path, count: usize, thorough: bool) -> Result<()> {
    let arrived = names(to)?;
    ensure!(arrived.len() == count, "{} of {count} files arrived", arrived.len());
    if thorough {
        for path in arrived {
            let name = path.file_name().context("no name")?;
            data::require_same(&from.join(name), &path)?;
        }
    }
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<_> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn by_push(stage: &Stage, from: &Path, to: &Path) -> Result<()> {
    // A directory that is there would get the copy inside.
    fs::remove_dir(to)?;
    let operator = Protocol::V2.operator(stage, Link::Xdp);
    let words = [Path::new("push"), Path::new("-r"), from, to];
    let mut process = cores::on(SENDER, || operator.start(&words))?;
    job::finish(&mut process, "bmstools push -r", LIMIT * 3).map(drop)
}

fn in_one_session(stage: &Stage, from: &Path, to: &Path) -> Result<()> {
    let mut session = Session::open(stage, Mode::Xdp)?;
    for path in names(from)? {
        let target = to.join(path.file_name().context("no name")?);
        session.request(Request::File(target.into_os_string().into_encoded_bytes()))?;
        for piece in fs::read(&path)?.chunks(session.max_data()) {
            session.request(Request::Data(piece.to_vec()))?;
        }
    }
    session.end()
}

fn one_by_one(stage: &Stage, from: &Path, to: &Path) -> Result<()> {
    let operator = Protocol::V1.operator(stage, Link::Packet);
    for path in names(from)? {
        let target = to.join(path.file_name().context("no name")?);
        let words = [Path::new("push"), &path, &target];
        let mut process = cores::on(SENDER, || operator.start(&words))?;
        job::finish(&mut process, "bmstools push", LIMIT)?;
    }
    Ok(())
}

fn by_tar(stage: &Stage, files: &Files, from: &Path, to: &Path) -> Result<()> {
    let (packed, arrived) = (files.path("small.tar"), files.path("arrived-small.tar"));
    let done = (|| {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(from).arg("-cf").arg(&packed).arg(".");
        sender("tar", from, tar)?;
        let operator = Protocol::V1.operator(stage, Link::Packet);
        let run = |words: &[&Path]| {
            let mut process: Process = cores::on(SENDER, || operator.start(words))?;
            job::finish(&mut process, "bmstools", LIMIT).map(drop)
        };
        run(&[Path::new("push"), &packed, &arrived])?;
        let unpack = ["exec", "--", "tar", "-C"].map(Path::new);
        run(&[&unpack[..], &[to, Path::new("-xf"), &arrived]].concat())
    })();
    remove(&packed)?;
    remove(&arrived)?;
    done
}

const LEN: usize = 4096;
/// Files of a warm-up.
const WARM_UP: usize = 200;
