//! Pushes and pulls over version 2, and what must not be left of them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::Finished;
use crate::{Agent, AgentCommand, Link, Operator, Testbed, command, tree};

/// A testbed whose agent serves version 2 and keeps its journal in it.
///
/// # Errors
///
/// As [`Testbed::new`], or where the agent does not become ready.
pub fn serving(link: Link) -> Result<(Testbed, Agent)> {
    let bed = Testbed::new(link)?;
    let agent = agent(&bed)?.start()?;
    Ok((bed, agent))
}

/// The command line of such an agent.
///
/// # Errors
///
/// Where the agent has not been built.
pub fn agent(bed: &Testbed) -> Result<AgentCommand> {
    let config = bed.path("agent.toml");
    let journal = bed.path("journal");
    fs::write(&config, format!("[files]\njournal = {:?}\n", journal.display().to_string()))?;
    Ok(bed.v2_agent_command(&bed.keys, &[])?.config(&config))
}

/// `push` or `pull` with options.
pub fn words(command: &str, options: &[&str], from: &Path, to: &Path) -> Vec<OsString> {
    let mut words = vec![OsString::from(command)];
    words.extend(options.iter().map(OsString::from));
    words.extend([from.into(), to.into()]);
    words
}

/// Copies and fails unless that succeeds; what was printed, as JSON.
///
/// # Errors
///
/// With what `bmstools` printed.
pub fn copy(
    operator: &Operator<'_>,
    command: &str,
    options: &[&str],
    from: &Path,
    to: &Path,
) -> Result<serde_json::Value> {
    let operator = operator.clone().v2().json();
    operator.run(&words(command, options, from, to))?.success()?.json()
}

/// Copies, and fails unless that fails and says all of `says`.
///
/// # Errors
///
/// Otherwise.
pub fn refused(
    operator: &Operator<'_>,
    options: &[&str],
    from: &Path,
    to: &Path,
    says: &[&str],
) -> Result<Finished> {
    let done = operator.clone().v2().run(&words("push", options, from, to))?;
    ensure!(done.code() == Some(255), "{done:?}");
    for part in says {
        ensure!(done.stderr.contains(part), "nothing of `{part}`: {done:?}");
    }
    Ok(done)
}

/// Waits until a transfer has written so many bytes to the unfinished file of
/// `target`.
///
/// # Errors
///
/// Where it does not within `limit`.
pub fn wait_for_bytes(target: &Path, bytes: u64, limit: Duration) -> Result<u64> {
    let directory = target.parent().context("a target without a directory")?;
    let deadline = Instant::now() + limit;
    loop {
        let found = tree::unfinished(directory).unwrap_or_default();
        let written = found.iter().filter_map(|path| fs::metadata(path).ok());
        let written = written.map(|about| about.blocks() * 512).sum();
        if written >= bytes {
            return Ok(written);
        }
        ensure!(Instant::now() < deadline, "{written} bytes of {bytes} after {limit:?}");
        sleep(Duration::from_millis(1));
    }
}

/// Waits until so many bytes of a tree are in place.
///
/// # Errors
///
/// Where they are not within `limit`.
pub fn wait_for_tree(root: &Path, bytes: u64, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let found = size_of(root).unwrap_or(0);
        if found >= bytes {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{found} bytes of {bytes} after {limit:?}");
        sleep(Duration::from_millis(5));
    }
}

fn size_of(root: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let about = entry.metadata()?;
        // Unfinished files are as long as they will be, and hold what has come.
        size += if about.is_dir() { size_of(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(size)
}

/// Fails where anything unfinished is left, or noted.
///
/// # Errors
///
/// With what is left.
pub fn require_clean(bed: &Testbed) -> Result<()> {
    let left = tree::unfinished(&bed.path(""))?;
    ensure!(left.is_empty(), "left: {left:?}");
    if let Ok(notes) = fs::read_dir(bed.path("journal")) {
        let notes: Vec<_> = notes.flatten().map(|note| note.path()).collect();
        ensure!(notes.is_empty(), "notes are left: {notes:?}");
    }
    Ok(())
}

/// A memory-backed file system of a few bytes, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes one of `bytes`.
    ///
    /// # Errors
    ///
    /// Where it cannot be mounted.
    pub fn mount(at: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir(at)?;
        command::run(&format!("mount -t tmpfs -o size={bytes} tmpfs {}", at.display()))?;
        Ok(Self(at.to_path_buf()))
    }

    /// Lets nobody write to it.
    ///
    /// # Errors
    ///
    /// Where it is in use.
    pub fn make_read_only(&self) -> Result<()> {
        command::run(&format!("mount -o remount,ro {}", self.0.display())).map(drop)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Fails unless it holds these names alone.
    ///
    /// # Errors
    ///
    /// With what it holds.
    pub fn require_only(&self, names: &[&str]) -> Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            found.push(entry?.file_name().to_string_lossy().into_owned());
        }
        found.sort();
        if found != names {
            bail!("on the disk: {found:?}");
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = command::run(&format!("umount -l {}", self.0.display())) {
            eprintln!("{error:#}");
        }
    }
}
