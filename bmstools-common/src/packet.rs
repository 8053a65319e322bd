//! Access to a frame's bytes that the kernel's verifier and a slice both allow.

/// Bytes of one frame, from its Ethernet header on.
///
/// The XDP program reads through packet pointers, where each access must be
/// checked against `data_end` on its own; userspace reads through a slice.
pub trait Packet {
    /// The `N` bytes at offset `at`, or `None` where the frame ends before them.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Number of bytes in the frame.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Packet for [u8] {
    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk::<N>().copied()
    }

    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
}
