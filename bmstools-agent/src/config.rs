//! Every setting of the agent, each with its reason and its range.
//!
//! `bmstools-agent.toml` beside the sources shows all of them with their
//! defaults.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bmstools_common::maps::{Rate, SESSIONS_CAPACITY};
use serde::Deserialize;
use toml::Value;

use crate::cli::Link;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Interfaces to serve. At least one must be given, here or by `--iface`.
    pub(crate) interfaces: Vec<String>,
    /// How to move frames.
    pub(crate) link: Link,
    /// Whether to ask for zero-copy AF_XDP. Off, because some drivers corrupt
    /// memory with it.
    pub(crate) zero_copy: bool,
    /// Where the keys are.
    pub(crate) auth_dir: PathBuf,
    /// Which versions of the protocol are spoken. Opens of the other are ignored.
    pub(crate) protocols: Protocols,
    /// Limits on sessions.
    pub(crate) sessions: Sessions,
    /// Limits on opens.
    pub(crate) opens: Opens,
    /// Limits on commands.
    pub(crate) exec: Exec,
    /// Where jobs are kept, and how many.
    pub(crate) jobs: Jobs,
    /// What is kept about transfers.
    pub(crate) files: Files,
}

/// Versions of the protocol, at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Protocols {
    /// Version 1, both dialects.
    pub(crate) v1: bool,
    /// Version 2.
    pub(crate) v2: bool,
}

/// Limits on sessions.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    /// Sessions at once, 1..=8192 (what the XDP program's table holds). 1024:
    /// each costs a few kB idle, and one management platform seldom has more
    /// than one open to a server.
    pub(crate) max: usize,
    /// Time without a frame or a request under way after which a session ends,
    /// 1..=86400 s. 300 s: a person at a prompt may think that long.
    pub(crate) idle_timeout: Duration,
    /// How long answers to deployed operators are held back, 0..=1000 ms. They
    /// lose an answer that comes before they have begun to wait, a few
    /// milliseconds after their last frame left; 10 ms is past that.
    pub(crate) deployed_answer_delay: Duration,
}

/// Limits on opens: a token bucket for each source address and one for all.
#[derive(Clone, Debug)]
pub(crate) struct Opens {
    /// For one source. 300 a second in bursts of 768: an operator's script may
    /// run many short sessions, each of three opens; a flood gets no further.
    pub(crate) per_source: Rate,
    /// For all sources together. 3000 a second in bursts of 6144: ten busy
    /// operators; it bounds what a flood with forged sources can cost.
    pub(crate) global: Rate,
}

/// Limits on commands.
#[derive(Clone, Debug)]
pub(crate) struct Exec {
    /// Commands at once, of all sessions, 1..=4096. 256: each costs processes
    /// and up to twice `max_output` of memory.
    pub(crate) max_commands: usize,
    /// Bytes that version 1 keeps of standard output and of standard error each,
    /// 1024..=524288 (JSON makes it up to six times longer, and operators take
    /// 8 MiB). 262144: nobody reads more. The rest is read, counted and thrown
    /// away.
    pub(crate) max_output: usize,
    /// Time after which a command is killed, 1..=604800 s. 3600 s: longer work
    /// belongs into the background, where it outlives its session. Version 1 only:
    /// over version 2 operators say how long a command may take.
    pub(crate) timeout: Duration,
}

/// Where jobs are kept, and how many.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    /// A directory for each. It should not outlive the system, since a job does not.
    pub(crate) directory: PathBuf,
    /// Jobs that have ended and are remembered, 1..=10000. 64: the oldest make room, so
    /// that nobody needs to clean up.
    pub(crate) keep: usize,
    /// Bytes kept of each output of a job, 0..=1099511627776. 16777216: `/run` is
    /// memory; what writes more belongs into a file of its own.
    pub(crate) max_output: u64,
}

/// What is kept about transfers.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Notes where interrupted transfers left unfinished files, so that those are
    /// removed a day later. It must outlive the system, as the files do.
    pub(crate) journal: PathBuf,
}

