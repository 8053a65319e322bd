//! The program's entries.

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::act::act;
use crate::frame::{Linear, Scattered};

/// For kernels and drivers whose frames are always in one buffer.
#[xdp]
fn bmstools_xdp(ctx: XdpContext) -> u32 {
    act(&ctx, &Linear::new(&ctx))
}

/// For frames of one or several buffers.
#[xdp(frags)]
fn bmstools_xdp_frags(ctx: XdpContext) -> u32 {
    act(&ctx, &Scattered::new(&ctx))
}
