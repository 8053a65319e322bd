//! Proof of address without state (docs/protocol-v2.md, "Opening").

use std::fmt;
use std::time::{Duration, Instant};

use bmstools_common::ethernet::Peer;

/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 16;
/// Bytes of a cookie of ours: time slot (4) and keyed BLAKE3 cut to 16.
pub(crate) const COOKIE_LEN: usize = SLOT_LEN + MAC_LEN;

/// Makes and checks cookies.
///
/// Time is cut into slots as long as a cookie is good; a cookie holds the slot that it
/// was made in and is taken in that one and the next.
pub(crate) struct Cookies {
    secret: [u8; 32],
    began: Instant,
    lifetime: Duration,
}

impl Cookies {
    /// `secret` must be unpredictable; cookies are good for `lifetime` at least and
    /// twice that at most.
    pub(crate) fn new(secret: [u8; 32], now: Instant, lifetime: Duration) -> Self {
        Self { secret, began: now, lifetime: lifetime.max(MIN_LIFETIME) }
    }

    /// The cookie that proves that frames to `peer` arrive there.
    pub(crate) fn make(
        &self,
        now: Instant,
        peer: Peer,
        key: u16,
        nonce: &[u8; NONCE_LEN],
    ) -> [u8; COOKIE_LEN] {
        let slot = self.slot(now);
        let mut cookie = [0; COOKIE_LEN];
        cookie[..SLOT_LEN].copy_from_slice(&slot.to_be_bytes());
        cookie[SLOT_LEN..].copy_from_slice(&self.mac(slot, peer, key, nonce).as_bytes()[..MAC_LEN]);
        cookie
    }

    /// Whether `cookie` was made by [`make`](Self::make) for the same `peer`, `key` and
    /// `nonce` a short time ago. In constant time.
    pub(crate) fn check(
        &self,
        now: Instant,
        peer: Peer,
        key: u16,
        nonce: &[u8; NONCE_LEN],
        cookie: &[u8],
    ) -> bool {
        let Some((slot, given)) = cookie.split_first_chunk::<SLOT_LEN>() else { return false };
        if given.len() != MAC_LEN {
            return false;
        }
        let slot = u32::from_be_bytes(*slot);
        if self.slot(now).wrapping_sub(slot) > 1 {
            return false;
        }
        // A BLAKE3 hash compares in constant time: what was cut off is made equal.
        let expected = self.mac(slot, peer, key, nonce);
        let mut whole = *expected.as_bytes();
        whole[..MAC_LEN].copy_from_slice(given);
        blake3::Hash::from_bytes(whole) == expected
    }

    fn slot(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.began);
        // Truncated: slots may wrap, only neighbours are compared.
        (elapsed.as_millis() / self.lifetime.as_millis()) as u32
    }

    fn mac(&self, slot: u32, peer: Peer, key: u16, nonce: &[u8; NONCE_LEN]) -> blake3::Hash {
        let mut input = [0; 32];
        input[..4].copy_from_slice(&slot.to_be_bytes());
        input[4..10].copy_from_slice(&peer.mac.0);
        input[10..14].copy_from_slice(&peer.vlan.code());
        input[14..16].copy_from_slice(&key.to_be_bytes());
        input[16..].copy_from_slice(nonce);
        blake3::keyed_hash(&self.secret, &input)
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

const SLOT_LEN: usize = 4;
const MAC_LEN: usize = 16;
/// Keeps a slot from being empty, whatever the configuration says.
const MIN_LIFETIME: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use bmstools_common::ethernet::{Mac, Vlan};

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(10);
    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];
    const PEER: Peer = Peer { mac: Mac([2, 0, 0, 0, 0, 1]), vlan: Vlan::NONE };

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn now() -> Instant {
        Instant::now()
    }

    fn cookies() -> (Cookies, Instant) {
        let now = now();
        (Cookies::new([1; 32], now, LIFETIME), now)
    }

    #[test]
    fn a_cookie_is_good_for_its_lifetime_and_not_for_two_more() {
        let (cookies, began) = cookies();
        for made_ms in [0, 1, 5_000, 9_999, 10_000, 123_456] {
            let made = began + Duration::from_millis(made_ms);
            let cookie = cookies.make(made, PEER, 9, &NONCE);
            assert!(cookies.check(made, PEER, 9, &NONCE, &cookie));
            assert!(cookies.check(made + LIFETIME, PEER, 9, &NONCE, &cookie));
            assert!(!cookies.check(made + 2 * LIFETIME, PEER, 9, &NONCE, &cookie));
        }
    }

    #[test]
    fn a_cookie_is_bound_to_address_vlan_key_nonce_and_secret() {
        let (cookies, now) = cookies();
        let cookie = cookies.make(now, PEER, 9, &NONCE);
        let other_mac = Peer { mac: Mac([2, 0, 0, 0, 0, 2]), ..PEER };
        let other_vlan = Peer { vlan: Vlan::tagged(0).unwrap(), ..PEER };
        assert!(!cookies.check(now, other_mac, 9, &NONCE, &cookie));
        assert!(!cookies.check(now, other_vlan, 9, &NONCE, &cookie));
        assert!(!cookies.check(now, PEER, 10, &NONCE, &cookie));
        assert!(!cookies.check(now, PEER, 9, &[8; NONCE_LEN], &cookie));
        let stranger = Cookies::new([2; 32], now, LIFETIME);
        assert!(!stranger.check(now, PEER, 9, &NONCE, &cookie));
    }

    #[test]
    fn every_bit_and_every_length_of_a_cookie_counts() {
        let (cookies, now) = cookies();
        let cookie = cookies.make(now + LIFETIME, PEER, 9, &NONCE);
        for bit in 0..COOKIE_LEN * 8 {
            let mut forged = cookie;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!cookies.check(now + LIFETIME, PEER, 9, &NONCE, &forged), "bit {bit}");
        }
        for len in 0..COOKIE_LEN {
            assert!(!cookies.check(now + LIFETIME, PEER, 9, &NONCE, &cookie[..len]));
        }
        let longer = [&cookie[..], &[0]].concat();
        assert!(!cookies.check(now + LIFETIME, PEER, 9, &NONCE, &longer));
    }

    #[test]
    fn a_lifetime_of_nothing_and_a_clock_that_goes_back_do_no_harm() {
        let now = now() + Duration::from_secs(5);
        let cookies = Cookies::new([1; 32], now, Duration::ZERO);
        let cookie = cookies.make(now - Duration::from_secs(1), PEER, 1, &NONCE);
        assert!(cookies.check(now, PEER, 1, &NONCE, &cookie));
    }
}