/// The file as written: numbers unchecked, so that every wrong one gets an
/// error with its range.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    interfaces: Vec<String>,
    link: Link,
    zero_copy: bool,
    auth_dir: Option<PathBuf>,
    protocols: Option<Vec<Value>>,
    sessions: SessionsTable,
    opens: OpensTable,
    exec: ExecTable,
    jobs: JobsTable,
    files: FilesTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SessionsTable {
    max: Option<Value>,
    idle_timeout: Option<Value>,
    deployed_answer_delay_ms: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OpensTable {
    per_source: Option<Value>,
    per_source_burst: Option<Value>,
    global: Option<Value>,
    global_burst: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ExecTable {
    max_commands: Option<Value>,
    max_output: Option<Value>,
    timeout: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct JobsTable {
    directory: Option<PathBuf>,
    keep: Option<Value>,
    max_output: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FilesTable {
    journal: Option<PathBuf>,
}

impl Config {
    /// The settings in `file`, or the defaults where there is none.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or a value is wrong, with the file, the key
    /// and what would be right.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Self::parse("") };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read configuration {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("wrong configuration {}", file.display()))
    }

    /// The settings in `text`; defaults for what it does not name.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text)?;
        let File { sessions, opens, exec, jobs, files, .. } = file;
        Ok(Self {
            interfaces: file.interfaces,
            link: file.link,
            zero_copy: file.zero_copy,
            auth_dir: file.auth_dir.unwrap_or_else(|| PathBuf::from(AUTH_DIR)),
            protocols: protocols(file.protocols)?,
            sessions: Sessions {
                max: number("sessions.max", sessions.max, 1024, 1..=SESSIONS_CAPACITY.into())?
                    as usize,
                idle_timeout: Duration::from_secs(number(
                    "sessions.idle_timeout",
                    sessions.idle_timeout,
                    300,
                    1..=86_400,
                )?),
                deployed_answer_delay: Duration::from_millis(number(
                    "sessions.deployed_answer_delay_ms",
                    sessions.deployed_answer_delay_ms,
                    10,
                    0..=1000,
                )?),
            },
            opens: Opens {
                per_source: rate(
                    ("opens.per_source", opens.per_source, 300),
                    ("opens.per_source_burst", opens.per_source_burst, 768),
                )?,
                global: rate(
                    ("opens.global", opens.global, 3000),
                    ("opens.global_burst", opens.global_burst, 6144),
                )?,
            },
            exec: Exec {
                max_commands: number("exec.max_commands", exec.max_commands, 256, 1..=4096)?
                    as usize,
                max_output: number("exec.max_output", exec.max_output, 1 << 18, 1024..=1 << 19)?
                    as usize,
                timeout: Duration::from_secs(number(
                    "exec.timeout",
                    exec.timeout,
                    3600,
                    1..=604_800,
                )?),
            },
            jobs: Jobs {
                directory: jobs.directory.unwrap_or_else(|| PathBuf::from(JOBS_DIRECTORY)),
                keep: number("jobs.keep", jobs.keep, 64, 1..=10_000)? as usize,
                max_output: number("jobs.max_output", jobs.max_output, 1 << 24, 0..=1 << 40)?,
            },
            files: Files { journal: files.journal.unwrap_or_else(|| PathBuf::from(JOURNAL)) },
        })
    }
}

/// A number of the file in its range, or the default.
fn number(
    key: &str,
    value: Option<Value>,
    default: u64,
    range: RangeInclusive<u64>,
) -> anyhow::Result<u64> {
    let Some(value) = value else { return Ok(default) };
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number.filter(|number| range.contains(number)).with_context(|| {
        let (start, end) = range.into_inner();
        format!("{key} = {value}: a whole number from {start} to {end} belongs here, {default} is the default")
    })
}

/// The versions that are listed; both where nothing is.
fn protocols(listed: Option<Vec<Value>>) -> anyhow::Result<Protocols> {
    let Some(listed) = listed else { return Ok(Protocols { v1: true, v2: true }) };
    let mut protocols = Protocols { v1: false, v2: false };
    for name in &listed {
        match name.as_str() {
            Some("v1") => protocols.v1 = true,
            Some("v2") => protocols.v2 = true,
            _ => bail!("protocols: {name} is none; \"v2\" and \"v1\" are"),
        }
    }
    ensure!(protocols.v1 || protocols.v2, "protocols = []: list \"v2\", \"v1\" or both");
    Ok(protocols)
}

/// A rate of so many events a second in bursts of so many.
fn rate(
    (key, per_second, default): (&str, Option<Value>, u64),
    (burst_key, burst, default_burst): (&str, Option<Value>, u64),
) -> anyhow::Result<Rate> {
    let per_second = number(key, per_second, default, 1..=1_000_000)?;
    let burst = number(burst_key, burst, default_burst, 1..=1_000_000)?;
    Ok(Rate { interval_ns: 1_000_000_000 / per_second, burst })
}

/// Where deployed peers keep their keys.
const AUTH_DIR: &str = "/usr/lib/bmstools/auth";

/// Goes with the system, as jobs do.
const JOBS_DIRECTORY: &str = "/run/bmstools/jobs";

/// Stays where the system is started anew.
const JOURNAL: &str = "/var/lib/bmstools/unfinished";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn the_example_file_holds_exactly_the_defaults() {
        let example = include_str!("../bmstools-agent.toml");
        let uncommented: String = example
            .lines()
            .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(
            format!("{:?}", Config::parse(&uncommented).unwrap()),
            format!("{:?}", Config::parse("interfaces = ['eth0']").unwrap()),
        );
        for key in
            ["zero_copy", "max_commands", "global_burst", "protocols", "deployed_answer_delay_ms"]
        {
            assert!(uncommented.lines().any(|l| l.starts_with(key)), "{key}");
        }
        Config::parse(example).unwrap();
    }

    #[test]
    fn a_number_out_of_range_is_named_with_its_range() {
        for (text, says) in [
            ("[sessions]\nmax = 0", "sessions.max = 0: a whole number from 1 to 8192"),
            ("[sessions]\nmax = -3", "sessions.max = -3: a whole number from 1 to 8192"),
            ("[exec]\ntimeout = 604801", "exec.timeout = 604801: a whole number from 1 to 604800"),
            ("[opens]\nglobal = 0", "opens.global = 0: a whole number from 1 to 1000000"),
            ("[exec]\ntimeout = '1h'", "exec.timeout = \"1h\": a whole number from 1 to 604800"),
        ] {
            assert!(error(text).starts_with(says), "{}", error(text));
        }
    }

    #[test]
    fn an_unknown_key_and_a_wrong_type_are_named() {
        assert!(error("[exec]\ntimeuot = 1").contains("timeuot"));
        assert!(error("interfaces = 'eth0'").contains("interfaces = 'eth0'"));
        assert!(error("link = 'dpdk'").contains("xdp-generic"));
    }

    #[test]
    fn either_version_can_be_turned_off_but_not_both() {
        let both = Config::parse("").unwrap().protocols;
        assert_eq!(both, Protocols { v1: true, v2: true });
        let one = Config::parse("protocols = ['v2']").unwrap().protocols;
        assert_eq!(one, Protocols { v1: false, v2: true });
        assert!(error("protocols = []").contains("list \"v2\""));
        assert!(error("protocols = ['v2', 'v3']").contains("\"v3\" is none"));
        assert!(error("protocols = [1]").contains("1 is none"));
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let missing = format!("{:#}", Config::load(Some(&path)).unwrap_err());
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
        std::fs::write(&path, "[exec]\nmax_output = 1").unwrap();
        let wrong = format!("{:#}", Config::load(Some(&path)).unwrap_err());
        assert!(wrong.contains(path.to_str().unwrap()), "{wrong}");
        assert!(wrong.contains("exec.max_output = 1:"), "{wrong}");
    }

    #[test]
    fn opens_a_second_become_an_interval() {
        let config = Config::parse("[opens]\nper_source = 50\nper_source_burst = 7").unwrap();
        assert_eq!(config.opens.per_source, Rate { interval_ns: 20_000_000, burst: 7 });
    }
}
