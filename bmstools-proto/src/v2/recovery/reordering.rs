//! How late a packet may be before it counts as lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::rtt::{GRANULARITY, Rtt};

/// Thresholds that begin as those of RFC 9002, section 6.1, and grow where packets that
/// were found lost arrive after all.
#[derive(Debug)]
pub(super) struct Reordering {
    packets: u64,
    /// Eighths of the round-trip time that a packet may be late.
    eighths: u32,
    /// Found lost of late, by number.
    lost: VecDeque<Lost>,
    /// Losses since the last that was for nothing.
    confirmed: u32,
}

/// A packet that was found lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) number: u64,
    pub(super) at: Instant,
    pub(super) size: u16,
}

impl Reordering {
    pub(super) fn new() -> Self {
        Self { packets: PACKETS, eighths: 1, lost: VecDeque::new(), confirmed: 0 }
    }

    /// Packets behind an unacknowledged one that show that it is lost.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Time after which it is lost where any later one was acknowledged.
    pub(super) fn delay(&self, rtt: &Rtt) -> Duration {
        let longest = rtt.smoothed().max(rtt.latest());
        (longest + longest * self.eighths / 8).max(SHORTEST).max(GRANULARITY)
    }

    pub(super) fn found_lost(&mut self, lost: Lost) {
        if self.lost.len() == REMEMBERED {
            self.lost.pop_front();
            self.confirmed += 1;
            if self.confirmed >= FORGIVEN {
                self.confirmed = 0;
                self.packets = (self.packets / 2).max(PACKETS);
                self.eighths = (self.eighths / 2).max(1);
            }
        }
        self.lost.push_back(lost);
    }

    /// Lower acknowledged numbers need not be looked at.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.lost.front().map(|lost| lost.number)
    }

    /// Takes out a lost packet of `low..=high`, which was acknowledged.
    pub(super) fn take(&mut self, low: u64, high: u64) -> Option<Lost> {
        let index = self.lost.partition_point(|lost| lost.number <= high).checked_sub(1)?;
        (self.lost[index].number >= low).then(|| self.lost.remove(index)).flatten()
    }

    /// `number` was found lost and has arrived after all, when `largest` had already.
    pub(super) fn spurious(&mut self, number: u64, largest: u64) {
        self.confirmed = 0;
        let distance = largest.saturating_sub(number).saturating_add(1);
        self.packets = distance.clamp(self.packets, self.packets * 2).min(MOST_PACKETS);
        self.eighths = (self.eighths * 2).min(MOST_EIGHTHS);
    }
}

const PACKETS: u64 = 3;
/// Where packets are late by milliseconds (one path of several is slower), thousands
/// overtake them: beyond this, time alone decides.
const MOST_PACKETS: u64 = 4096;
/// A whole round-trip time, as RFC 8985 (RACK), section 6.2 has it.
const MOST_EIGHTHS: u32 = 8;
/// No packet is lost by time sooner. Time decides only at the end of a burst, where
/// waiting costs little; a receiver with several queues drains them one after another
/// and may be interrupted in between.
const SHORTEST: Duration = Duration::from_millis(1);
/// A few round trips of losses at 2 %.
const REMEMBERED: usize = 128;
/// Losses that were real after which the thresholds come down again by half.
const FORGIVEN: u32 = 1024;
