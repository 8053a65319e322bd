//! One key's file.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use bmstools_proto::keys::{KeyError, PrivateKey, PublicKey};
use bmstools_proto::v2::identity::{self, Identity, IdentityError};
use rustix::process::geteuid;
use zeroize::Zeroizing;

/// A public key, as either version of the protocol takes it. One of them does.
pub(super) struct AnyPublic {
    pub(super) v1: Result<PublicKey, KeyError>,
    pub(super) v2: Result<identity::PublicKey, IdentityError>,
}

impl AnyPublic {
    /// The digest that names the key.
    pub(super) fn fingerprint(&self) -> String {
        match (&self.v2, &self.v1) {
            (Ok(key), _) => key.fingerprint(),
            (_, Ok(key)) => key.fingerprint(),
            _ => String::new(),
        }
    }

    /// What kind of key it is, for people.
    pub(super) fn kind(&self) -> String {
        match (&self.v2, &self.v1) {
            (Ok(key), _) => key.kind(),
            (_, Ok(key)) => format!("RSA {}, v1 only", key.bits()),
            _ => String::new(),
        }
    }
}

/// A private key, as either version takes it. One of them does.
pub(super) struct AnyPrivate {
    v1: Result<PrivateKey, KeyError>,
    pub(super) v2: Result<Identity, IdentityError>,
}

impl AnyPrivate {
    /// The digest that names its public half.
    pub(super) fn fingerprint(&self) -> String {
        match (&self.v2, &self.v1) {
            (Ok(key), _) => key.public_key().fingerprint(),
            (_, Ok(key)) => key.public_key().fingerprint(),
            _ => String::new(),
        }
    }
}

/// Reads a public key.
///
/// # Errors
///
/// Where neither version can use what is in the file, or others may write it.
pub(super) fn read_public(path: &Path) -> anyhow::Result<AnyPublic> {
    check_not_writable(path)?;
    let pem =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (v1, v2) = (PublicKey::from_pem(&pem), identity::PublicKey::from_pem(&pem));
    let context = || format!("{} is not a public key that can be used here", path.display());
    match (v1, v2) {
        (Err(KeyError::NotRsa), Err(error)) => Err(error).with_context(context),
        (Err(error), Err(_)) => Err(error).with_context(context),
        (v1, v2) => Ok(AnyPublic { v1, v2 }),
    }
}

/// Reads a private key.
///
/// # Errors
///
/// As [`read_public`], and where others may read it.
pub(super) fn read_private(path: &Path) -> anyhow::Result<AnyPrivate> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    if metadata.mode() & 0o077 != 0 {
        bail!(
            "{shown} may be used by others than its owner (mode {:04o}); run `chmod 600 {shown}`",
            metadata.mode() & 0o7777,
        );
    }
    let pem =
        Zeroizing::new(fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?);
    let context = || format!("{shown} is not a private key");
    match (PrivateKey::from_pem(&pem), Identity::from_pem(&pem)) {
        (Err(KeyError::NotRsa), Err(error)) => Err(error).with_context(context),
        (Err(error), Err(_)) => Err(error).with_context(context),
        (v1, v2) => Ok(AnyPrivate { v1, v2 }),
    }
}

/// Refuses what others than root and this process's user could write: whoever can
/// put a key there is root here.
pub(super) fn check_not_writable(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    check_rights(path, metadata.uid(), metadata.gid(), metadata.mode())
}

pub(super) fn check_rights(path: &Path, owner: u32, group: u32, mode: u32) -> anyhow::Result<()> {
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
