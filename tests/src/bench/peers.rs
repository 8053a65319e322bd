//! What people use instead of bmstools, each moving one file.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::contest::{Contestant, Turn, timed};
use super::context::Context;
use super::cores::{self, RECEIVER, SENDER};
use super::files::Files;
use super::job;
use super::results::Run;
use super::ssh::{self, Server};
use super::stage::{RECEIVER_ADDRESS, SENDER_ADDRESS, Stage};
use super::tools::{IPERF3, MBUFFER, NC, RSYNC, Tool, UDPCAST, UFTP};
use crate::nic;
use crate::process::Process;

/// How many bytes to move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// In a warm-up.
    pub(crate) warm_up: u64,
    /// In a run that counts.
    pub(crate) measured: u64,
    /// At most, for what is slow.
    pub(crate) slow: u64,
}

impl Sizes {
    /// The bytes of a turn.
    pub(crate) fn of(self, turn: Turn) -> u64 {
        match turn {
            Turn::WarmUp => self.warm_up,
            Turn::Measured => self.measured,
        }
    }

    /// The same for a contestant that is slow.
    pub(crate) fn slowly(self) -> Self {
        Self {
            warm_up: self.warm_up.min(self.slow),
            measured: self.measured.min(self.slow),
            ..self
        }
    }
}

/// Moves a file and checks that it arrived. `transfer` gets source and
/// destination.
///
/// # Errors
///
/// That of `transfer`, or where something else arrived.
pub(crate) fn moved(
    files: &Files,
    turn: Turn,
    sizes: Sizes,
    transfer: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<Run> {
    let bytes = sizes.of(turn);
    let source = files.source(bytes)?;
    let destination = files.destination("file", bytes)?;
    let ((), seconds, cpu) = timed(|| transfer(&source, &destination))?;
    files.check(&source, &destination, turn == Turn::WarmUp)?;
    Ok(Run::rate(bytes, seconds).with_cpu(cpu))
}

/// Runs a command that moves `source` on the sender's core to its end.
///
/// # Errors
///
/// Where it fails or takes too long.
pub(crate) fn sender(name: &str, source: &Path, command: Command) -> Result<()> {
    let mut process = cores::on(SENDER, || Process::start(name, command))?;
    job::finish(&mut process, name, limit(source)).map(drop)
}

/// Time for moving a file: what takes longer is of no use to anybody.
pub(crate) fn limit(source: &Path) -> Duration {
    match source.metadata() {
        Ok(directory) if directory.is_dir() => LIMIT * 3,
        Ok(file) => LIMIT + Duration::from_secs(file.len() / LEAST_RATE),
        Err(_) => LIMIT,
    }
}

/// What goes over SSH: scp with three ciphers, sftp and rsync.
pub(crate) fn over_ssh<'a>(
    context: &'a Context,
    stage: &'a Stage,
    server: &'a Result<Server, String>,
    sizes: Sizes,
) -> Vec<Contestant<'a>> {
    let server = match server {
        Ok(server) => server,
        Err(why) => {
            let names = ["scp", "scp-aes128-gcm", "scp-aes256-gcm", "sftp", "rsync-ssh"];
            return names.map(|name| Contestant::absent(name, why)).into();
        }
    };
    let files = &context.files;
    let scp = move |name: &'static str, cipher: Option<&'static str>| {
        Contestant::new(name, move |turn| {
            moved(files, turn, sizes, |source, destination| {
                sender(name, source, scp(stage, server, cipher, source, destination))
            })
        })
        .note(cipher.map_or("default cipher", |cipher| cipher))
    };
    let sftp = Contestant::new("sftp", move |turn| {
        moved(files, turn, sizes, |source, destination| {
            let batch = stage.path("sftp-batch");
            std::fs::write(
                &batch,
                format!("put {} {}\n", source.display(), destination.display()),
            )?;
            let mut command = server.client(stage, "sftp");
            command.arg("-q").arg("-b").arg(batch).arg(ssh::HOST);
            sender("sftp", source, command)
        })
    });
    let rsync = match RSYNC.find() {
        None => Contestant::absent("rsync-ssh", RSYNC.missing().unwrap_or_default()),
        Some(program) => Contestant::new("rsync-ssh", move |turn| {
            moved(files, turn, sizes, |source, destination| {
                let mut command = stage.sender().command(&program);
                command.arg("-e").arg(format!("ssh -F {}", server.config().display()));
                command.arg(source).arg(at(ssh::HOST, destination));
                sender("rsync", source, command)
            })
        }),
    };
    vec![
        scp("scp", None),
        scp("scp-aes128-gcm", Some("aes128-gcm@openssh.com")),
        scp("scp-aes256-gcm", Some("aes256-gcm@openssh.com")),
        sftp,
        rsync,
    ]
}

