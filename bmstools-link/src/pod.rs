//! Types that the kernel may read and write byte by byte.

/// A type without padding, pointers or invalid bit patterns.
///
/// # Safety
///
/// Every bit pattern of the type's size must be a valid value.
pub(crate) unsafe trait Pod: Copy {
    /// The value whose bytes are all zero.
    fn zeroed() -> Self;
}

macro_rules! pod {
    ($($type:ty = $zero:expr),* $(,)?) => {$(
        // SAFETY: made of integers alone.
        unsafe impl Pod for $type {
            fn zeroed() -> Self {
                $zero
            }
        }
    )*};
}

pod! {
    i32 = 0,
    libc::tpacket_stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 },
    libc::packet_mreq =
        libc::packet_mreq { mr_ifindex: 0, mr_type: 0, mr_alen: 0, mr_address: [0; 8] },
}
