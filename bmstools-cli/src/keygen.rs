//! `bmstools keygen`: a new key pair in two files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bmstools_proto::keys::PrivateKey;
use bmstools_proto::v2::identity::{self, Identity, KeyType};
use rand::rngs::OsRng;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{KeyKind, KeygenArgs};
use crate::output::{Failure, Output};

/// Makes a key pair and says where each half belongs.
///
/// # Errors
///
/// Where one of the files exists already or cannot be written.
pub(crate) fn run(args: &KeygenArgs, output: &Output) -> Result<u8, Failure> {
    let bits = match (args.kind, args.bits) {
        (KeyKind::Rsa, bits) => Some(bits.unwrap_or(SAFE)),
        (_, None) => None,
        (_, Some(_)) => return Err(Failure::Usage("--bits is for --type rsa alone".into())),
    };
    if let Some(bits) = bits {
        check_bits(bits, output)?;
    }
    let files = Files::new(&args.directory);
    files.check_absent()?;
    let pair = Pair::generate(args.kind, bits.unwrap_or(SAFE))?;
    files.create(&pair.private, &pair.public)?;

    let (private, public) = (files.private.display(), files.public.display());
    let Pair { fingerprint, kind, .. } = &pair;
    let only_v2 =
        if bits.is_none() { " v1 needs a key of RSA: this one is for v2 alone." } else { "" };
    output.result(
        json!({
            "private": private.to_string(),
            "public": public.to_string(),
            "fingerprint": fingerprint,
            "type": args.kind.name(),
            "bits": bits,
        }),
        &format!(
            "{private}: the private key, {kind}, {fingerprint}\n\
             {public}: the public key\n\
             Copy both to {SERVER_DIRECTORY}/ on each server, as private.pem and public.pem: \
             by them the agent knows you, and you know the agent. Name the private key here \
             with --key, or in the environment as BMSTOOLS_KEY.{only_v2}\n\
             To keep your private key off the servers, make a pair on each as well, put your \
             public key into its {SERVER_DIRECTORY}/authorized_keys.d/, and name the server's \
             public key here with --agent-key.",
        ),
    )?;
    Ok(0)
}

fn check_bits(bits: usize, output: &Output) -> Result<()> {
    if !(SHORTEST..=LONGEST).contains(&bits) {
        bail!(
            "a key of {bits} bits is refused: {SHORTEST} to {LONGEST} are possible, 2048 is usual"
        );
    }
    if bits < SAFE {
        output.warn(&format!(
            "a key of {bits} bits can be broken, and v2 does not take it; use it for deployed \
             peers that take no other"
        ));
    }
    Ok(())
}

/// A new pair as PEM.
struct Pair {
    private: Zeroizing<String>,
    public: String,
    fingerprint: String,
    /// For people.
    kind: String,
}

impl Pair {
    fn generate(kind: KeyKind, bits: usize) -> Result<Self> {
        let kind = match kind {
            KeyKind::Rsa => {
                let key = PrivateKey::generate(bits, &mut OsRng).context("cannot make a key")?;
                let public = key.public_key();
                return Ok(Self {
                    private: key.to_pem(),
                    public: public.to_pem(),
                    fingerprint: public.fingerprint(),
                    kind: format!("RSA {}", public.bits()),
                });
            }
            KeyKind::P256 => KeyType::P256,
            KeyKind::Ed25519 => KeyType::Ed25519,
        };
        let private = identity::generate(kind).context("cannot make a key")?;
        let public = Identity::from_pem(&private).context("cannot make a key")?.public_key();
        Ok(Self {
            private,
            public: public.to_pem(),
            fingerprint: public.fingerprint(),
            kind: public.kind(),
        })
    }
}

struct Files {
    directory: PathBuf,
    private: PathBuf,
    public: PathBuf,
}

impl Files {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            private: directory.join("private.pem"),
            public: directory.join("public.pem"),
        }
    }

    /// Asks before the key is made, which takes a while; [`place`] decides.
    fn check_absent(&self) -> Result<()> {
        for path in [&self.private, &self.public] {
            if path.symlink_metadata().is_ok() {
                return Err(exists(path));
            }
        }
        Ok(())
    }

    /// Leaves both files, or neither.
    fn create(&self, private: &str, public: &str) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .with_context(|| format!("cannot make the directory {}", self.directory.display()))?;
        place(&self.private, 0o600, private)?;
        place(&self.public, 0o644, public).inspect_err(|_| {
            let _ = fs::remove_file(&self.private);
        })?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("cannot sync {}", self.directory.display()))
    }
}

/// Writes `text` to a file of its own and links it to `path`, which fails where
/// `path` exists: nothing is overwritten, and nobody sees half a file.
fn place(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut temporary = path.to_owned();
    temporary.set_extension(format!("pem.{:08x}", rand::random::<u32>()));
    let placed = write_new(&temporary, mode, text).and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    placed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    })
}

fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken more away than it should.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} exists and is not overwritten: choose another directory, or move it away",
        path.display()
    )
}

/// Where agents look for keys.
const SERVER_DIRECTORY: &str = "/usr/lib/bmstools/auth";
/// The weakest key that deployed peers have, in bits.
const SHORTEST: usize = 1024;
/// The longest key that agents read, in bits.
const LONGEST: usize = 8192;
/// Shorter ones get a warning (NIST SP 800-131A); the length where none is given.
const SAFE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_files_and_their_directory_get_their_modes() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(&directory.path().join("new/auth"));
        files.create("secret", "known").unwrap();
        assert_eq!(mode(&files.directory), 0o700);
        assert_eq!(mode(&files.private), 0o600);
        assert_eq!(mode(&files.public), 0o644);
        assert_eq!(fs::read_to_string(&files.private).unwrap(), "secret");
        assert_eq!(fs::read_to_string(&files.public).unwrap(), "known");
        assert_eq!(fs::read_dir(&files.directory).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_exists_stays_and_its_twin_does_not_appear() {
        for existing in ["private.pem", "public.pem"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(existing);
            fs::write(&path, "old").unwrap();
            let files = Files::new(directory.path());
            for error in [
                files.check_absent().unwrap_err().to_string(),
                files.create("secret", "known").unwrap_err().to_string(),
            ] {
                assert!(error.contains(existing) && error.contains("not overwritten"), "{error}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), "old");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_dangling_link_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path());
        std::os::unix::fs::symlink("elsewhere", &files.private).unwrap();
        assert!(files.check_absent().is_err());
        assert!(files.create("secret", "known").is_err());
        assert!(!directory.path().join("elsewhere").exists());
    }
}
