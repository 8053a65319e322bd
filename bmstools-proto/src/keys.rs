//! RSA keys of the v1 authentication, and their files' format.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey, EncodeRsaPrivateKey, LineEnding};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use rsa::sha2::{Digest, Sha256};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

/// Fewest modulus bits that are taken: deployed servers have keys of 1024.
pub const MIN_BITS: usize = 1024;
/// Most modulus bits that are taken: a larger key would let a wrong file keep the
/// processor busy.
pub const MAX_BITS: usize = 8192;

/// The half that an agent holds: it encrypts challenges.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(RsaPublicKey);

/// The half that an operator holds: it decrypts challenges. Zeroed when dropped;
/// its `Debug` shows the fingerprint only.
#[derive(Clone)]
pub struct PrivateKey(RsaPrivateKey);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A private key stands where a public one belongs.
    #[error("this is a private key; the public key (BEGIN PUBLIC KEY) belongs here")]
    NotPublic,
    /// A public key stands where a private one belongs.
    #[error("this is a public key; the private key (BEGIN RSA PRIVATE KEY) belongs here")]
    NotPrivate,
    /// The private key is encrypted.
    #[error("this key has a passphrase, which is not supported; remove it with `openssl rsa`")]
    Encrypted,
    /// The key is of another kind.
    #[error("this is no RSA key in PEM format; `bmstools keygen` makes one")]
    NotRsa,
    /// The key is too short or too long.
    #[error("a key of {0} bits; {MIN_BITS} to {MAX_BITS} are supported")]
    Bits(usize),
    /// The key's numbers do not fit together.
    #[error("the key is damaged: {0}")]
    Damaged(String),
}

impl PublicKey {
    /// Reads PEM: SubjectPublicKeyInfo (`BEGIN PUBLIC KEY`, RFC 5280) or PKCS#1
    /// (`BEGIN RSA PUBLIC KEY`, RFC 8017).
    ///
    /// # Errors
    ///
    /// Where the text is anything else, or the key outside of
    /// [`MIN_BITS`]..=[`MAX_BITS`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = pem.trim();
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::NotPublic);
        }
        let key = if pem.contains("BEGIN RSA PUBLIC KEY") {
            RsaPublicKey::from_pkcs1_pem(pem).map_err(|_| KeyError::NotRsa)?
        } else {
            RsaPublicKey::from_public_key_pem(pem).map_err(|_| KeyError::NotRsa)?
        };
        check_bits(key.n().bits())?;
        Ok(Self(key))
    }

    /// The key as SubjectPublicKeyInfo PEM.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("a valid key always encodes")
    }

    /// `SHA256:` and the unpadded base64 of the SubjectPublicKeyInfo's digest.
    pub fn fingerprint(&self) -> String {
        let der = self.0.to_public_key_der().expect("a valid key always encodes");
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(der.as_bytes())))
    }

    /// Modulus bits.
    pub fn bits(&self) -> usize {
        self.0.n().bits()
    }

    /// RSAES-PKCS1-v1_5 (RFC 8017, section 7.2.1).
    pub(crate) fn encrypt(
        &self,
        text: &[u8],
        rng: &mut (impl rand::CryptoRng + rand::RngCore),
    ) -> Option<Vec<u8>> {
        self.0.encrypt(rng, Pkcs1v15Encrypt, text).ok()
    }
}

impl PrivateKey {
    /// A new key of `bits` modulus bits from `rng`.
    ///
    /// # Errors
    ///
    /// Outside of [`MIN_BITS`]..=[`MAX_BITS`].
    pub fn generate(
        bits: usize,
        rng: &mut (impl rand::CryptoRng + rand::RngCore),
    ) -> Result<Self, KeyError> {
        check_bits(bits)?;
        let key = RsaPrivateKey::new(rng, bits).map_err(|e| KeyError::Damaged(e.to_string()))?;
        Ok(Self(key))
    }

    /// Reads PEM: PKCS#8 (`BEGIN PRIVATE KEY`, RFC 5958) or PKCS#1
    /// (`BEGIN RSA PRIVATE KEY`, RFC 8017).
    ///
    /// # Errors
    ///
    /// Where the text is anything else, or the key outside of
    /// [`MIN_BITS`]..=[`MAX_BITS`] or damaged.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = pem.trim();
        if pem.contains("PUBLIC KEY-----") {
            return Err(KeyError::NotPrivate);
        }
        if pem.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let key = if pem.contains("BEGIN RSA PRIVATE KEY") {
            RsaPrivateKey::from_pkcs1_pem(pem).map_err(|_| KeyError::NotRsa)?
        } else {
            RsaPrivateKey::from_pkcs8_pem(pem).map_err(|_| KeyError::NotRsa)?
        };
        check_bits(key.n().bits())?;
        key.validate().map_err(|e| KeyError::Damaged(e.to_string()))?;
        Ok(Self(key))
    }

    /// The key as PKCS#1 PEM, which deployed peers read too.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pkcs1_pem(LineEnding::LF).expect("a valid key always encodes")
    }

    /// The other half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }

    /// Undoes [`PublicKey::encrypt`]; `None` where `cipher` is not for this key.
    pub(crate) fn decrypt(
        &self,
        cipher: &[u8],
        blinding: &mut (impl rand::CryptoRng + rand::RngCore),
    ) -> Option<Zeroizing<Vec<u8>>> {
        let plain = self.0.decrypt_blinded(blinding, Pkcs1v15Encrypt, cipher).ok();
        plain.map(Zeroizing::new)
    }
}

fn check_bits(bits: usize) -> Result<(), KeyError> {
    if (MIN_BITS..=MAX_BITS).contains(&bits) { Ok(()) } else { Err(KeyError::Bits(bits)) }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public_key().fingerprint())
    }
}
