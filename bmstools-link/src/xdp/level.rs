//! How many frames the kernel has for receiving.
//!
//! It takes them in turn, so that each is written when all others have been. As many as
//! the sockets may ever need do not fit the processor's cache, and every frame is then
//! fetched from memory, twice: a quarter of the rate. As many as are under way do.

use std::time::{Duration, Instant};

/// The number of frames, of a queue that drops none of late.
#[derive(Debug)]
pub(super) struct Level {
    frames: usize,
    /// No fewer, ever.
    least: usize,
    /// As many as there are.
    all: usize,
    keeps_all: bool,
    /// Full batches until the drops are looked at.
    unchecked: u32,
    /// Drops so far.
    drops: u64,
    /// Since when it is what it is.
    since: Option<Instant>,
    /// Time without drops after which fewer frames are tried.
    memory: Duration,
}

impl Level {
    /// Few of `all` frames of up to `mtu` bytes, until that is too few.
    pub(super) fn least(all: usize, mtu: usize) -> Self {
        let least = (LEAST_BYTES / mtu.max(1)).max(LEAST).next_power_of_two();
        Self::from(all.min(least), all)
    }

    /// All frames, always.
    pub(super) fn all(all: usize) -> Self {
        Self::from(all, all)
    }

    fn from(least: usize, all: usize) -> Self {
        let (frames, keeps_all, unchecked) = (least, false, CHECK_EVERY);
        Self { frames, least, all, keeps_all, unchecked, drops: 0, since: None, memory: MEMORY }
    }

    /// Frames that the kernel is to have.
    pub(super) fn frames(&self) -> usize {
        if self.keeps_all { self.all } else { self.frames }
    }

    /// All frames from here on, or what is needed.
    pub(super) fn keep_all(&mut self, all: bool) {
        self.keeps_all = all;
    }

    /// After a batch that was full: whether it is time for [`check`](Self::check).
    pub(super) fn is_to_be_checked(&mut self) -> bool {
        self.unchecked = self.unchecked.saturating_sub(1);
        self.unchecked == 0 && !self.keeps_all && self.least < self.all
    }

    /// Adapts the level to `drops`: frames so far that found no room.
    pub(super) fn check(&mut self, now: Instant, drops: u64) {
        self.unchecked = CHECK_EVERY;
        let since = *self.since.get_or_insert(now);
        let frames = if drops > self.drops {
            self.memory = (self.memory * 2).min(LONGEST_MEMORY);
            (self.frames * 2).min(self.all)
        } else if now.saturating_duration_since(since) > self.memory {
            (self.frames / 2).max(self.least)
        } else {
            return;
        };
        tracing::debug!(frames, before = self.frames, drops, "frames for receiving");
        (self.frames, self.drops, self.since) = (frames, drops, Some(now));
    }
}

/// Bytes at least: more than a sender has under way over a short path, and with what the
/// kernel copies them from no more than a core's cache holds.
const LEAST_BYTES: usize = 750_000;
const LEAST: usize = 64;
/// Full batches of frames between looks at the drops, which are a system call.
const CHECK_EVERY: u32 = 4;
/// Time without drops after which fewer frames are tried at first. It doubles with the
/// drops: what was needed again and again will be needed once more.
const MEMORY: Duration = Duration::from_secs(30);
const LONGEST_MEMORY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn drops_double_it_and_a_time_without_halves_it() {
        let (mut level, start) = (Level::least(4096, 1500), now());
        assert_eq!(level.frames(), 512);
        level.check(start, 0);
        assert_eq!(level.frames(), 512);
        level.check(start, 3);
        assert_eq!(level.frames(), 1024);
        level.check(start, 3);
        assert_eq!(level.frames(), 1024);
        for drops in 4..9 {
            level.check(start, drops);
        }
        assert_eq!(level.frames(), 4096);
        // Six times there were too few.
        let memory = MEMORY * (1 << 6);
        level.check(start + memory, 8);
        assert_eq!(level.frames(), 4096);
        for period in 1..9 {
            level.check(start + (memory + Duration::from_millis(1)) * period, 8);
        }
        assert_eq!(level.frames(), 512);
    }

    #[test]
    fn long_frames_are_fewer() {
        for (mtu, frames) in [(0, 4096), (256, 4096), (1500, 512), (3498, 256), (9000, 128)] {
            assert_eq!(Level::least(4096, mtu).frames(), frames, "{mtu}");
        }
    }

    #[test]
    fn drops_are_looked_at_now_and_then() {
        let mut level = Level::least(4096, 1500);
        let looks = (0..100).filter(|_| {
            let look = level.is_to_be_checked();
            if look {
                level.check(now(), 0);
            }
            look
        });
        assert_eq!(looks.count(), 100 / CHECK_EVERY as usize);
    }

    #[test]
    fn a_small_ring_is_all_in_use() {
        let mut level = Level::least(64, 1500);
        assert_eq!(level.frames(), 64);
        level.check(now(), 5);
        assert_eq!(level.frames(), 64);
        level.keep_all(true);
        assert_eq!(level.frames(), 64);
    }

    #[test]
    fn what_needs_all_frames_has_them_after_sessions_that_did_as_well() {
        let (mut level, start) = (Level::all(4096), now());
        level.keep_all(true);
        level.keep_all(false);
        for period in 0..4 {
            level.check(start + MEMORY * 2 * period, 0);
        }
        assert_eq!(level.frames(), 4096);
    }
}
