//! The programs of others, where they are installed.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A program of others, and the Debian package with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// The program.
    pub(crate) program: &'static str,
    /// The package.
    pub(crate) package: &'static str,
    /// Makes it tell its version.
    version: &'static str,
}

const fn tool(program: &'static str, package: &'static str, version: &'static str) -> Tool {
    Tool { program, package, version }
}

pub(crate) const SSH: Tool = tool("ssh", "openssh-client", "-V");
pub(crate) const SSHD: Tool = tool("sshd", "openssh-server", "");
pub(crate) const RSYNC: Tool = tool("rsync", "rsync", "--version");
pub(crate) const TAR: Tool = tool("tar", "tar", "--version");
pub(crate) const NC: Tool = tool("nc", "netcat-openbsd", "");
pub(crate) const MBUFFER: Tool = tool("mbuffer", "mbuffer", "--version");
pub(crate) const IPERF3: Tool = tool("iperf3", "iperf3", "--version");
pub(crate) const UFTP: Tool = tool("uftp", "uftp", "");
pub(crate) const UDPCAST: Tool = tool("udp-sender", "udpcast", "");

/// All of them.
pub(crate) const ALL: [Tool; 9] = [SSH, SSHD, RSYNC, TAR, NC, MBUFFER, IPERF3, UFTP, UDPCAST];

impl Tool {
    /// Where it is, in PATH or where PATH may leave system tools out.
    pub(crate) fn find(self) -> Option<PathBuf> {
        find(self.program)
    }

    /// Why its contestants are absent; `None` where it is there.
    pub(crate) fn missing(self) -> Option<String> {
        match self.find() {
            Some(_) => None,
            None => Some(format!("absent: {} is not installed", self.package)),
        }
    }

    /// Its version in its own words, or its package's.
    pub(crate) fn version(self) -> String {
        let Some(program) = self.find() else { return "absent".to_owned() };
        if self.version.is_empty() {
            return self.package_version().unwrap_or_else(|| "unknown".to_owned());
        }
        let Ok(output) = Command::new(program).arg(self.version).output() else {
            return "unknown".to_owned();
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().next().unwrap_or("unknown").trim().to_owned()
    }

    fn package_version(self) -> Option<String> {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}", self.package]);
        let output = query.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// A program in PATH or where system tools are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program))
        .find(|program| program.is_file())
}
