//! A frame through packet pointers, in forms that the verifier can follow.

use core::arch::asm;

use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use bmstools_common::Packet;
use bmstools_common::ethernet::HEADER_LEN;

use crate::ring::Record;

/// A frame that can be copied into a ring buffer record.
pub(crate) trait Frame: Packet {
    /// Copies the first `len` bytes into `record`, and says whether it could.
    fn copy<const N: usize>(&self, record: &mut Record<N>, len: usize) -> bool;
}

/// A frame in one buffer.
pub(crate) struct Linear {
    data: usize,
    data_end: usize,
}

impl Linear {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { data: ctx.data(), data_end: ctx.data_end() }
    }
}

impl Packet for Linear {
    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let start = opaque(self.data + at);
        if start + N > self.data_end {
            return None;
        }
        // SAFETY: `start..start + N` was compared with the end of the packet, and
        // the verifier holds the comparison against every load.
        Some(unsafe { *(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.data_end - self.data
    }
}

impl Frame for Linear {
    #[inline(always)]
    fn copy<const N: usize>(&self, record: &mut Record<N>, _len: usize) -> bool {
        // The verifier walks through every turn with `at` a known number. Eight
        // bytes a turn keep what it has to walk far under its limit.
        let mut at = 0;
        while at + 8 <= N {
            let Some(bytes) = self.read::<8>(at) else { break };
            record.write(at, bytes);
            at += 8;
        }
        for _ in 0..7 {
            let Some(byte) = self.read::<1>(at) else { break };
            if at >= N {
                break;
            }
            record.write(at, byte);
            at += 1;
        }
        true
    }
}

/// The same number, but one that the compiler knows nothing about.
///
/// The verifier wants the very pointer compared that is read through; the
/// compiler would rather compare a sum that it has at hand already.
#[inline(always)]
fn opaque(mut address: usize) -> usize {
    // SAFETY: moves a register to itself. (With no instruction at all, two lines of
    // source would stand at one address, which the kernel's loader refuses.)
    unsafe { asm!("{0} = {0}", inout(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

/// A frame in one or several buffers. Headers are in the first.
pub(crate) struct Scattered<'a> {
    first: Linear,
    ctx: &'a XdpContext,
}

impl<'a> Scattered<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { first: Linear::new(ctx), ctx }
    }
}

impl Packet for Scattered<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.first.read(at)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the helper reads the context that the kernel gave us.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize }
    }
}

impl Frame for Scattered<'_> {
    #[inline(always)]
    fn copy<const N: usize>(&self, record: &mut Record<N>, len: usize) -> bool {
        // No frame is shorter. Verifiers before Linux 6.8 learn from this that `len`
        // is not 0; from a comparison with 0 itself they learn nothing.
        if len < HEADER_LEN || len > N {
            return false;
        }
        // SAFETY: the record has N bytes, and `len` is no more.
        unsafe { bpf_xdp_load_bytes(self.ctx.ctx, 0, record.frame().cast(), len as u32) == 0 }
    }
}
