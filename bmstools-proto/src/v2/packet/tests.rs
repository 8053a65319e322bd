use std::collections::BTreeMap;

use super::*;
use crate::v2::tls::tests::established;

const HEADER: usize = 14;

/// Both sides' keys after a handshake.
fn pair(update_after: u64) -> (SessionKeys, SessionKeys) {
    let (operator, agent) = established();
    let keys = |side: crate::v2::tls::tests::Side| {
        let (keys, next) = side.session.unwrap();
        SessionKeys::new(keys, next, update_after)
    };
    (keys(operator), keys(agent))
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn now() -> Instant {
    Instant::now()
}

/// A sealed frame, and the phase that its ptype would tell.
fn send(keys: &mut SessionKeys, number: u64, text: &[u8]) -> (u8, Vec<u8>) {
    let mut frame = vec![0xaa; HEADER + text.len().max(MIN_PLAINTEXT) + TAG_LEN];
    frame[HEADER - 8..HEADER].copy_from_slice(&number.to_be_bytes());
    frame[HEADER..HEADER + text.len()].copy_from_slice(text);
    keys.maybe_update(number);
    let len = keys.seal(number, HEADER, text.len(), &mut frame);
    assert_eq!(len, frame.len());
    (keys.phase(), frame)
}

fn take(keys: &mut SessionKeys, number: u64, sent: &(u8, Vec<u8>)) -> Option<Vec<u8>> {
    let mut frame = sent.1.clone();
    keys.open(now(), sent.0, number, HEADER, &mut frame).map(<[u8]>::to_vec)
}

#[test]
fn a_short_plaintext_is_padded_with_zeros() {
    let (mut a, mut b) = pair(1 << 22);
    for len in 0..40 {
        let text = vec![0x55; len];
        let sent = send(&mut a, len as u64, &text);
        assert_eq!(sent.1.len(), HEADER + len.max(16) + 16);
        let mut expected = text;
        expected.resize(len.max(16), 0);
        assert_eq!(take(&mut b, len as u64, &sent), Some(expected));
    }
}

#[test]
fn a_buffer_without_room_for_the_seal_is_refused() {
    let (mut a, _) = pair(1 << 22);
    for len in 0..HEADER + 32 {
        assert_eq!(a.seal(1, HEADER, 3, &mut vec![0; len]), 0, "{len}");
    }
    assert_eq!(a.seal(1, HEADER, 3, &mut [0; HEADER + 32]), HEADER + 32);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (mut a, mut b) = pair(1 << 22);
    let sent = send(&mut a, 3, b"a text of some bytes");
    for bit in 0..sent.1.len() * 8 {
        let mut forged = sent.clone();
        forged.1[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(take(&mut b, 3, &forged), None, "bit {bit}");
    }
    for len in 0..sent.1.len() {
        assert_eq!(take(&mut b, 3, &(sent.0, sent.1[..len].to_vec())), None, "cut to {len}");
    }
    assert!(take(&mut b, 3, &sent).is_some());
}

#[test]
fn a_packet_opens_under_its_own_number_header_and_phase_only() {
    let (mut a, mut b) = pair(1 << 22);
    let sent = send(&mut a, 9, b"a text of some bytes");
    assert_eq!(take(&mut b, 8, &sent), None);
    assert_eq!(take(&mut b, 9, &(1, sent.1.clone())), None);
    for header in [0, HEADER - 1, HEADER + 1, sent.1.len(), sent.1.len() + 1] {
        let mut frame = sent.1.clone();
        assert_eq!(b.open(now(), 0, 9, header, &mut frame), None);
    }
    // And not at the sender's own side.
    assert_eq!(take(&mut a, 9, &sent), None);
    assert!(take(&mut b, 9, &sent).is_some());
    assert_eq!(b.updates(), 0);
}

#[test]
fn an_update_waits_for_an_acknowledgement_of_its_own_generation() {
    let (mut a, mut b) = pair(2);
    for number in 10..20 {
        let sent = send(&mut a, number, b"x");
        assert!(take(&mut b, number, &sent).is_some());
    }
    assert_eq!(a.updates(), 0);
    // Belongs to the handshake: not sealed with these keys.
    a.acknowledged(9);
    a.maybe_update(20);
    assert_eq!(a.updates(), 0);
    a.acknowledged(12);
    let sent = send(&mut a, 20, b"x");
    assert_eq!((a.updates(), sent.0), (1, 1));
    assert!(take(&mut b, 20, &sent).is_some());
    assert_eq!((b.updates(), b.phase()), (1, 1));
    // Old packets acknowledged late do not confirm the generation that began with 20.
    for number in 21..30 {
        a.acknowledged(number - 5);
        send(&mut a, number, b"x");
        if number == 24 {
            break;
        }
    }
    assert_eq!(a.updates(), 1);
    a.acknowledged(20);
    a.maybe_update(25);
    assert_eq!(a.updates(), 2);
}

#[test]
fn a_packet_overtaken_by_an_update_still_opens() {
    let (mut a, mut b) = pair(1);
    let first = send(&mut a, 0, b"first");
    a.acknowledged(0);
    let second = send(&mut a, 1, b"second");
    let third = send(&mut a, 2, b"third");
    assert_eq!((first.0, second.0, third.0), (0, 1, 1));
    assert!(take(&mut b, 2, &third).is_some());
    assert!(take(&mut b, 0, &first).is_some());
    assert!(take(&mut b, 1, &second).is_some());
    assert_eq!(b.updates(), 1);
}

#[test]
fn both_sides_may_update_at_once() {
    let (mut a, mut b) = pair(1);
    let (from_a, from_b) = (send(&mut a, 0, b"a"), send(&mut b, 0, b"b"));
    assert!(take(&mut b, 0, &from_a).is_some() && take(&mut a, 0, &from_b).is_some());
    a.acknowledged(0);
    b.acknowledged(0);
    let (from_a, from_b) = (send(&mut a, 1, b"a"), send(&mut b, 1, b"b"));
    assert_eq!((from_a.0, from_b.0), (1, 1));
    assert!(take(&mut b, 1, &from_a).is_some() && take(&mut a, 1, &from_b).is_some());
    assert_eq!((a.updates(), b.updates()), (1, 1));
}

#[test]
fn what_the_peer_sends_before_it_has_seen_our_update_opens() {
    let (mut a, mut b) = pair(1);
    let begun = send(&mut a, 0, b"a");
    assert!(take(&mut b, 0, &begun).is_some());
    a.acknowledged(0);
    let updated = send(&mut a, 1, b"a");
    for number in 0..5 {
        let sent = send(&mut b, number, b"old generation");
        assert_eq!(sent.0, 0);
        assert!(take(&mut a, number, &sent).is_some());
    }
    assert!(take(&mut b, 1, &updated).is_some());
    let sent = send(&mut b, 5, b"new generation");
    assert_eq!(sent.0, 1);
    assert!(take(&mut a, 5, &sent).is_some());
    assert_eq!((a.updates(), b.updates()), (1, 1));
}

#[test]
fn a_forged_phase_changes_nothing() {
    let (mut a, mut b) = pair(1 << 22);
    let sent = send(&mut a, 5, b"x");
    assert!(take(&mut b, 5, &sent).is_some());
    for number in [0, 5, 6, u64::MAX] {
        assert_eq!(take(&mut b, number, &(1, sent.1.clone())), None);
    }
    assert_eq!((b.updates(), b.phase()), (0, 0));
    let sent = send(&mut a, 6, b"x");
    assert!(take(&mut b, 6, &sent).is_some());
}

#[test]
fn packets_of_a_generation_long_gone_do_not_open() {
    let (mut a, mut b) = pair(1);
    let mut old = Vec::new();
    for number in 0..6 {
        let sent = send(&mut a, number, b"x");
        assert!(take(&mut b, number, &sent).is_some());
        old.push(sent);
        a.acknowledged(number);
    }
    assert_eq!(b.updates(), 5);
    for (number, sent) in old.iter().enumerate().take(4) {
        assert_eq!(take(&mut b, number as u64, sent), None, "{number}");
    }
    // The previous and the present generation open again: it is the window of packet
    // numbers that drops what was seen.
    assert!(take(&mut b, 4, &old[4]).is_some() && take(&mut b, 5, &old[5]).is_some());
    assert_eq!(b.updates(), 5);
}

#[test]
fn the_ciphers_limits_are_kept() {
    let (mut a, mut b) = pair(u64::MAX);
    assert_eq!(a.update_after, 1 << 22);
    let limit = a.present.local.confidentiality_limit();
    a.sealed = limit - 1;
    assert!(!a.is_exhausted());
    send(&mut a, 0, b"the last");
    assert!(a.is_exhausted());
    assert_eq!(a.seal(1, HEADER, 1, &mut [0; 64]), 0);
    a.acknowledged(0);
    a.maybe_update(1);
    assert!(!a.is_exhausted());

    b.forged = b.present.remote.integrity_limit() - 1;
    assert!(!b.is_exhausted());
    assert_eq!(b.open(now(), 0, 1, HEADER, &mut [0; 64]), None);
    assert!(b.is_exhausted());
}

/// Packets lost, delayed and repeated by a fixed pattern while both sides update as
/// often as they may: what arrives within the reach of one generation opens as it was.
#[test]
fn updates_survive_loss_and_reordering() {
    let (mut a, mut b) = pair(3);
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut under_way = BTreeMap::new();
    let mut opened = 0;
    for number in 0..20_000u64 {
        for to_b in [true, false] {
            let keys = if to_b { &mut a } else { &mut b };
            let sent = send(keys, number, &number.to_be_bytes());
            if random(10) > 0 {
                under_way.insert((number + random(4), number, to_b), (keys.updates(), sent));
            }
        }
        while let Some(entry) = under_way.first_entry() {
            let (due, sent_as, to_b) = *entry.key();
            if due > number {
                break;
            }
            let (generation, sent) = entry.remove();
            let (from, to) = if to_b { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let text = take(to, sent_as, &sent);
            if generation + 1 >= to.updates() {
                let text = text.unwrap_or_else(|| panic!("{sent_as} of {generation}"));
                assert_eq!(text[..8], sent_as.to_be_bytes());
                assert_eq!(text[8..], [0; 8]);
                opened += 1;
                from.acknowledged(sent_as);
            }
        }
    }
    assert!(opened > 30_000, "{opened}");
    assert!(a.updates() > 1_000, "{}", a.updates());
    assert!(a.updates().abs_diff(b.updates()) <= 1);
}
