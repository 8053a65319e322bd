//! Keys as people have them, and what is said about those that cannot be used.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::collections::BTreeSet;

use bmstools_proto::keys;
use bmstools_proto::v2::identity::{Identity, IdentityError, KeyType, PublicKey, generate};
use proptest::prelude::*;

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("keys/", $name, ".pem"))
    };
}

fn unusable(result: Result<impl std::fmt::Debug, IdentityError>) -> String {
    match result {
        Err(IdentityError::Unusable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_halves_of_a_key_name_the_same_key_in_every_format() {
    let public = PublicKey::from_pem(pem!("rsa-2048-public")).unwrap();
    assert_eq!(PublicKey::from_pem(pem!("rsa-2048-public-pkcs1")).unwrap(), public);
    for private in [pem!("rsa-2048-pkcs1"), pem!("rsa-2048-pkcs8")] {
        assert_eq!(Identity::from_pem(private).unwrap().public_key(), public);
    }
    let public = PublicKey::from_pem(pem!("p256-public")).unwrap();
    for private in [pem!("p256-sec1"), pem!("p256-pkcs8")] {
        assert_eq!(Identity::from_pem(private).unwrap().public_key(), public);
    }
    let public = PublicKey::from_pem(pem!("ed25519-public")).unwrap();
    assert_eq!(Identity::from_pem(pem!("ed25519-pkcs8")).unwrap().public_key(), public);
}

#[test]
fn fingerprints_are_those_of_openssl_and_of_version_1() {
    let rsa = PublicKey::from_pem(pem!("rsa-2048-public")).unwrap();
    assert_eq!(rsa.fingerprint(), "SHA256:nlhE4npGDxFU4YEQVptnoHjKZwrM3gcBqn6al0mb4So");
    let v1 = keys::PublicKey::from_pem(pem!("rsa-2048-public")).unwrap();
    assert_eq!(rsa.fingerprint(), v1.fingerprint());
    let v1 = keys::PrivateKey::from_pem(pem!("rsa-2048-pkcs1")).unwrap();
    assert_eq!(rsa.fingerprint(), v1.public_key().fingerprint());
    let ed25519 = PublicKey::from_pem(pem!("ed25519-public")).unwrap();
    assert_eq!(ed25519.fingerprint(), "SHA256:9xPoLVOTzPcbTHnzTzn3z6v8uhKTaz1EppIa/QAMasc");
    let p256 = PublicKey::from_pem(pem!("p256-public")).unwrap();
    assert_eq!(p256.fingerprint(), "SHA256:K0ZC5CEBzMoRZdZhR0iriDmENhRuifjiuqcII85IZwY");
}

#[test]
fn a_public_key_reads_what_it_writes_and_says_what_it_is() {
    for (pem, kind) in [
        (pem!("rsa-2048-public"), "RSA 2048"),
        (pem!("p256-public"), "ECDSA P-256"),
        (pem!("ed25519-public"), "Ed25519"),
    ] {
        let key = PublicKey::from_pem(pem).unwrap();
        assert_eq!(key.kind(), kind);
        assert_eq!(key.to_pem(), pem);
        assert_eq!(PublicKey::from_spki(key.spki()), key);
    }
    assert_eq!(PublicKey::from_spki(b"").kind(), "unknown");
    assert_eq!(PublicKey::from_spki(&[0x30; 40]).kind(), "unknown");
}

#[test]
fn short_rsa_keys_are_refused_with_the_way_out() {
    for result in [
        Identity::from_pem(pem!("rsa-1024-pkcs1")).map(|_| ()),
        Identity::from_pem(pem!("rsa-1024-pkcs8")).map(|_| ()),
        PublicKey::from_pem(pem!("rsa-1024-public")).map(|_| ()),
        generate(KeyType::Rsa(1024)).map(|_| ()),
    ] {
        assert_eq!(result, Err(IdentityError::TooShort(1024)));
    }
    let text = IdentityError::TooShort(1024).to_string();
    assert!(text.contains("bmstools keygen") && text.contains("--proto v1"), "{text}");
    assert_eq!(generate(KeyType::Rsa(2047)).unwrap_err(), IdentityError::TooShort(2047));
    assert!(unusable(generate(KeyType::Rsa(16_384))).contains("16384"));
}

#[test]
fn a_key_in_the_wrong_place_is_told() {
    for private in [
        pem!("rsa-2048-pkcs1"),
        pem!("rsa-2048-pkcs8"),
        pem!("rsa-2048-pkcs8-encrypted"),
        pem!("p256-sec1"),
        pem!("ed25519-pkcs8"),
    ] {
        assert_eq!(PublicKey::from_pem(private), Err(IdentityError::NotPublic));
    }
    for public in [pem!("rsa-2048-public"), pem!("rsa-2048-public-pkcs1"), pem!("p256-public")] {
        assert_eq!(Identity::from_pem(public).unwrap_err(), IdentityError::NotPrivate);
    }
}

#[test]
fn a_passphrase_is_told() {
    for pem in [pem!("rsa-2048-pkcs1-encrypted"), pem!("rsa-2048-pkcs8-encrypted")] {
        assert_eq!(Identity::from_pem(pem).unwrap_err(), IdentityError::Encrypted);
    }
}

#[test]
fn other_curves_are_named() {
    let private = |pem| unusable(Identity::from_pem(pem));
    assert!(private(pem!("p384-sec1")).contains("P-384"));
    assert!(private(pem!("p384-pkcs8")).contains("P-384"));
    assert!(private(pem!("secp256k1-sec1")).contains("secp256k1"));
    assert!(private(pem!("x25519-pkcs8")).contains("1.3.101.110"));
    let public = |pem| unusable(PublicKey::from_pem(pem));
    assert!(public(pem!("p384-public")).contains("P-384"));
    assert!(public(pem!("p256-public-compressed")).contains("openssl ec"));
}

#[test]
fn garbage_is_refused_in_words() {
    let mut said = BTreeSet::new();
    let whole = pem!("p256-pkcs8");
    for text in [
        "",
        "no key at all",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n:)\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        &whole[..whole.len() - 30],
    ] {
        said.insert(unusable(Identity::from_pem(text)));
    }
    assert!(said.iter().any(|text| text.contains("OPENSSH")), "{said:?}");
    for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        unusable(PublicKey::from_pem(text));
    }
}

#[test]
fn a_damaged_key_never_passes_for_another() {
    for (whole, public) in [
        (pem!("p256-pkcs8"), pem!("p256-public")),
        (pem!("p256-sec1"), pem!("p256-public")),
        (pem!("rsa-2048-pkcs1"), pem!("rsa-2048-public")),
    ] {
        let expected = PublicKey::from_pem(public).unwrap();
        let body = whole.find("PRIVATE KEY-----").unwrap() + 17;
        for at in (body..whole.len() - 30).step_by(7) {
            let mut damaged = whole.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            // Some bits say nothing of the key: a name, a version.
            if let Ok(key) = Identity::from_pem(std::str::from_utf8(&damaged).unwrap()) {
                assert_eq!(key.public_key(), expected, "byte {at}");
            }
        }
    }
}

#[test]
fn a_public_key_with_a_changed_bit_is_refused_or_another() {
    for pem in [pem!("rsa-2048-public"), pem!("p256-public"), pem!("ed25519-public")] {
        let key = PublicKey::from_pem(pem).unwrap();
        for bit in 0..key.spki().len() * 8 {
            let mut spki = key.spki().to_vec();
            spki[bit / 8] ^= 1 << (bit % 8);
            let changed = PublicKey::from_spki(&spki);
            if let Ok(read) = PublicKey::from_pem(&changed.to_pem()) {
                assert_eq!(read, changed, "bit {bit} of {}", key.kind());
            }
        }
    }
}

#[test]
fn generated_keys_are_read_again_and_never_the_same() {
    let mut made = BTreeSet::new();
    for (kind, name, label) in [
        (KeyType::Rsa(2048), "RSA 2048", "BEGIN RSA PRIVATE KEY"),
        (KeyType::P256, "ECDSA P-256", "BEGIN PRIVATE KEY"),
        (KeyType::Ed25519, "Ed25519", "BEGIN PRIVATE KEY"),
    ] {
        for _ in 0..2 {
            let pem = generate(kind).unwrap();
            assert!(pem.contains(label), "{kind:?}");
            let key = Identity::from_pem(&pem).unwrap().public_key();
            assert_eq!(key.kind(), name);
            assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
            assert!(made.insert(key));
        }
    }
    let rsa = generate(KeyType::Rsa(2048)).unwrap();
    assert!(keys::PrivateKey::from_pem(&rsa).is_ok(), "version 1 reads what is made");
}

#[test]
fn an_identity_shows_nothing_secret() {
    let identity = Identity::from_pem(pem!("ed25519-pkcs8")).unwrap();
    assert_eq!(
        format!("{identity:?}"),
        "Identity(SHA256:9xPoLVOTzPcbTHnzTzn3z6v8uhKTaz1EppIa/QAMasc)"
    );
}

#[test]
fn windows_line_ends_and_text_around_a_key_do_no_harm() {
    let pem = format!("# a comment\r\n{}\r\n\r\n", pem!("ed25519-pkcs8").replace('\n', "\r\n"));
    let key = Identity::from_pem(&pem).unwrap().public_key();
    assert_eq!(key, PublicKey::from_pem(pem!("ed25519-public")).unwrap());
}

proptest! {
    #[test]
    fn anything_may_stand_in_a_key_file(
        text in "\\PC{0,200}",
        label in prop::sample::select(vec![
            "PUBLIC KEY", "PRIVATE KEY", "RSA PUBLIC KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY",
        ]),
        der in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(&der);
        let block = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for text in [text, block] {
            prop_assert!(Identity::from_pem(&text).is_err());
            prop_assert!(PublicKey::from_pem(&text).is_err());
        }
        prop_assert!(PublicKey::from_spki(&der).kind().starts_with("unknown"));
    }
}