/// An scp of one file.
pub(crate) fn scp(
    stage: &Stage,
    server: &Server,
    cipher: Option<&str>,
    source: &Path,
    destination: &Path,
) -> Command {
    let mut command = server.client(stage, "scp");
    command.arg("-q");
    if let Some(cipher) = cipher {
        command.args(["-c", cipher]);
    }
    command.arg(source).arg(at(ssh::HOST, destination));
    command
}

/// `HOST:PATH`.
pub(crate) fn at(host: &str, path: &Path) -> OsString {
    let mut target = OsString::from(format!("{host}:"));
    target.push(path);
    target
}

/// Whatever needs no SSH.
pub(crate) fn others<'a>(
    context: &'a Context,
    stage: &'a Stage,
    sizes: Sizes,
) -> Vec<Contestant<'a>> {
    let files = &context.files;
    let contestant =
        |name: &'static str,
         tool: Tool,
         sizes: Sizes,
         transfer: fn(&Stage, &Files, &Path, &Path) -> Result<()>| {
            match tool.missing() {
                Some(why) => Contestant::absent(name, why),
                None => Contestant::new(name, move |turn| {
                    moved(files, turn, sizes, |source, destination| {
                        transfer(stage, files, source, destination)
                    })
                }),
            }
        };
    let slow = sizes.slowly();
    vec![
        contestant("nc", NC, sizes, nc).note("plaintext"),
        contestant("mbuffer", MBUFFER, sizes, mbuffer).note("plaintext"),
        iperf3(stage, sizes),
        contestant("uftp", UFTP, slow, uftp)
            .note(format!("aes256-gcm, {} MiB, unlimited rate, one receiver", slow.measured >> 20)),
        contestant("udpcast", UDPCAST, slow, udpcast)
            .note(format!("plaintext, {} MiB, one receiver", slow.measured >> 20)),
    ]
}

/// rsync to its own daemon, which runs as long as `Daemon` lives.
pub(crate) fn rsync_daemon<'a>(
    context: &'a Context,
    stage: &'a Stage,
    daemon: &'a Result<Process, String>,
    sizes: Sizes,
) -> Contestant<'a> {
    let (Ok(_), Some(program)) = (daemon, RSYNC.find()) else {
        let why = daemon.as_ref().err().cloned().unwrap_or_default();
        return Contestant::absent("rsync-daemon", why);
    };
    Contestant::new("rsync-daemon", move |turn| {
        moved(&context.files, turn, sizes, |source, destination| {
            let name = destination.file_name().context("no name")?.to_string_lossy().into_owned();
            let mut command = stage.sender().command(&program);
            command.arg(source).arg(format!("rsync://{RECEIVER_ADDRESS}/files/{name}"));
            sender("rsync", source, command)
        })
    })
    .note("plaintext")
}

/// Starts an rsync daemon; the inner error says why it is absent.
///
/// # Errors
///
/// Where it is installed and does not start.
pub(crate) fn start_rsync_daemon(stage: &Stage, files: &Files) -> Result<Result<Process, String>> {
    let Some(program) = RSYNC.find() else {
        return Ok(Err(RSYNC.missing().unwrap_or_default()));
    };
    let config = stage.path("rsyncd.conf");
    let log = stage.path("rsyncd.log");
    std::fs::write(
        &config,
        format!(
            "use chroot = no\nuid = 0\ngid = 0\nlog file = {}\n[files]\npath = {}\n\
             read only = no\n",
            log.display(),
            files.directory().display()
        ),
    )?;
    let mut command = stage.receiver().command(program);
    command.args(["--daemon", "--no-detach", "--config"]).arg(config);
    let daemon = cores::on(RECEIVER, || Process::start("rsyncd", command))?;
    job::wait_until("rsyncd listens", || stage.is_listening(873))?;
    Ok(Ok(daemon))
}

/// Starts `receiving` on the receiver's core, `sending` on the sender's once
/// `ready`, and waits for both.
fn pair(
    name: &str,
    source: &Path,
    receiving: Command,
    ready: impl FnMut() -> Result<bool>,
    sending: Command,
) -> Result<()> {
    let mut receiver = cores::on(RECEIVER, || Process::start(name, receiving))?;
    job::wait_until(&format!("{name} receives"), ready)?;
    sender(name, source, sending)?;
    job::finish(&mut receiver, name, LIMIT).map(drop)
}

/// `sh -c`, for a program that reads standard input or writes standard output.
fn shell(namespace: &crate::Namespace, line: &str, file: &Path) -> Command {
    let mut command = namespace.command("sh");
    command.args(["-c", line, "sh"]).arg(file);
    command
}

fn nc(stage: &Stage, _: &Files, source: &Path, destination: &Path) -> Result<()> {
    let receiving = shell(stage.receiver(), "exec nc -l 5001 > \"$1\"", destination);
    let line = format!("exec nc -N {RECEIVER_ADDRESS} 5001 < \"$1\"");
    let sending = shell(stage.sender(), &line, source);
    pair("nc", source, receiving, || stage.is_listening(5001), sending)
}

