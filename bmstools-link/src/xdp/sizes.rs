//! How much memory each queue's socket gets.

/// Bytes of one frame's room in the UMEM.
pub(super) const FRAME_SIZE: usize = 4096;

/// Frames of the first queue's fill ring. Most cards put all frames that are not
/// IP there, whatever their number of queues. Rings of 1,024 lost frames of a
/// sender at full rate, 4,096 did not.
const FIRST_RECEIVE: u32 = 4096;
/// Frames that may be on their way out. The kernel's own limit in copy mode is
/// about 90.
const TRANSMIT: u32 = 256;
/// Frames that all other queues share.
const OTHERS_RECEIVE: u32 = 2048;
/// Frames of a queue at least.
const LEAST_RECEIVE: u32 = 64;

/// The sizes of one queue's rings, in frames. All are powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    pub(super) receive: u32,
    /// 0 where the queue does not send.
    pub(super) transmit: u32,
}

impl Sizes {
    /// The sizes for queue `index` of `count`.
    pub(super) fn of_queue(index: u32, count: u32) -> Self {
        if index == 0 {
            return Self { receive: FIRST_RECEIVE, transmit: TRANSMIT };
        }
        let share = OTHERS_RECEIVE / (count - 1).max(1);
        let receive = (share + 1).next_power_of_two() / 2;
        Self { receive: receive.clamp(LEAST_RECEIVE, OTHERS_RECEIVE), transmit: 0 }
    }

    /// Frames in the UMEM.
    pub(super) fn frames(self) -> u32 {
        self.receive + self.transmit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(queues: u32) -> usize {
        let frames: u32 = (0..queues).map(|index| Sizes::of_queue(index, queues).frames()).sum();
        frames as usize * FRAME_SIZE
    }

    #[test]
    fn one_queue_takes_17_mib_and_64_queues_stay_under_40() {
        assert_eq!(total(1), 17 << 20);
        for queues in 2..=64 {
            assert!(total(queues) < 40 << 20, "{queues} queues: {} bytes", total(queues));
        }
    }

    #[test]
    fn every_ring_is_a_power_of_two() {
        for queues in 1..=256 {
            for index in 0..queues {
                let sizes = Sizes::of_queue(index, queues);
                assert!(sizes.receive.is_power_of_two(), "{sizes:?}");
                assert!(sizes.transmit == 0 || sizes.transmit.is_power_of_two());
            }
        }
    }
}
