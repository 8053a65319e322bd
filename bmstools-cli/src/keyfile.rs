//! Where the operator's private key is, and whether it may be used.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::v2::identity::{Identity, PublicKey};
use zeroize::Zeroizing;

/// The key's file: the one named, else the environment's, else the default.
pub(crate) fn path(named: Option<&Path>) -> PathBuf {
    match (named, env::var_os(KEY_VARIABLE).filter(|value| !value.is_empty())) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) => path.into(),
        (None, None) => DEFAULT_KEY.into(),
    }
}

/// Reads the private key in `path` for version 1.
///
/// # Errors
///
/// Where the file cannot be read, holds no key of RSA, or lets others read it.
pub(crate) fn load(path: &Path) -> Result<PrivateKey> {
    PrivateKey::from_pem(&read(path)?)
        .with_context(|| format!("{} is no usable private key", path.display()))
}

/// Reads the private key in `path` for version 2.
///
/// # Errors
///
/// Where the file cannot be read, holds no key that version 2 can use, or lets others
/// read it.
pub(crate) fn identity(path: &Path) -> Result<Identity> {
    Identity::from_pem(&read(path)?).with_context(|| format!("the key {}", path.display()))
}

/// Reads the public key in `path` for version 2.
///
/// # Errors
///
/// Where the file cannot be read or holds no key that version 2 can use.
pub(crate) fn public(path: &Path) -> Result<PublicKey> {
    let shown = path.display();
    let mut pem = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_KEY).read_to_string(&mut pem))
        .with_context(|| format!("cannot read the agent's key {shown}"))?;
    PublicKey::from_pem(&pem).with_context(|| format!("the agent's key {shown}"))
}

fn read(path: &Path) -> Result<Zeroizing<String>> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "there is no key {shown}: name one with --key or {KEY_VARIABLE}, \
             or make a pair with `bmstools keygen DIR`"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot read the key {shown}")),
    })?;
    let metadata = file.metadata().with_context(|| format!("cannot read the key {shown}"))?;
    if !metadata.is_file() {
        bail!("the key {shown} is not a regular file: name a PEM file with --key");
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("others may use the key {shown} (mode {mode:04o}): run `chmod 600 {shown}`");
    }
    let mut pem = Zeroizing::new(String::with_capacity(LONGEST_KEY as usize));
    file.take(LONGEST_KEY)
        .read_to_string(&mut pem)
        .with_context(|| format!("cannot read the key {shown}"))?;
    Ok(pem)
}

/// The variable that names the private key's file.
pub(crate) const KEY_VARIABLE: &str = "BMSTOOLS_KEY";
/// The private key's file where nothing names another.
pub(crate) const DEFAULT_KEY: &str = "/usr/lib/bmstools/auth/private.pem";
/// Several times what the longest RSA key takes as PEM, in bytes.
const LONGEST_KEY: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_chmod_to_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private.pem");
        fs::write(&path, "no key").unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_missing_key_and_a_directory_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = load(&directory.path().join("x.pem")).unwrap_err().to_string();
        assert!(missing.contains("x.pem") && missing.contains("keygen"), "{missing}");
        let error = load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_named_key_comes_before_all_others() {
        assert_eq!(path(Some(Path::new("k.pem"))), Path::new("k.pem"));
    }
}
