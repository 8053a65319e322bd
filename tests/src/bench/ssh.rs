//! An SSH server on the receiver's host, with throw-away keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::cores::{self, RECEIVER, SENDER};
use super::job;
use super::stage::{RECEIVER_ADDRESS, Stage};
use super::tools::{self, SSH, SSHD};
use crate::command;
use crate::process::Process;

/// A running server and what a client needs to reach it.
#[derive(Debug)]
pub(crate) struct Server {
    directory: TempDir,
    _server: Process,
    _privileges: Option<Made>,
}

impl Server {
    /// Starts a server. The inner error says why it is absent.
    ///
    /// # Errors
    ///
    /// Where it is installed and does not start.
    pub(crate) fn start(stage: &Stage) -> Result<Result<Self, String>> {
        if let Some(why) = SSH.missing().or_else(|| SSHD.missing()) {
            return Ok(Err(why));
        }
        let directory = tempfile::Builder::new().prefix("bmstools-bench-ssh-").tempdir()?;
        let path = directory.path();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(path.join(name));
            command::output(&mut keygen, "ssh-keygen")?;
        }
        fs::copy(path.join("user.pub"), path.join("authorized_keys"))?;
        let host = fs::read_to_string(path.join("host.pub"))?;
        fs::write(path.join("known_hosts"), format!("{RECEIVER_ADDRESS} {host}"))?;
        fs::write(path.join("sshd_config"), server_config(path))?;
        fs::write(path.join("ssh_config"), client_config(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;

        let privileges = Made::directory("/run/sshd")?;
        let server = SSHD.find().context("sshd is gone")?;
        let mut command = stage.receiver().command(server);
        command.args(["-D", "-e", "-f"]).arg(path.join("sshd_config"));
        let mut server =
            cores::on(RECEIVER, || Process::start_logged("sshd", command, &path.join("sshd.log")))?;
        job::wait_until("sshd listens", || {
            anyhow::ensure!(!server.has_ended()?, "sshd ended: {}", server.stderr().trim());
            stage.is_listening(PORT)
        })?;
        Ok(Ok(Self { directory, _server: server, _privileges: privileges }))
    }

    /// The client's configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("ssh_config")
    }

    /// `ssh`, to be run on the sender's host, without a command yet.
    pub(crate) fn ssh(&self, stage: &Stage) -> Command {
        self.client(stage, "ssh")
    }

    /// A program of OpenSSH that takes its configuration with -F.
    pub(crate) fn client(&self, stage: &Stage, program: &str) -> Command {
        let program = tools::find(program).unwrap_or_else(|| program.into());
        let mut command = stage.sender().command(program);
        command.arg("-F").arg(self.config());
        command
    }

    /// Starts a connection for others to share, and waits for it.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub(crate) fn master(&self, stage: &Stage) -> Result<Master> {
        let socket = self.directory.path().join("master");
        let mut command = self.ssh(stage);
        command.args(["-M", "-N", "-S"]).arg(&socket).arg(HOST);
        let process = cores::on(SENDER, || Process::start("ssh", command))?;
        job::wait_until("a shared connection", || Ok(socket.exists()))?;
        // The socket is there before the connection takes anything.
        std::thread::sleep(Duration::from_millis(200));
        Ok(Master { socket, _process: process })
    }
}

/// A connection that others share.
#[derive(Debug)]
pub(crate) struct Master {
    /// Its socket, for -S.
    pub(crate) socket: PathBuf,
    _process: Process,
}

fn server_config(path: &Path) -> String {
    let path = path.display();
    format!(
        "ListenAddress {RECEIVER_ADDRESS}\n\
         Port {PORT}\n\
         HostKey {path}/host\n\
         AuthorizedKeysFile {path}/authorized_keys\n\
         StrictModes no\n\
         UsePAM no\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PidFile none\n\
         PrintMotd no\n\
         UseDNS no\n\
         MaxStartups 200\n\
         MaxSessions 200\n\
         Subsystem sftp internal-sftp\n"
    )
}

fn client_config(path: &Path) -> String {
    let path = path.display();
    format!(
        "Host {HOST}\n\
         HostName {RECEIVER_ADDRESS}\n\
         Port {PORT}\n\
         User root\n\
         IdentityFile {path}/user\n\
         IdentitiesOnly yes\n\
         UserKnownHostsFile {path}/known_hosts\n\
         GlobalKnownHostsFile /dev/null\n\
         StrictHostKeyChecking yes\n\
         BatchMode yes\n\
         LogLevel ERROR\n"
    )
}

/// A directory that was made, and goes again.
#[derive(Debug)]
struct Made(PathBuf);

impl Made {
    fn directory(path: &str) -> Result<Option<Self>> {
        let path = PathBuf::from(path);
        if path.exists() {
            return Ok(None);
        }
        fs::create_dir(&path).with_context(|| format!("sshd needs {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Some(Self(path)))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The receiver's name in the client's configuration.
pub(crate) const HOST: &str = "receiver";
const PORT: u16 = 22;
