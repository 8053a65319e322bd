//! Opens, retries and CRYPTO of version 2 from anybody on the wire.

use bmstools_common::header::{V2_LEN, V2Header, v2_ptype};
use bmstools_proto::v2::fuzzing::{open_initial, seal_initial};

use crate::input::Input;
use crate::pair::{AGENT, OPERATOR, Pair};

/// Reads the bytes as what happens while an operator opens a session.
///
/// # Panics
///
/// Where either side does.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut pair = Pair::new();
    // How far they get undisturbed.
    pair.exchange(usize::from(input.u8() % 6));
    let mut number = 1 << 20;
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut pair, &mut input, &mut number);
        pair.turn();
    }
    pair.end();
}

fn step(pair: &mut Pair, input: &mut Input<'_>, number: &mut u64) {
    let what = input.u8();
    let to = usize::from(what >> 7);
    *number += 1;
    match what % 10 {
        0 => {
            let (ptype, mut frame) = (input.u8() % 7, input.bytes().to_vec());
            pair.address(to, ptype, &mut frame);
            if ptype == v2_ptype::OPEN
                && let Some(dstkey) = frame.get_mut(4..6)
            {
                dstkey.fill(0);
            }
            pair.deliver(to, frame);
        }
        1 => stranger(pair, input),
        // Who has seen the open knows the initial keys.
        2 | 3 => {
            let plaintext = plaintext(input);
            initial(pair, to, *number, &plaintext);
        }
        4 => {
            let right = input.u8() & 3 != 0;
            let nonce = if right { pair.open.0 } else { [what; 16] };
            let cookie = input.bytes();
            let header = V2Header {
                ptype: v2_ptype::RETRY,
                srckey: 0,
                dstkey: pair.keys[OPERATOR],
                packet_number: 0,
            };
            let len = [cookie.len() as u8];
            pair.deliver(OPERATOR, [&header.emit(), &nonce[..], &len, cookie].concat());
        }
        5 => rewrite(pair, input, *number),
        6 => {
            let (now, plaintext) = (pair.now, plaintext(input));
            let sender = &mut pair.nodes[1 - to];
            let Some(session) = sender.session else { return };
            let level = usize::from(input.u8() % 3);
            if let Some(frame) = sender.endpoint.seal_any(now, session, level, &plaintext) {
                pair.deliver(to, frame);
            }
        }
        7 => pair.connect(u16::from(input.u8())),
        8 => pair.exchange(usize::from(input.u8() % 4)),
        _ => pair.disturb(input),
    }
}

/// Another host's open: first without a cookie, then with the one that it got.
fn stranger(pair: &mut Pair, input: &mut Input<'_>) {
    let nonce = [input.u8(); 16];
    let srckey = u16::from(input.u8());
    let header = V2Header { ptype: v2_ptype::OPEN, srckey, dstkey: 0, packet_number: 0 }.emit();
    let mut asking = [&header[..], &nonce[..]].concat();
    asking.resize(V2_LEN + 64, 0);
    pair.deliver_from(STRANGER, AGENT, asking);
    let mut buffer = [0; 1500];
    let mut answers = Vec::new();
    while let Some((_, len)) = pair.nodes[AGENT].endpoint.poll_transmit(pair.now, 0, &mut buffer) {
        answers.push(buffer[..len].to_vec());
    }
    let retry = answers.iter().find(|answer| answer[1] == 1 && answer[14..30] == nonce);
    let Some(retry) = retry else { return };
    let cookie = retry[30..].to_vec();
    let plaintext = plaintext(input);
    let front = [&header[..], &nonce[..], &cookie].concat();
    pair.deliver_from(STRANGER, AGENT, seal_initial(&nonce, false, 0, &front, &plaintext));
}

/// A packet in the session's name.
fn initial(pair: &mut Pair, to: usize, packet_number: u64, plaintext: &[u8]) {
    let (nonce, cookie) = &pair.open;
    let (srckey, dstkey) = (pair.keys[1 - to].max(1), pair.keys[to]);
    let front = if to == AGENT {
        let header = V2Header { ptype: v2_ptype::OPEN, srckey, dstkey: 0, packet_number };
        [&header.emit(), &nonce[..], &[cookie.len() as u8], cookie].concat()
    } else {
        V2Header { ptype: v2_ptype::INITIAL, srckey, dstkey, packet_number }.emit().to_vec()
    };
    let frame = seal_initial(nonce, to == OPERATOR, packet_number, &front, plaintext);
    pair.deliver(to, frame);
}

/// Takes a genuine packet of the initial keys, changes what is in it and seals it again.
fn rewrite(pair: &mut Pair, input: &mut Input<'_>, number: u64) {
    let Some((to, frame)) = pair.under_way.pop_front() else { return };
    let front = match (frame[1], frame.get(30)) {
        (v2_ptype::OPEN, Some(&len)) => V2_LEN + 17 + usize::from(len),
        (v2_ptype::INITIAL, _) => V2_LEN,
        _ => return pair.deliver(to, frame),
    };
    let Ok(header) = V2Header::parse(&frame[..], 0) else { return };
    let nonce = pair.open.0;
    let opened = open_initial(&nonce, to == OPERATOR, header.packet_number, front, &frame);
    let Some(mut plaintext) = opened else { return pair.deliver(to, frame) };
    for _ in 0..=input.u8() % 4 {
        let at = usize::from(input.u16()) % plaintext.len().max(1);
        match (plaintext.get_mut(at), input.u8()) {
            (Some(_), 0) => plaintext.truncate(at),
            (Some(byte), change) => *byte ^= change,
            (None, _) => {}
        }
    }
    initial(pair, to, number, &plaintext);
}

/// CRYPTO as a rule, anything now and then.
fn plaintext(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.u8();
    let offset = u32::from(input.u16()) << (kind >> 6).pow(3);
    let data = input.bytes();
    if kind & 7 == 7 {
        return data.to_vec();
    }
    let data = &data[..data.len().min(180)];
    let len = data.len() as u16;
    [&[3], &offset.to_be_bytes()[..], &len.to_be_bytes(), data].concat()
}

/// A third host.
const STRANGER: usize = 2;
const MAX_STEPS: usize = 100;
