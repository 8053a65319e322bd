//! The agent's own key, the authorised keys, and their files.
//!
//! Files are read at every authentication, so that removing one locks its key
//! out from the next session on, with no signal and no restart.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use bmstools_proto::keys::PublicKey;
use bmstools_proto::v2::identity::{self, Identity};
use tracing::{debug, info, warn};

use self::file::{AnyPublic, check_not_writable, read_private, read_public};
use crate::config::Protocols;

mod file;
mod keeper;

pub(crate) use self::keeper::{Keeper, Keys};

/// The directory of the keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyDir {
    dir: PathBuf,
}

/// What version 2 takes.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// Who the agent is.
    pub(crate) identity: Identity,
    /// Whom it serves.
    pub(crate) authorized: Vec<identity::PublicKey>,
}

/// Tells one state of the files from another.
pub(crate) type Stamp = Vec<(PathBuf, Option<(SystemTime, u64, u64)>)>;

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
    /// others may read it or it is not `public.pem`'s other half; and where
    /// version 2 alone is spoken and keys for it are missing. Each names the file
    /// and what to do.
    pub(crate) fn check(&self, protocols: Protocols) -> anyhow::Result<()> {
        let files = self.files()?;
        let mut v1 = 0;
        for file in &files {
            let key = read_public(file)?;
            v1 += usize::from(key.v1.is_ok());
            info!(file = %file.display(), kind = key.kind(), key = key.fingerprint(), "authorised key");
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
        self.check_private()?;
        if protocols.v2 {
            match self.credentials() {
                Ok(credentials) => {
                    let key = credentials.identity.public_key();
                    info!(kind = key.kind(), key = key.fingerprint(), "this agent's key in v2");
                }
                Err(error) if protocols.v1 => warn!("v2 is not served: {error:#}"),
                Err(error) => {
                    return Err(error.context("protocols lists v2 alone, and it cannot be served"));
                }
            }
        }
        if protocols.v1 && v1 == 0 {
            ensure!(
                protocols.v2,
                "protocols lists v1 alone, but none of the keys in {} is of RSA, which it needs; `bmstools keygen` makes one",
                self.dir.display()
            );
            warn!("v1 serves nobody: it needs a key of RSA, and there is none");
        }
        Ok(())
    }

    /// The key for the `attempt`th time that a session of version 1 asks for a
    /// challenge, in the order of the files; `None` after the last. Broken files
    /// are logged and passed over, other kinds than RSA passed over.
    pub(crate) fn for_attempt(&self, attempt: usize) -> Option<PublicKey> {
        self.public_keys().filter_map(|key| key.v1.ok()).nth(attempt)
    }

    /// What version 2 takes.
    ///
    /// # Errors
    ///
    /// Where the agent's own key is missing or of no use for it, or none of the
    /// authorised keys is of use.
    pub(crate) fn credentials(&self) -> anyhow::Result<Credentials> {
        let path = self.private();
        ensure!(
            path.symlink_metadata().is_ok(),
            "{} is missing, by which the agent proves who it is; copy it there from where `bmstools keygen` made it, or make a pair for this agent alone with `bmstools keygen` and name its public.pem to operators (--agent-key)",
            path.display()
        );
        let private = read_private(&path)?;
        let identity =
            private.v2.with_context(|| format!("{} is of no use for v2", path.display()))?;
        let mut reason = None;
        let keys = self.public_keys().filter_map(|key| match key.v2 {
            Ok(key) => Some(key),
            Err(error) => {
                reason.get_or_insert(error);
                None
            }
        });
        let authorized: Vec<_> = keys.collect();
        if let (true, Some(reason)) = (authorized.is_empty(), reason) {
            return Err(anyhow::Error::new(reason).context("no authorised key is of use for v2"));
        }
        Ok(Credentials { identity, authorized })
    }

    /// Whether `key` is authorised by a file that is there.
    pub(crate) fn is_authorized(&self, key: &identity::PublicKey) -> bool {
        self.public_keys().any(|other| other.v2.as_ref() == Ok(key))
    }

    /// Which files there are, and when they were changed.
    pub(crate) fn stamp(&self) -> Stamp {
        let mut paths = vec![self.dir.clone(), self.more(), self.private(), self.public()];
        // Where it cannot be listed, its directories' times tell when that changes.
        paths.extend(self.listed().unwrap_or_default());
        paths
            .into_iter()
            .map(|path| {
                let metadata = fs::metadata(&path).ok();
                let state = metadata.and_then(|m| Some((m.modified().ok()?, m.ino(), m.size())));
                (path, state)
            })
            .collect()
    }

    /// Every key that can be read, in the order of the files.
    fn public_keys(&self) -> impl Iterator<Item = AnyPublic> {
        let files = self.files().unwrap_or_else(|error| {
            warn!("{error:#}");
            Vec::new()
        });
        files.into_iter().take(MAX_KEYS).filter_map(|file| {
            read_public(&file).inspect_err(|error| warn!("passing over a key: {error:#}")).ok()
        })
    }

    /// `public.pem` where it exists, then `authorized_keys.d/*.pem` by name.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let dir = self.dir.display();
        ensure!(
            self.dir.is_dir(),
            "no directory {dir}; make it and put the operator's public.pem there (`bmstools keygen` on the operator's host makes a pair)"
        );
        check_not_writable(&self.dir)?;
        let more = self.more();
        if more.symlink_metadata().is_ok() {
            check_not_writable(&more)?;
        }
        let mut files = self.listed()?;
        files.sort();
        // Deployed operators ask for one challenge only: theirs is the first.
        if self.public().symlink_metadata().is_ok() {
            files.insert(0, self.public());
        }
        Ok(files)
    }

    /// `authorized_keys.d/*.pem`, in no order.
    fn listed(&self) -> anyhow::Result<Vec<PathBuf>> {
        let more = self.more();
        let context = || format!("cannot list {}", more.display());
        let entries = match fs::read_dir(&more) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(context)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.with_context(context)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Checks the private key, which version 1 has no use for.
    fn check_private(&self) -> anyhow::Result<()> {
        let path = self.private();
        if let Err(error) = fs::metadata(&path)
            && error.kind() == ErrorKind::NotFound
        {
            debug!("no {}", path.display());
            return Ok(());
        }
        let private = read_private(&path)?;
        if !self.public().exists() {
            return Ok(());
        }
        let public = read_public(&self.public())?;
        if private.fingerprint() != public.fingerprint() {
            bail!(
                "{} and {} are not two halves of one key; remove the one that is wrong, make a new pair with `bmstools keygen {}`, or put the public key of an operator into {}",
                path.display(),
                self.public().display(),
                self.dir.display(),
                self.more().display()
            );
        }
        Ok(())
    }

    fn public(&self) -> PathBuf {
        self.dir.join("public.pem")
    }

    fn private(&self) -> PathBuf {
        self.dir.join("private.pem")
    }

    fn more(&self) -> PathBuf {
        self.dir.join("authorized_keys.d")
    }
}

/// Keys at most. An operator tries them one after the other, and everybody may
/// make the agent go through all of them.
pub(crate) const MAX_KEYS: usize = 64;

#[cfg(test)]
mod tests;
