//! Keys: who a side is, and whom it trusts.

mod pem;
mod spki;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::pkcs8::PrivateKeyInfo;
use rsa::sha2::{Digest, Sha256};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use pem::Block;

/// Fewest modulus bits of an RSA key: TLS takes no fewer.
pub const MIN_RSA_BITS: usize = 2048;
/// Most modulus bits of an RSA key: more would let a wrong file, or a peer, keep the
/// processor busy.
pub const MAX_RSA_BITS: usize = 8192;

/// A public key: RSA of 2048 bits and more, ECDSA P-256 or Ed25519.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(Arc<[u8]>);

impl PublicKey {
    /// Reads PEM: SubjectPublicKeyInfo (`BEGIN PUBLIC KEY`) or PKCS#1 RSA.
    ///
    /// # Errors
    ///
    /// Where it is anything else, or RSA of fewer than 2048 bits: the error says what
    /// to do (`bmstools keygen`, or v1 for as long as it must be).
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let block = Block::first_key(pem)?;
        match block.label {
            "PUBLIC KEY" => spki::normalize(&block.der()?),
            "RSA PUBLIC KEY" => spki::of_rsa(&block.der()?),
            label if label.ends_with("PRIVATE KEY") => Err(IdentityError::NotPublic),
            label => Err(IdentityError::unknown(label)),
        }
    }

    /// From the DER of a SubjectPublicKeyInfo, which is not looked at.
    pub fn from_spki(der: &[u8]) -> Self {
        Self(der.into())
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0
    }

    /// `SHA256:` and the unpadded base64 of the SubjectPublicKeyInfo's digest, as v1.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.0)))
    }

    /// "RSA 2048", "Ed25519", "ECDSA P-256".
    pub fn kind(&self) -> String {
        spki::kind(&self.0)
    }

    /// `BEGIN PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.0).to_string()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// A private key that can sign a handshake. Its `Debug` shows the fingerprint only.
#[derive(Clone)]
pub struct Identity {
    public: PublicKey,
    key: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads PEM: PKCS#8, PKCS#1 (RSA) or SEC 1 (EC).
    ///
    /// # Errors
    ///
    /// As [`PublicKey::from_pem`].
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let block = Block::first_key(pem)?;
        let known = match block.label {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => true,
            "ENCRYPTED PRIVATE KEY" => return Err(IdentityError::Encrypted),
            label if label.ends_with("PUBLIC KEY") => return Err(IdentityError::NotPrivate),
            _ => false,
        };
        if block.is_encrypted() {
            return Err(IdentityError::Encrypted);
        }
        if !known {
            return Err(IdentityError::unknown(block.label));
        }
        let der = block.der()?;
        let key = match block.label {
            "RSA PRIVATE KEY" => {
                spki::check_rsa_private(&der)?;
                PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der.as_slice()))
            }
            "EC PRIVATE KEY" => {
                spki::check_sec1(&der)?;
                PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der.as_slice()))
            }
            _ => {
                let info = PrivateKeyInfo::try_from(der.as_slice()).map_err(|_| damaged())?;
                spki::check_algorithm(info.algorithm)?;
                if spki::is_rsa(info.algorithm) {
                    spki::check_rsa_private(info.private_key)?;
                }
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()))
            }
        };
        Self::new(&key)
    }

    /// The other half.
    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// What rustls signs with.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    /// Someone who shows this public key and does not have its private half.
    #[cfg(test)]
    pub(crate) fn presented_by(&self, thief: &Self) -> Self {
        let certificate = CertificateDer::from(self.public.spki().to_vec());
        let key = CertifiedKey::new(vec![certificate], thief.key.key.clone());
        Self { public: self.public.clone(), key: Arc::new(key) }
    }

    fn new(key: &PrivateKeyDer<'_>) -> Result<Self, IdentityError> {
        let signer =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(key).map_err(|_| damaged())?;
        let public = signer.public_key().ok_or_else(damaged)?;
        let public = spki::normalize(&public)?;
        let certificate = CertificateDer::from(public.spki().to_vec());
        let key = Arc::new(CertifiedKey::new(vec![certificate], signer));
        Ok(Self { public, key })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public.fingerprint())
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

/// A new private key as PKCS#8 PEM (RSA as PKCS#1, which deployed peers read too), from
/// the system's randomness.
///
/// # Errors
///
/// Where the bits are out of bounds.
pub fn generate(kind: KeyType) -> Result<Zeroizing<String>, IdentityError> {
    let failed = |_| IdentityError::Unusable("the system gave no randomness for a key".into());
    let document = match kind {
        KeyType::Rsa(bits) => {
            spki::check_bits(bits)?;
            let key = RsaPrivateKey::new(&mut rand::rngs::OsRng, bits)
                .map_err(|error| IdentityError::Unusable(error.to_string()))?;
            return key.to_pkcs1_pem(LineEnding::LF).map_err(|_| damaged());
        }
        KeyType::P256 => {
            let random = SystemRandom::new();
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
        }
        KeyType::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()),
    };
    Ok(pem::encode("PRIVATE KEY", document.map_err(failed)?.as_ref()))
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
    /// A private key stands where a public one belongs.
    #[error("this is a private key; the public key (BEGIN PUBLIC KEY) belongs here")]
    NotPublic,
    /// A public key stands where a private one belongs.
    #[error("this is a public key; the private key (BEGIN PRIVATE KEY) belongs here")]
    NotPrivate,
    /// The private key is encrypted.
    #[error("this key has a passphrase, which is not supported; remove it with `openssl pkey`")]
    Encrypted,
    /// Something else.
    #[error("{0}")]
    Unusable(String),
}

impl IdentityError {
    fn unknown(what: &str) -> Self {
        Self::Unusable(format!(
            "keys of this kind ({what}) are not supported: RSA, Ed25519 and ECDSA P-256 in PEM are; `bmstools keygen` makes one"
        ))
    }
}

fn damaged() -> IdentityError {
    IdentityError::Unusable("the key is damaged: it does not parse as what it says it is".into())
}
