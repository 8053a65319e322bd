//! An established session of version 2 whose peer, or whose wire, does anything.

use crate::input::Input;
use crate::pair::Pair;

/// Reads the bytes as what happens in an established session.
///
/// # Panics
///
/// Where either side does.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut pair = Pair::established();
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut pair, &mut input);
        pair.turn();
    }
    pair.end();
}

fn step(pair: &mut Pair, input: &mut Input<'_>) {
    let what = input.u8();
    let to = usize::from(what >> 7);
    match what % 8 {
        // The peer's own keys around whatever it likes.
        0 => {
            let plaintext = input.bytes().to_vec();
            sealed(pair, to, 2, &plaintext);
        }
        1 | 2 => {
            let mut plaintext = Vec::new();
            for _ in 0..=input.u8() % 4 {
                made_up(&mut plaintext, input);
            }
            sealed(pair, to, 2, &plaintext);
        }
        3 => {
            let level = usize::from(input.u8() % 2);
            let plaintext = input.bytes().to_vec();
            sealed(pair, to, level, &plaintext);
        }
        4 => {
            let (ptype, mut frame) = (input.u8() % 7, input.bytes().to_vec());
            pair.address(to, ptype, &mut frame);
            pair.deliver(to, frame);
        }
        5 => pair.apply(to, input),
        6 => pair.exchange(usize::from(input.u8() % 4)),
        _ => pair.disturb(input),
    }
}

fn sealed(pair: &mut Pair, to: usize, level: usize, plaintext: &[u8]) {
    let (now, sender) = (pair.now, &mut pair.nodes[1 - to]);
    let Some(session) = sender.session else { return };
    if let Some(frame) = sender.endpoint.seal_any(now, session, level, plaintext) {
        pair.deliver(to, frame);
    }
}

/// A frame whose fields are mostly near to what is good.
fn made_up(packet: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.u8() % 16;
    let stream = u32::from(input.u8() % 16).to_be_bytes();
    packet.push(kind);
    match kind {
        2 => {
            packet.extend(u64::from(input.u8()).to_be_bytes());
            packet.extend(u32::from(input.u16()).to_be_bytes());
            packet.extend(u32::from(input.u8()).to_be_bytes());
            packet.extend(u32::from(input.u8() % 8).to_be_bytes());
            let ranges = input.u8() % 3;
            packet.push(ranges);
            for _ in 0..ranges * 2 {
                packet.extend(u32::from(input.u8() % 8).to_be_bytes());
            }
        }
        3 => {
            packet.extend(u32::from(input.u16()).to_be_bytes());
            counted(packet, input);
        }
        4..=6 => {
            packet.extend(stream);
            packet.extend(position(input).to_be_bytes());
            counted(packet, input);
        }
        7 | 9 => {
            packet.extend(stream);
            packet.extend(position(input).to_be_bytes());
        }
        8 => packet.extend(position(input).to_be_bytes()),
        10 => packet.extend(stream),
        11 => {
            packet.extend(stream);
            packet.extend(u32::from(input.u8()).to_be_bytes());
            packet.extend(position(input).to_be_bytes());
        }
        12 => {
            packet.extend(stream);
            packet.extend(u32::from(input.u8()).to_be_bytes());
        }
        14 => {
            packet.extend(u32::from(input.u16()).to_be_bytes());
            counted(packet, input);
        }
        _ => {}
    }
}

/// Small as a rule, now and then near the end of numbers.
fn position(input: &mut Input<'_>) -> u64 {
    match input.u8() % 8 {
        0 => u64::MAX - u64::from(input.u8()),
        1 => u64::from(input.u16()) << 32,
        2 => (1 << 62) - u64::from(input.u8()),
        _ => u64::from(input.u16()),
    }
}

fn counted(packet: &mut Vec<u8>, input: &mut Input<'_>) {
    let data = if input.u8() & 1 == 0 {
        input.bytes().to_vec()
    } else {
        // Long data need not stand in the input.
        vec![0x5a; usize::from(input.u16() % 1200)]
    };
    packet.extend((data.len() as u16).to_be_bytes());
    packet.extend(data);
}

const MAX_STEPS: usize = 200;
