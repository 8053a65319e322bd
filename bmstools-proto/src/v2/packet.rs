//! Sealing and opening packets, generations of keys (docs/protocol-v2.md, "Sealing").
//!
//! Signatures first.

use std::time::Instant;

use rustls::quic::{Keys, Secrets};

use super::tls::DirectionalPair;

/// Bytes that a seal adds.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of plaintext at least.
pub(crate) const MIN_PLAINTEXT: usize = 16;

/// Seals `buffer[header..header + plaintext]` in place under `number` with
/// `buffer[..header]` as associated data; pads the plaintext to [`MIN_PLAINTEXT`] with
/// zeros. `buffer` has room for the padding and the tag. Returns the whole length.
pub(crate) fn seal(
    _key: &dyn rustls::quic::PacketKey,
    _number: u64,
    _header: usize,
    _plaintext: usize,
    _buffer: &mut [u8],
) -> usize {
    todo!()
}

/// Opens `frame[header..]` in place; the plaintext.
pub(crate) fn open<'a>(
    _key: &dyn rustls::quic::PacketKey,
    _number: u64,
    _header: usize,
    _frame: &'a mut [u8],
) -> Option<&'a [u8]> {
    todo!()
}

/// The session's keys in their generations.
pub(crate) struct SessionKeys {}

impl SessionKeys {
    pub(crate) fn new(_keys: Keys, _next: Secrets, _update_after: u64) -> Self {
        todo!()
    }
    /// The data ptype's parity bit for sealing.
    pub(crate) fn phase(&self) -> u8 {
        todo!()
    }
    pub(crate) fn seal(
        &mut self,
        _number: u64,
        _header: usize,
        _plaintext: usize,
        _buffer: &mut [u8],
    ) -> usize {
        todo!()
    }
    /// Opens with the present, previous or next key by parity and number; a packet of
    /// the next generation that opens brings our own sealing to it.
    pub(crate) fn open<'a>(
        &mut self,
        _now: Instant,
        _phase: u8,
        _number: u64,
        _header: usize,
        _frame: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        todo!()
    }
    /// A packet sealed with number `number` was acknowledged: an update may follow.
    pub(crate) fn acknowledged(&mut self, _number: u64) {
        todo!()
    }
    /// Begins an update where one is due and allowed. Call before sealing.
    pub(crate) fn maybe_update(&mut self, _next_number: u64) {
        todo!()
    }
    /// Updates so far, for statistics.
    pub(crate) fn updates(&self) -> u64 {
        todo!()
    }
    #[allow(dead_code, reason = "skeleton")]
    fn unused(_: DirectionalPair) {}
}
