//! RSA keys of the v1 authentication, and their files' format.

use std::fmt;

/// The half that an agent holds: it encrypts challenges.
#[derive(Clone)]
pub struct PublicKey {}

/// The half that an operator holds: it decrypts challenges. Zeroed when dropped;
/// its `Debug` shows the fingerprint only.
pub struct PrivateKey {}

/// Why a text is not a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is a private key where a public one belongs.
    #[error("this is a private key; the public key (BEGIN PUBLIC KEY) belongs here")]
    NotPublic,
    /// The text is a public key where a private one belongs.
    #[error("this is a public key; the private key (BEGIN PRIVATE KEY) belongs here")]
    NotPrivate,
}

impl PublicKey {
    /// Reads PEM: SubjectPublicKeyInfo (`BEGIN PUBLIC KEY`) or PKCS#1
    /// (`BEGIN RSA PUBLIC KEY`), 1024 to 8192 bits.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        todo!("{pem}")
    }

    /// `SHA256:` and the base64 of the key's SubjectPublicKeyInfo digest.
    pub fn fingerprint(&self) -> String {
        todo!()
    }

    /// Modulus bits.
    pub fn bits(&self) -> usize {
        todo!()
    }
}

impl PrivateKey {
    /// A new key of `bits` modulus bits, from the operating system's randomness.
    pub fn generate(bits: usize) -> Result<Self, KeyError> {
        todo!("{bits}")
    }

    /// Reads PEM: PKCS#8 (`BEGIN PRIVATE KEY`) or PKCS#1 (`BEGIN RSA PRIVATE KEY`).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        todo!("{pem}")
    }

    /// The key as PKCS#1 PEM, which deployed peers read too.
    pub fn to_pem(&self) -> zeroize::Zeroizing<String> {
        todo!()
    }

    /// The other half.
    pub fn public_key(&self) -> PublicKey {
        todo!()
    }
}

impl PublicKey {
    /// The key as SubjectPublicKeyInfo PEM.
    pub fn to_pem(&self) -> String {
        todo!()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}
