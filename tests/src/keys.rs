//! Key pairs, made once a size or type by `bmstools keygen` and kept with the build.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::{Digest, Md5};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::sha2::Sha256;
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey, RsaPublicKey};

use crate::{binaries, command};

/// A directory with `private.pem` and `public.pem`.
#[derive(Clone, Debug)]
pub struct KeyPair {
    directory: PathBuf,
}

impl KeyPair {
    /// The pair of this size that all tests share.
    ///
    /// # Errors
    ///
    /// Where `bmstools keygen` fails.
    pub fn shared(bits: usize) -> Result<Self> {
        Self::named(&format!("shared-{bits}"), &["--bits", &bits.to_string()])
    }

    /// Another pair of this size, which no agent knows unless told.
    ///
    /// # Errors
    ///
    /// As [`shared`](Self::shared).
    pub fn stranger(bits: usize) -> Result<Self> {
        Self::named(&format!("stranger-{bits}"), &["--bits", &bits.to_string()])
    }

    /// The pair of this type (as `bmstools keygen --type` has it) that all tests share.
    ///
    /// # Errors
    ///
    /// As [`shared`](Self::shared).
    pub fn of_type(kind: &str) -> Result<Self> {
        Self::named(&format!("shared-{kind}"), &["--type", kind])
    }

    /// A new pair in `directory`, which `bmstools keygen` makes.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn generate(directory: &Path, bits: usize) -> Result<Self> {
        Self::make(directory, &["--bits", &bits.to_string()])
    }

    fn make(directory: &Path, options: &[&str]) -> Result<Self> {
        let mut keygen = Command::new(binaries::operator()?);
        keygen.arg("keygen").arg(directory).args(options);
        command::output(&mut keygen, "bmstools keygen")?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    fn named(name: &str, options: &[&str]) -> Result<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = binaries::target_directory()?.join("test-keys");
        let directory = parent.join(name);
        if !directory.join("private.pem").exists() {
            fs::create_dir_all(&parent)?;
            let made = tempfile::tempdir_in(&parent)?;
            Self::make(made.path(), options)?;
            // Another process may have been faster: then its pair is the one.
            if fs::rename(made.path(), &directory).is_ok() {
                let _ = made.keep();
            }
        }
        Ok(Self { directory })
    }

    /// The operator's half.
    pub fn private_path(&self) -> PathBuf {
        self.directory.join("private.pem")
    }

    /// Copies the private half into `directory`, for its owner alone, as an agent's own.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn install(&self, directory: &Path) -> Result<()> {
        let to = directory.join("private.pem");
        fs::copy(self.private_path(), &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// The agent's half.
    pub fn public_path(&self) -> PathBuf {
        self.directory.join("public.pem")
    }

    /// The key's fingerprint, as OpenSSH writes one of the same bytes.
    ///
    /// # Errors
    ///
    /// Where the public key cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let pem = fs::read_to_string(self.public_path())?;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let digest = Sha256::digest(STANDARD.decode(body)?);
        Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)))
    }

    /// The answer to a challenge: the digest of the text that `encrypted` (base64)
    /// holds.
    ///
    /// # Errors
    ///
    /// Where it is not encrypted under this pair.
    pub fn answer(&self, encrypted: &[u8]) -> Result<String> {
        let pem = fs::read_to_string(self.private_path())?;
        let key = RsaPrivateKey::from_pkcs1_pem(&pem)
            .or_else(|_| RsaPrivateKey::from_pkcs8_pem(&pem))
            .context("the private key cannot be read")?;
        let text = key
            .decrypt(Pkcs1v15Encrypt, &STANDARD.decode(encrypted)?)
            .context("the challenge is not for this key")?;
        Ok(digest(&text))
    }

    /// A challenge of `text`: base64 of its encryption.
    ///
    /// # Errors
    ///
    /// Where the key cannot be read.
    pub fn challenge(&self, text: &[u8]) -> Result<String> {
        let pem = fs::read_to_string(self.public_path())?;
        let key = RsaPublicKey::from_public_key_pem(&pem)?;
        let encrypted = key.encrypt(&mut rand::rngs::OsRng, Pkcs1v15Encrypt, text)?;
        Ok(STANDARD.encode(encrypted))
    }
}

/// The lower-case hexadecimal MD5 of a challenge's text: its answer.
pub fn digest(text: &[u8]) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
