//! The authorised keys and their files.
//!
//! Files are read at every authentication, so that removing one locks its key
//! out from the next session on, with no signal and no restart.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bmstools_proto::keys::{PrivateKey, PublicKey};
use rustix::process::geteuid;
use tracing::{debug, info, warn};

/// The directory of the authorised keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyDir {
    dir: PathBuf,
}

impl KeyDir {
    /// The directory `dir`; nothing is read.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Checks every file, and logs the keys that may log in.
    ///
    /// # Errors
    ///
    /// Where there is no key, a file cannot be read or holds something else,
    /// others may write where keys come from, or `private.pem` is there and
    /// others may read it or it is not `public.pem`'s other half. Each names the
    /// file and what to do.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let files = self.files()?;
        for file in &files {
            let key = read_public(file)?;
            info!(file = %file.display(), bits = key.bits(), key = %key.fingerprint(), "authorised key");
        }
        ensure!(
            !files.is_empty(),
            "no authorised key: {} is missing; put the operator's public key there (`bmstools keygen` on the operator's host makes a pair)",
            self.public().display()
        );
        ensure!(
            files.len() <= MAX_KEYS,
            "{} keys in {}, but {MAX_KEYS} are possible",
            files.len(),
            self.dir.display()
        );
        self.check_private()
    }

    /// The key for the `attempt`th time that a session asks for a challenge, in
    /// the order of the files; `None` after the last. Broken files are logged and
    /// passed over.
    pub(crate) fn for_attempt(&self, attempt: usize) -> Option<PublicKey> {
        let files = self.files().unwrap_or_else(|error| {
            warn!("{error:#}");
            Vec::new()
        });
        let mut good = files.iter().take(MAX_KEYS).filter_map(|file| {
            read_public(file).inspect_err(|error| warn!("passing over a key: {error:#}")).ok()
        });
        good.nth(attempt)
    }

    /// `public.pem` where it exists, then `authorized_keys.d/*.pem` by name.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let dir = self.dir.display();
        ensure!(
            self.dir.is_dir(),
            "no directory {dir}; make it and put the operator's public.pem there (`bmstools keygen` on the operator's host makes a pair)"
        );
        check_not_writable(&self.dir)?;
        let mut files = Vec::new();
        let more = self.dir.join("authorized_keys.d");
        match fs::read_dir(&more) {
            Ok(entries) => {
                check_not_writable(&more)?;
                for entry in entries {
                    let path =
                        entry.with_context(|| format!("cannot list {}", more.display()))?.path();
                    if path.extension().is_some_and(|extension| extension == "pem") {
                        files.push(path);
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", more.display()));
            }
        }
        files.sort();
        // Deployed operators ask for one challenge only: theirs is the first.
        if self.public().symlink_metadata().is_ok() {
            files.insert(0, self.public());
        }
        Ok(files)
    }

    /// Checks the private key where an operator keeps it beside the public one.
    /// The agent has no use for it, so it may be missing.
    fn check_private(&self) -> anyhow::Result<()> {
        let path = self.dir.join("private.pem");
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                debug!("no {}: not needed here", path.display());
                return Ok(());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        if metadata.mode() & 0o077 != 0 {
            bail!(
                "{} may be used by others than its owner (mode {:04o}); run `chmod 600 {}`",
                path.display(),
                metadata.mode() & 0o7777,
                path.display()
            );
        }
        let pem =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let private = PrivateKey::from_pem(&pem)
            .with_context(|| format!("{} is not a private key", path.display()))?;
        if self.public().exists() {
            let public = read_public(&self.public())?;
            ensure!(
                private.public_key().fingerprint() == public.fingerprint(),
                "{} and {} are not two halves of one key; remove the one that is wrong, or make a new pair with `bmstools keygen {}`",
                path.display(),
                self.public().display(),
                self.dir.display()
            );
        }
        Ok(())
    }

    fn public(&self) -> PathBuf {
        self.dir.join("public.pem")
    }
}

fn read_public(path: &Path) -> anyhow::Result<PublicKey> {
    check_not_writable(path)?;
    let pem =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::from_pem(&pem)
        .with_context(|| format!("{} is not a public key that can be used here", path.display()))
}

/// Refuses what others than root and this process's user could write: whoever can
/// put a key there is root here.
fn check_not_writable(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    check_rights(path, metadata.uid(), metadata.gid(), metadata.mode())
}

fn check_rights(path: &Path, owner: u32, group: u32, mode: u32) -> anyhow::Result<()> {
    let shown = path.display();
    if owner != 0 && owner != geteuid().as_raw() {
        bail!(
            "{shown} belongs to user {owner}, who could put keys there; run `chown root {shown}`"
        );
    }
    if mode & 0o002 != 0 {
        bail!("{shown} may be written by everybody; run `chmod o-w {shown}`");
    }
    if mode & 0o020 != 0 && group != 0 {
        bail!("{shown} may be written by group {group}; run `chmod g-w {shown}`");
    }
    Ok(())
}

/// Keys at most. An operator tries them one after the other, and everybody may
/// make the agent go through all of them.
pub(crate) const MAX_KEYS: usize = 64;

#[cfg(test)]
mod tests;
