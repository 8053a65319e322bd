//! Classic BPF programs (socket(7), `SO_ATTACH_FILTER`) that sort frames between
//! sockets before they take room in a receive buffer.
//!
//! The kernel has already taken the outermost VLAN tag out of the bytes that such
//! a program reads, or not, so all of them look behind zero, one and two tags.

use std::collections::BTreeSet;

use bmstools_common::ethernet::{ETHERTYPE, TPID_8021AD, TPID_8021Q};
use bmstools_common::header::{VERSION_1, VERSION_2, ptype, v2_ptype};
use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP,
    BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_RET, BPF_SUB, BPF_W, BPF_X, sock_filter,
};

/// Takes frames of one ethertype.
pub(crate) fn ethertype(ethertype: u16) -> Vec<sock_filter> {
    let mut program = find_header(ethertype, ACCEPT_AFTER_HEADER);
    program.extend([ret(ALL_BYTES), ret(0)]);
    program
}

/// Takes frames that look like those of a session: known version and type, and a
/// receiver's key; only these keys, of which there are [`MAX_KEYS`] at most, where
/// they are given.
pub(crate) fn sessions(keys: Option<&BTreeSet<u16>>) -> Vec<sock_filter> {
    let mut program = sorted(0);
    if let Some(keys) = keys {
        let keys = keys.iter().take(MAX_KEYS).map(|key| u32::from(*key));
        // As many follow as are skipped, and the refusal.
        let skipped = (1..=keys.len() as u8).rev();
        program.extend(keys.zip(skipped).map(|(key, rest)| jump(BPF_JEQ, key, rest, 0)));
        program.push(ret(0));
    }
    program.push(ret(ALL_BYTES));
    program
}

/// Takes every frame of ours that [`sessions`] of no given keys does not: opens, and
/// what is malformed.
pub(crate) fn rest() -> Vec<sock_filter> {
    let mut program = sorted(ALL_BYTES);
    program.push(ret(0));
    program
}

/// Answers `other` for a frame of ours that does not look like a session's and 0 for
/// another's. Goes on behind itself, with the receiver's key in the accumulator, for
/// what does look like a session's.
fn sorted(other: u32) -> Vec<sock_filter> {
    const VERSION_TWO: u8 = 9;
    const KEY: u8 = 12;
    const OTHER: u8 = 14;
    const FOREIGN: u8 = 15;
    let mut program = find_header(ETHERTYPE, FOREIGN);
    let to = |target: u8, here: u8| target - here - 1;
    program.extend([
        // Bytes from the header on: version, type and both keys must be there.
        op(BPF_LD | BPF_W | BPF_LEN, 0),
        op(BPF_ALU | BPF_SUB | BPF_X, 0),
        jump(BPF_JGE, 6, 0, to(OTHER, 2)),
        op(BPF_LD | BPF_B | BPF_IND, 0),
        jump(BPF_JEQ, u32::from(VERSION_2), to(VERSION_TWO, 4), 0),
        jump(BPF_JEQ, u32::from(VERSION_1), 0, to(OTHER, 5)),
        op(BPF_LD | BPF_B | BPF_IND, 1),
        jump(BPF_JEQ, u32::from(ptype::END), to(KEY, 7), 0),
        jump(BPF_JGT, u32::from(ptype::CONTROL), to(OTHER, 8), to(KEY, 8)),
        op(BPF_LD | BPF_B | BPF_IND, 1),
        jump(BPF_JEQ, u32::from(v2_ptype::OPEN), to(OTHER, 10), 0),
        jump(BPF_JGT, u32::from(v2_ptype::DATA_ODD), to(OTHER, 11), 0),
        op(BPF_LD | BPF_H | BPF_IND, 4),
        jump(BPF_JEQ, 0, 0, to(FOREIGN + 1, 13)),
        ret(other),
        ret(0),
    ]);
    program
}

/// Keys that [`sessions`] tells from others at most: each costs the kernel a
/// comparison a frame, and a jump passes 255 of them.
pub(crate) const MAX_KEYS: usize = 64;
/// Where [`ethertype`]'s refusal stands behind the header's search.
const ACCEPT_AFTER_HEADER: u8 = 1;

/// Puts into X where the header behind `ethertype` begins and goes on behind
/// itself, or jumps `foreign` instructions further for another's frame.
fn find_header(ethertype: u16, foreign: u8) -> Vec<sock_filter> {
    const LEN: u8 = 15;
    let ours = u32::from(ethertype);
    let [tag, service] = [u32::from(TPID_8021Q), u32::from(TPID_8021AD)];
    let foreign = |here: u8| LEN + foreign - here - 1;
    vec![
        op(BPF_LD | BPF_H | BPF_ABS, 12),
        jump(BPF_JEQ, ours, 8, 0),
        jump(BPF_JEQ, tag, 1, 0),
        jump(BPF_JEQ, service, 0, foreign(3)),
        op(BPF_LD | BPF_H | BPF_ABS, 16),
        jump(BPF_JEQ, ours, 6, 0),
        jump(BPF_JEQ, tag, 1, 0),
        jump(BPF_JEQ, service, 0, foreign(7)),
        op(BPF_LD | BPF_H | BPF_ABS, 20),
        jump(BPF_JEQ, ours, 4, foreign(9)),
        op(BPF_LDX | BPF_W | BPF_IMM, 14),
        op(BPF_JMP | BPF_JA, 3),
        op(BPF_LDX | BPF_W | BPF_IMM, 18),
        op(BPF_JMP | BPF_JA, 1),
        op(BPF_LDX | BPF_W | BPF_IMM, 22),
    ]
}

fn op(code: u32, k: u32) -> sock_filter {
    // All codes fit: the kernel's own field is 16 bits.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Compares the accumulator with `k`: `jt` instructions are skipped where it
/// holds and `jf` where it does not.
fn jump(comparison: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | comparison | BPF_K) as u16, jt, jf, k }
}

fn ret(bytes: u32) -> sock_filter {
    op(BPF_RET | BPF_K, bytes)
}

const ALL_BYTES: u32 = u32::MAX;

#[cfg(test)]
mod tests;
