//! Sealing and opening packets, generations of keys (docs/protocol-v2.md, "Sealing").

use std::fmt;
use std::time::Instant;

use rustls::quic::{Keys, PacketKey, PacketKeySet, Secrets};

#[cfg(test)]
mod tests;

/// Bytes that a seal adds.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of plaintext at least.
pub(crate) const MIN_PLAINTEXT: usize = 16;

/// Seals `buffer[header..header + plaintext]` in place under `number` with
/// `buffer[..header]` as associated data; pads the plaintext to [`MIN_PLAINTEXT`] with
/// zeros. `buffer` has room for the padding and the tag. Returns the whole length, 0
/// where there is no such room: nothing may be sent then.
pub(crate) fn seal(
    key: &dyn PacketKey,
    number: u64,
    header: usize,
    plaintext: usize,
    buffer: &mut [u8],
) -> usize {
    let padded = plaintext.max(MIN_PLAINTEXT);
    let Some((associated, body)) = buffer.split_at_mut_checked(header) else { return 0 };
    let Some((text, rest)) = body.split_at_mut_checked(padded) else { return 0 };
    let Some(tag) = rest.get_mut(..TAG_LEN) else { return 0 };
    text[plaintext..].fill(0);
    match key.encrypt_in_place(number, associated, text) {
        Ok(sealed) => tag.copy_from_slice(sealed.as_ref()),
        Err(_) => return 0,
    }
    header + padded + TAG_LEN
}

/// Opens `frame[header..]` in place; the plaintext. `None` where it is forged, damaged
/// or too short; `frame` holds nothing of use then.
pub(crate) fn open<'a>(
    key: &dyn PacketKey,
    number: u64,
    header: usize,
    frame: &'a mut [u8],
) -> Option<&'a [u8]> {
    let (associated, sealed) = frame.split_at_mut_checked(header)?;
    if sealed.len() < MIN_PLAINTEXT + TAG_LEN {
        return None;
    }
    key.decrypt_in_place(number, associated, sealed).ok()
}

/// The session's keys in their generations (RFC 9001, section 6).
///
/// The next generation's keys are there before they are needed: a packet of the other
/// phase costs the same whether it is genuine or not. The previous generation's key
/// for opening stays until the next update, for packets that were overtaken.
pub(crate) struct SessionKeys {
    present: PacketKeySet,
    previous: Option<Box<dyn PacketKey>>,
    next: PacketKeySet,
    secrets: Secrets,
    /// Updates so far; its lowest bit is the phase.
    generation: u64,
    /// The first packet number sealed in the present generation.
    first_sealed: Option<u64>,
    /// Packets sealed in it.
    sealed: u64,
    /// Whether one of them was acknowledged.
    confirmed: bool,
    /// The lowest and the highest packet number opened in it.
    opened: Option<(u64, u64)>,
    update_after: u64,
    /// Packets that did not open, all generations together.
    forged: u64,
}

impl SessionKeys {
    /// The keys as TLS gives them. An update is due after `update_after` packets, or
    /// after half of what the cipher allows where that is less.
    pub(crate) fn new(keys: Keys, next: Secrets, update_after: u64) -> Self {
        let mut secrets = next;
        let present = PacketKeySet { local: keys.local.packet, remote: keys.remote.packet };
        let next = secrets.next_packet_keys();
        let update_after = update_after.min(present.local.confidentiality_limit() / 2).max(1);
        Self {
            present,
            previous: None,
            next,
            secrets,
            generation: 0,
            first_sealed: None,
            sealed: 0,
            confirmed: false,
            opened: None,
            update_after,
            forged: 0,
        }
    }

    /// The data ptype's parity bit for sealing.
    pub(crate) fn phase(&self) -> u8 {
        u8::from(self.generation & 1 == 1)
    }

    /// As [`seal`], with the present generation's key. Numbers only grow. Returns 0
    /// also where the cipher's limit is reached, see [`is_exhausted`](Self::is_exhausted).
    pub(crate) fn seal(
        &mut self,
        number: u64,
        header: usize,
        plaintext: usize,
        buffer: &mut [u8],
    ) -> usize {
        if self.sealed >= self.present.local.confidentiality_limit() {
            return 0;
        }
        self.sealed += 1;
        self.first_sealed.get_or_insert(number);
        seal(self.present.local.as_ref(), number, header, plaintext, buffer)
    }

    /// Opens with the present, previous or next key by parity and number; a packet of
    /// the next generation that opens brings our own sealing to it. What does not open
    /// changes nothing but the count of such packets.
    pub(crate) fn open<'a>(
        &mut self,
        _now: Instant,
        phase: u8,
        number: u64,
        header: usize,
        frame: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let generation = self.generation_of(phase, number);
        let key = match generation {
            Generation::Present => Some(&self.present.remote),
            Generation::Previous => self.previous.as_ref(),
            Generation::Next => Some(&self.next.remote),
            Generation::Impossible => None,
        };
        let opened = key.and_then(|key| open(key.as_ref(), number, header, frame));
        if opened.is_none() {
            self.forged = self.forged.saturating_add(1);
            return None;
        }
        match generation {
            Generation::Next => {
                self.rotate();
                self.opened = Some((number, number));
            }
            Generation::Present => {
                let (low, high) = self.opened.unwrap_or((number, number));
                self.opened = Some((low.min(number), high.max(number)));
            }
            Generation::Previous | Generation::Impossible => {}
        }
        opened
    }

    /// A packet sealed with number `number` was acknowledged: an update may follow.
    pub(crate) fn acknowledged(&mut self, number: u64) {
        self.confirmed |= self.first_sealed.is_some_and(|first| number >= first);
    }

    /// Begins an update where one is due and allowed. Call before sealing
    /// `next_number`.
    pub(crate) fn maybe_update(&mut self, next_number: u64) {
        if self.confirmed && self.sealed >= self.update_after {
            self.rotate();
            self.first_sealed = Some(next_number);
        }
    }

    /// Updates so far, for statistics.
    pub(crate) fn updates(&self) -> u64 {
        self.generation
    }

    /// Whether a limit of the cipher is reached (RFC 9001, section 6.6): the session
    /// must end. Ask after [`open`](Self::open) has returned `None`, and where
    /// [`seal`](Self::seal) has returned 0.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.sealed >= self.present.local.confidentiality_limit()
            || self.forged >= self.present.remote.integrity_limit()
    }

    /// Packets of a generation have higher numbers than all those of the one before.
    fn generation_of(&self, phase: u8, number: u64) -> Generation {
        if phase & 1 == self.phase() {
            return Generation::Present;
        }
        match self.opened {
            // The peer has not followed our update: it cannot be ahead.
            None if self.previous.is_some() => Generation::Previous,
            None => Generation::Next,
            Some((low, _)) if number < low => Generation::Previous,
            Some((_, high)) if number > high => Generation::Next,
            Some(_) => Generation::Impossible,
        }
    }

    fn rotate(&mut self) {
        let next = std::mem::replace(&mut self.next, self.secrets.next_packet_keys());
        let present = std::mem::replace(&mut self.present, next);
        self.previous = Some(present.remote);
        self.generation += 1;
        self.first_sealed = None;
        self.sealed = 0;
        self.confirmed = false;
        self.opened = None;
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("generation", &self.generation)
            .field("sealed", &self.sealed)
            .field("forged", &self.forged)
            .finish_non_exhaustive()
    }
}

/// Which generation's key a packet is for.
#[derive(Clone, Copy)]
enum Generation {
    Previous,
    Present,
    Next,
    Impossible,
}
