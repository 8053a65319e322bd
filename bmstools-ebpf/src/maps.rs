//! The maps, by the names and layouts of [`bmstools_common::maps`].

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, XskMap};
use bmstools_common::counters::Counter;
use bmstools_common::maps::{
    Config, OPEN_BUCKETS_CAPACITY, RING_CAPACITY, SESSIONS_CAPACITY, SOCKETS_CAPACITY,
};

#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Counter::COUNT as u32, 0);

#[map]
pub(crate) static SESSIONS: HashMap<[u8; 13], u32> =
    HashMap::with_max_entries(SESSIONS_CAPACITY, 0);

#[map]
pub(crate) static SOCKETS: XskMap = XskMap::with_max_entries(SOCKETS_CAPACITY, 0);

#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(RING_CAPACITY, 0);

#[map]
pub(crate) static CONFIG: Array<[u8; Config::LEN]> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static OPEN_BUCKETS: LruHashMap<[u8; 6], u64> =
    LruHashMap::with_max_entries(OPEN_BUCKETS_CAPACITY, 0);

#[map]
pub(crate) static OPEN_BUCKET: Array<u64> = Array::with_max_entries(1, 0);

/// Adds one to a counter of this CPU and returns what it was.
#[inline(always)]
pub(crate) fn count(counter: Counter) -> u64 {
    let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) else {
        return u64::MAX;
    };
    // SAFETY: the slot is this CPU's own, XDP programs do not preempt each other
    // on a CPU, and the verifier knows the map's memory to be valid.
    unsafe {
        let before = *slot;
        *slot = before + 1;
        before
    }
}

/// A word of a map that several CPUs change.
#[derive(Clone, Copy)]
pub(crate) struct SharedWord(*mut u64);

impl SharedWord {
    /// The word at `word`, which a map lookup returned.
    #[inline(always)]
    pub(crate) const fn new(word: *mut u64) -> Self {
        Self(word)
    }

    /// Reads the word.
    #[inline(always)]
    pub(crate) fn load(self) -> u64 {
        // SAFETY: `new` was given memory of a map, which stays for as long as the
        // program runs; the verifier refuses all else.
        unsafe { self.0.read_volatile() }
    }

    /// Writes `new` where the word is `old`, in one step, or returns what it is
    /// instead.
    #[inline(always)]
    pub(crate) fn compare_exchange(self, old: u64, new: u64) -> Result<(), u64> {
        let found: u64;
        // SAFETY: as for `load`; maps align their values to 8 bytes. The
        // instruction is an atomic of the BPF machine since Linux 5.12, for which
        // `core` has no name on this target.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) self.0,
                new = in(reg) new,
                inout("r0") old => found,
                options(nostack),
            );
        }
        if found == old { Ok(()) } else { Err(found) }
    }
}
