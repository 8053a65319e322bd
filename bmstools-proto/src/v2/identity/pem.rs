//! The textual encoding of keys (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::IdentityError;

/// One block of a PEM file.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    body: &'a str,
}

impl<'a> Block<'a> {
    /// The first block of `text` that says it is a key. Others in front of it, as
    /// OpenSSL's `EC PARAMETERS`, are skipped.
    pub(super) fn first_key(text: &'a str) -> Result<Self, IdentityError> {
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once("-----BEGIN ") {
            let (label, body) = behind.split_once("-----").ok_or_else(no_key)?;
            if label.ends_with("KEY") {
                let end = format!("-----END {label}-----");
                let (body, _) = body.split_once(&end).ok_or_else(cut_off)?;
                return Ok(Self { label, body });
            }
            rest = body;
        }
        Err(no_key())
    }

    /// Whether the body is encrypted (RFC 1421, section 4.6.1.1).
    pub(super) fn is_encrypted(&self) -> bool {
        self.label.starts_with("ENCRYPTED") || self.body.contains("ENCRYPTED")
    }

    pub(super) fn der(&self) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let mut compact = Zeroizing::new(String::with_capacity(self.body.len()));
        compact.extend(self.body.chars().filter(|c| !c.is_ascii_whitespace()));
        STANDARD.decode(compact.as_bytes()).map(Zeroizing::new).map_err(|_| {
            IdentityError::Unusable("the key is damaged: what it holds is not base64".into())
        })
    }
}

/// `der` as a PEM block with lines of 64 characters.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(base64.len() * 66 / 64 + 80));
    pem.push_str("-----BEGIN ");
    pem.push_str(label);
    pem.push_str("-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = behind;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}

fn no_key() -> IdentityError {
    IdentityError::Unusable("this is no key in PEM format; `bmstools keygen` makes one".into())
}

fn cut_off() -> IdentityError {
    IdentityError::Unusable("the key is cut off: its END line is missing".into())
}
