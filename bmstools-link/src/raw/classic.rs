//! Classic BPF programs (socket(7), `SO_ATTACH_FILTER`) that sort frames between
//! sockets before they take room in a receive buffer.
//!
//! The kernel has already taken the outermost VLAN tag out of the bytes that such
//! a program reads, or not, so all of them look behind zero, one and two tags.

use bmstools_common::ethernet::{ETHERTYPE, TPID_8021AD, TPID_8021Q};
use bmstools_common::header::{VERSION_1, ptype};
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
/// receiver's key.
pub(crate) fn sessions() -> Vec<sock_filter> {
    sorted(ALL_BYTES, 0)
}

/// Takes every frame of ours that [`sessions`] does not: opens, and what is
/// malformed.
pub(crate) fn rest() -> Vec<sock_filter> {
    sorted(0, ALL_BYTES)
}

/// Answers `session` for what looks like a session's frame, `other` for any other
/// frame of ours and 0 for the rest.
fn sorted(session: u32, other: u32) -> Vec<sock_filter> {
    const OTHER: u8 = 11;
    const FOREIGN: u8 = 12;
    let mut program = find_header(ETHERTYPE, FOREIGN);
    let to = |target: u8, here: u8| target - here - 1;
    program.extend([
        // Bytes from the header on: version, type and both keys must be there.
        op(BPF_LD | BPF_W | BPF_LEN, 0),
        op(BPF_ALU | BPF_SUB | BPF_X, 0),
        jump(BPF_JGE, 6, 0, to(OTHER, 2)),
        op(BPF_LD | BPF_B | BPF_IND, 0),
        jump(BPF_JEQ, u32::from(VERSION_1), 0, to(OTHER, 4)),
        op(BPF_LD | BPF_B | BPF_IND, 1),
        jump(BPF_JEQ, u32::from(ptype::END), 1, 0),
        jump(BPF_JGT, u32::from(ptype::CONTROL), to(OTHER, 7), 0),
        op(BPF_LD | BPF_H | BPF_IND, 4),
        jump(BPF_JEQ, 0, to(OTHER, 9), 0),
        ret(session),
        ret(other),
        ret(0),
    ]);
    program
}

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
