//! The v1 authentication's arithmetic: a random text under RSA one way, its MD5
//! back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use rand::distributions::{Alphanumeric, DistString};
use rand::rngs::StdRng;
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use crate::keys::{PrivateKey, PublicKey};

/// Characters of the text: 62³² is more than 2¹⁹⁰, and a 1024-bit key has room
/// for 117.
const TEXT_LEN: usize = 32;
/// Bytes of the longest text that is taken for one: deployed agents' differ.
const MAX_TEXT: usize = 512;

/// A random text, encrypted: made off the frame loop, since RSA takes a while.
#[derive(Clone)]
pub struct Challenge {
    /// Base64 of the encrypted text.
    pub(crate) cipher: Vec<u8>,
    /// What the right answer is.
    pub(crate) expected: Answer,
}

/// The lower-case hexadecimal MD5 of a challenge's text.
#[derive(Clone)]
pub(crate) struct Answer(Zeroizing<String>);

impl Challenge {
    /// A new challenge under `key`, with the text and the padding from `rng`.
    pub fn new(key: &PublicKey, rng: &mut (impl CryptoRng + RngCore)) -> Self {
        let text = Zeroizing::new(Alphanumeric.sample_string(rng, TEXT_LEN));
        let cipher = key.encrypt(text.as_bytes(), rng).expect("the text fits the smallest key");
        Self { cipher: STANDARD.encode(cipher).into_bytes(), expected: Answer::to(text.as_bytes()) }
    }
}

impl Challenge {
    /// Base64 of the encrypted text: what travels.
    pub fn cipher(&self) -> &[u8] {
        &self.cipher
    }
}

impl Answer {
    fn to(text: &[u8]) -> Self {
        let digest = Md5::digest(text);
        Self(Zeroizing::new(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The answer to a challenge of an agent; `None` where it is not for `key`.
    pub(crate) fn from_challenge(
        key: &PrivateKey,
        cipher: &[u8],
        blinding: &mut StdRng,
    ) -> Option<Self> {
        let end = cipher.iter().rposition(|byte| !byte.is_ascii_whitespace() && *byte != 0)? + 1;
        let cipher = STANDARD.decode(&cipher[..end]).ok()?;
        let text = key.decrypt(&cipher, blinding)?;
        // Wrong padding is told from right padding by chance once in 65,000 times.
        let plausible = (1..=MAX_TEXT).contains(&text.len())
            && text.iter().all(|byte| (b' '..=b'~').contains(byte));
        plausible.then(|| Self::to(&text))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Compares in a time that does not depend on the bytes.
    pub(crate) fn matches(&self, answer: &[u8]) -> bool {
        let expected = self.0.as_bytes();
        let difference = expected.iter().zip(answer).fold(0, |sum, (a, b)| sum | (a ^ b));
        expected.len() == answer.len() && difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn only_the_key_of_the_challenge_answers_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = PrivateKey::generate(1024, &mut rng).unwrap();
        let other = PrivateKey::generate(1024, &mut rng).unwrap();
        let challenge = Challenge::new(&key.public_key(), &mut rng);
        let answer = Answer::from_challenge(&key, &challenge.cipher, &mut rng).unwrap();
        assert!(challenge.expected.matches(answer.as_bytes()));
        assert!(!challenge.expected.matches(b""));
        assert!(!challenge.expected.matches(&answer.as_bytes()[1..]));
        assert!(Answer::from_challenge(&other, &challenge.cipher, &mut rng).is_none());
        assert!(Answer::from_challenge(&key, b"no base64!", &mut rng).is_none());
        assert!(Answer::from_challenge(&key, b"", &mut rng).is_none());
    }

    #[test]
    fn the_answer_is_the_md5_of_rfc_1321() {
        assert_eq!(Answer::to(b"abc").as_bytes(), b"900150983cd24fb0d6963f7d28e17f72");
    }
}
