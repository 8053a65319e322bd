//! Proof of address without state (docs/protocol-v2.md, "Opening").
//!
//! Signatures first.

use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;

/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 16;
/// Bytes of a cookie of ours: time slot (4) and keyed BLAKE3 cut to 16.
pub(crate) const COOKIE_LEN: usize = 20;

/// Makes and checks cookies.
pub(crate) struct Cookies {}

impl Cookies {
    pub(crate) fn new(_secret: [u8; 32], _now: Instant, _lifetime: Duration) -> Self {
        todo!()
    }
    pub(crate) fn make(
        &self,
        _now: Instant,
        _peer: Peer,
        _key: u16,
        _nonce: &[u8; NONCE_LEN],
    ) -> [u8; COOKIE_LEN] {
        todo!()
    }
    /// In constant time.
    pub(crate) fn check(
        &self,
        _now: Instant,
        _peer: Peer,
        _key: u16,
        _nonce: &[u8; NONCE_LEN],
        _cookie: &[u8],
    ) -> bool {
        todo!()
    }
}