fn mbuffer(stage: &Stage, _: &Files, source: &Path, destination: &Path) -> Result<()> {
    let mut receiving = stage.receiver().command("mbuffer");
    receiving.args(["-q", "-s", "128k", "-I", "5002", "-o"]).arg(destination);
    let mut sending = stage.sender().command("mbuffer");
    sending
        .args(["-q", "-s", "128k", "-i"])
        .arg(source)
        .args(["-O", &format!("{RECEIVER_ADDRESS}:5002")]);
    pair("mbuffer", source, receiving, || stage.is_listening(5002), sending)
}

fn uftp(stage: &Stage, files: &Files, source: &Path, destination: &Path) -> Result<()> {
    let into = files.path("uftp-in");
    super::files::remove(&into)?;
    std::fs::create_dir(&into)?;
    let mut receiving = stage.receiver().command("uftpd");
    // In the foreground, with a buffer that holds a burst, out of which it is
    // ended by hand: a daemon has no end.
    receiving.args(["-d", "-I", nic::NAME, "-B", "8388608", "-D"]).arg(&into);
    let mut daemon = cores::on(RECEIVER, || Process::start("uftpd", receiving))?;
    let udp = || {
        let table =
            stage.receiver().enter(|| std::fs::read_to_string("/proc/thread-self/net/udp"))??;
        Ok(table.contains(":0414 "))
    };
    job::wait_until("uftpd receives", udp)?;
    let mut sending = stage.sender().command("uftp");
    sending.args(["-R", "-1", "-q", "-Y", "aes256-gcm", "-h", "sha256", "-I", nic::NAME]);
    sending.args(["-B", "8388608", "-M", RECEIVER_ADDRESS, "-r", "0.01:0.01:0.2"]);
    sending.args(["-b", &(stage.mtu() - 100).to_string()]).arg(source);
    sender("uftp", source, sending)?;
    ensure!(!daemon.has_ended()?, "uftpd ended: {}", daemon.stderr());
    let name = source.file_name().context("no name")?;
    std::fs::rename(into.join(name), destination).context("nothing arrived")?;
    super::files::remove(&into)
}

fn udpcast(stage: &Stage, _: &Files, source: &Path, destination: &Path) -> Result<()> {
    let mut receiving = stage.receiver().command("udp-receiver");
    receiving.args(["--nokbd", "--no-progress", "--interface", nic::NAME, "--file"]);
    receiving.arg(destination);
    let mut sending = stage.sender().command("udp-sender");
    sending.args(["--nokbd", "--no-progress", "--interface", nic::NAME, "--full-duplex"]);
    sending.args(["--min-receivers", "1", "--rexmit-hello-interval", "50", "--file"]).arg(source);
    let ready = || {
        let table =
            stage.receiver().enter(|| std::fs::read_to_string("/proc/thread-self/net/udp"))??;
        Ok(table.contains(":2328 "))
    };
    pair("udpcast", source, receiving, ready, sending)
}

/// Memory to memory: there is no file at either end.
fn iperf3(stage: &Stage, sizes: Sizes) -> Contestant<'_> {
    if let Some(why) = IPERF3.missing() {
        return Contestant::absent("iperf3", why);
    }
    Contestant::new("iperf3", move |turn| {
        let bytes = sizes.of(turn);
        run_iperf3(stage, &["-n", &bytes.to_string()])
    })
    .note("memory to memory, no files; plaintext")
}

/// Runs an iperf3 server and client, the client with these arguments.
///
/// # Errors
///
/// Where one of them fails.
pub(crate) fn run_iperf3(stage: &Stage, arguments: &[&str]) -> Result<Run> {
    let mut server = stage.receiver().command("iperf3");
    server.args(["-s", "-1", "-B", RECEIVER_ADDRESS]);
    let mut server = cores::on(RECEIVER, || Process::start("iperf3 server", server))?;
    job::wait_until("iperf3 listens", || stage.is_listening(5201))?;
    let mut client = stage.sender().command("iperf3");
    client.args(["-c", RECEIVER_ADDRESS, "-B", SENDER_ADDRESS, "-J"]).args(arguments);
    let mut client = cores::on(SENDER, || Process::start("iperf3 client", client))?;
    let (finished, _, cpu) = timed(|| job::finish(&mut client, "iperf3", LIMIT))?;
    job::finish(&mut server, "iperf3 server", LIMIT)?;
    let json = finished.json()?;
    let received = &json["end"]["sum_received"];
    let (bytes, seconds) = (received["bytes"].as_u64(), received["seconds"].as_f64());
    let (bytes, seconds) = (bytes.context("no bytes")?, seconds.context("no seconds")?);
    let mut run = Run::rate(bytes, seconds).with_cpu(cpu);
    if let Some(again) = json["end"]["sum_sent"]["retransmits"].as_f64() {
        run = run.with("retransmitted", again);
    }
    Ok(run)
}

/// Time for anything, and for what needs more the least rate in bytes a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const LEAST_RATE: u64 = 25_000_000;
