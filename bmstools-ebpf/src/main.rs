//! The XDP program: picks the frames of bmstools out of what a NIC receives.
//!
//! [`bmstools_common::classify`] decides, this program acts on it: frames of
//! others pass untouched, frames of live sessions go to the AF_XDP socket of
//! their queue, opens within the rate limits to the ring buffer, all else is
//! counted and dropped.
//!
//! There are two entries, one for frames of several buffers (`xdp.frags`, from
//! Linux 5.18 on) and one without. The first may use helpers that came with it.

#![no_std]
#![no_main]
// For the atomic compare and exchange in `maps`.
#![feature(asm_experimental_arch)]

mod act;
mod entry;
mod frame;
mod limit;
mod maps;
mod ring;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // A panic would have to be verified: this loop makes the verifier refuse a
    // program that has one left.
    loop {}
}

/// Helpers that this program calls are open to programs under the GPL alone
/// where they print or trace; the project's licences are compatible with it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
