//! Keys: who a side is, and whom it trusts.
//!
//! Signatures first.

use std::sync::Arc;

use zeroize::Zeroizing;

/// A public key: RSA of 2048 bits and more, ECDSA P-256 or Ed25519.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Arc<[u8]>);

impl PublicKey {
    /// Reads PEM: SubjectPublicKeyInfo (`BEGIN PUBLIC KEY`) or PKCS#1 RSA.
    ///
    /// # Errors
    ///
    /// Where it is anything else, or RSA of fewer than 2048 bits: the error says what
    /// to do (`bmstools keygen`, or v1 for as long as it must be).
    pub fn from_pem(_pem: &str) -> Result<Self, IdentityError> {
        todo!()
    }
    /// From the DER of a SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Self {
        Self(der.into())
    }
    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0
    }
    /// `SHA256:` and the unpadded base64 of the SubjectPublicKeyInfo's digest, as v1.
    pub fn fingerprint(&self) -> String {
        todo!()
    }
    /// "RSA 2048", "Ed25519", "ECDSA P-256".
    pub fn kind(&self) -> String {
        todo!()
    }
    /// `BEGIN PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        todo!()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// A private key that can sign a handshake.
#[derive(Clone, Debug)]
pub struct Identity {}

impl Identity {
    /// Reads PEM: PKCS#8, PKCS#1 (RSA) or SEC 1 (EC).
    ///
    /// # Errors
    ///
    /// As [`PublicKey::from_pem`].
    pub fn from_pem(_pem: &str) -> Result<Self, IdentityError> {
        todo!()
    }
    /// The other half.
    pub fn public_key(&self) -> PublicKey {
        todo!()
    }
}

/// What kind of key to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    /// RSA of this many bits.
    Rsa(usize),
    /// ECDSA over P-256.
    P256,
    /// Ed25519.
    Ed25519,
}

/// A new private key as PKCS#8 PEM (RSA as PKCS#1, which deployed peers read too).
///
/// # Errors
///
/// Where the bits are out of bounds.
pub fn generate(_kind: KeyType) -> Result<Zeroizing<String>, IdentityError> {
    todo!()
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Too short for TLS.
    #[error(
        "RSA keys of {0} bits are too short for v2, which takes 2048 and more: make a new pair with `bmstools keygen`, or use --proto v1 until then"
    )]
    TooShort(usize),
    /// Something else.
    #[error("{0}")]
    Unusable(String),
}
