//! SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) of the kinds of keys that TLS takes
//! here, and what can be wrong with them.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use rsa::pkcs1::{RsaPrivateKey, RsaPublicKey, UintRef};
use rsa::pkcs8::der::asn1::OctetStringRef;
use rsa::pkcs8::der::{Decode, Encode, Reader, SliceReader, TagMode, TagNumber};
use rsa::pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};
use rustls::pki_types::alg_id;
use rustls::sign::public_key_to_spki;

use super::{IdentityError, MAX_RSA_BITS, MIN_RSA_BITS, PublicKey, damaged};

/// The one encoding of the key in `der`: raw keys are compared byte by byte.
pub(super) fn normalize(der: &[u8]) -> Result<PublicKey, IdentityError> {
    let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| damaged())?;
    check_algorithm(info.algorithm)?;
    let key = info.subject_public_key.as_bytes().ok_or_else(damaged)?;
    match info.algorithm.oid {
        RSA => of_rsa(key),
        EC => {
            if key.first() != Some(&UNCOMPRESSED) {
                return Err(IdentityError::Unusable(
                    "compressed points are not supported: convert the key with `openssl ec -conv_form uncompressed`".into(),
                ));
            }
            ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).map_err(|_| damaged())?;
            Ok(PublicKey::from_spki(&public_key_to_spki(&alg_id::ECDSA_P256, key)))
        }
        _ if key.len() != ED25519_LEN => Err(damaged()),
        _ => Ok(PublicKey::from_spki(&public_key_to_spki(&alg_id::ED25519, key))),
    }
}

/// From the DER of PKCS#1 (RFC 8017, appendix A.1.1).
pub(super) fn of_rsa(der: &[u8]) -> Result<PublicKey, IdentityError> {
    let key = RsaPublicKey::try_from(der).map_err(|_| damaged())?;
    check_bits(bits(key.modulus))?;
    let key = key.to_der().map_err(|_| damaged())?;
    Ok(PublicKey::from_spki(&public_key_to_spki(&alg_id::RSA_ENCRYPTION, key)))
}

/// What the key is, in the words of people.
pub(super) fn kind(der: &[u8]) -> String {
    let Ok(info) = SubjectPublicKeyInfoRef::try_from(der) else { return "unknown".into() };
    let rsa = info.subject_public_key.as_bytes().and_then(|key| RsaPublicKey::try_from(key).ok());
    match (info.algorithm.oid, rsa) {
        (RSA, Some(key)) => format!("RSA {}", bits(key.modulus)),
        (EC, _) if is_p256(info.algorithm) => "ECDSA P-256".into(),
        (ED25519, _) => "Ed25519".into(),
        (oid, _) => format!("unknown ({oid})"),
    }
}

pub(super) fn is_rsa(algorithm: AlgorithmIdentifierRef<'_>) -> bool {
    algorithm.oid == RSA
}

/// Refuses all but RSA, P-256 and Ed25519.
pub(super) fn check_algorithm(algorithm: AlgorithmIdentifierRef<'_>) -> Result<(), IdentityError> {
    match algorithm.oid {
        RSA if algorithm.parameters.is_none_or(|parameters| parameters.is_null()) => Ok(()),
        ED25519 if algorithm.parameters.is_none() => Ok(()),
        RSA | ED25519 => Err(damaged()),
        EC if is_p256(algorithm) => Ok(()),
        EC => Err(other_curve(algorithm.parameters_oid().ok())),
        oid => Err(IdentityError::unknown(&format!("algorithm {oid}"))),
    }
}

/// Refuses PKCS#1 private keys of too few or too many bits.
pub(super) fn check_rsa_private(der: &[u8]) -> Result<(), IdentityError> {
    let key = RsaPrivateKey::try_from(der).map_err(|_| damaged())?;
    check_bits(bits(key.modulus))
}

/// Refuses SEC 1 private keys (RFC 5915) of other curves than P-256.
pub(super) fn check_sec1(der: &[u8]) -> Result<(), IdentityError> {
    let curve = || {
        let mut reader = SliceReader::new(der)?;
        reader.sequence(|key| {
            u8::decode(key)?;
            OctetStringRef::decode(key)?;
            let curve = key.context_specific::<ObjectIdentifier>(TagNumber::N0, TagMode::Explicit);
            key.read_slice(key.remaining_len())?;
            curve
        })
    };
    match curve().map_err(|_: rsa::pkcs8::der::Error| damaged())? {
        None | Some(P256) => Ok(()),
        other => Err(other_curve(other)),
    }
}

pub(super) fn check_bits(bits: usize) -> Result<(), IdentityError> {
    match bits {
        ..MIN_RSA_BITS => Err(IdentityError::TooShort(bits)),
        MIN_RSA_BITS..=MAX_RSA_BITS => Ok(()),
        _ => Err(IdentityError::Unusable(format!(
            "RSA keys of {bits} bits are not supported: {MIN_RSA_BITS} to {MAX_RSA_BITS} are"
        ))),
    }
}

fn is_p256(algorithm: AlgorithmIdentifierRef<'_>) -> bool {
    algorithm.parameters_oid() == Ok(P256)
}

fn other_curve(curve: Option<ObjectIdentifier>) -> IdentityError {
    let name = match curve {
        Some(P384) => "P-384".into(),
        Some(P521) => "P-521".into(),
        Some(SECP256K1) => "secp256k1".into(),
        Some(oid) => format!("curve {oid}"),
        None => "a curve without a name".into(),
    };
    IdentityError::unknown(&format!("ECDSA, {name}"))
}

fn bits(modulus: UintRef<'_>) -> usize {
    let bytes = modulus.as_bytes();
    bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize)
}

/// First byte of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;
/// Bytes of an Ed25519 key (RFC 8032).
const ED25519_LEN: usize = 32;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
