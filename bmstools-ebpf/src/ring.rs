//! Frames into the ring buffer.

use bmstools_common::counters::Counter;
use bmstools_common::maps::ring::{HEADER_LEN, LONG_FRAME, SHORT_FRAME, header};

use crate::frame::Frame;
use crate::maps::RING;

/// A record as it lies in the ring buffer.
#[repr(C, align(8))]
pub(crate) struct Record<const N: usize> {
    header: [u8; HEADER_LEN],
    frame: [u8; N],
}

impl<const N: usize> Record<N> {
    /// Where the frame's bytes go.
    #[inline(always)]
    pub(crate) const fn frame(&mut self) -> *mut u8 {
        self.frame.as_mut_ptr()
    }

    /// Writes frame bytes from `at` on, as far as there is room.
    #[inline(always)]
    pub(crate) fn write<const M: usize>(&mut self, at: usize, bytes: [u8; M]) {
        if at + M <= N {
            // SAFETY: `at + M` is inside of the array.
            unsafe { self.frame().add(at).cast::<[u8; M]>().write(bytes) };
        }
    }
}

/// Copies a frame from `queue` into the ring buffer, in the shorter record that
/// holds it.
#[inline(always)]
pub(crate) fn push<F: Frame>(frame: &F, queue: u32) -> Result<(), Counter> {
    let len = frame.len();
    if len <= SHORT_FRAME {
        push_record::<SHORT_FRAME, F>(frame, len, queue)
    } else if len <= LONG_FRAME {
        push_record::<LONG_FRAME, F>(frame, len, queue)
    } else {
        Err(Counter::TooLong)
    }
}

#[inline(always)]
fn push_record<const N: usize, F: Frame>(frame: &F, len: usize, queue: u32) -> Result<(), Counter> {
    let Some(mut entry) = RING.reserve::<Record<N>>(0) else {
        return Err(Counter::RingFull);
    };
    // SAFETY: a record is bytes alone, which any memory is.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    record.header = header(len as u32, queue);
    if frame.copy(record, len) {
        entry.submit(0);
        Ok(())
    } else {
        entry.discard(0);
        Err(Counter::TooLong)
    }
}
