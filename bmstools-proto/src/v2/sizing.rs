//! How long frames may be (docs/protocol-v2.md, "Frame size").

use std::time::{Duration, Instant};

/// Bytes behind the Ethernet header that every link carries.
pub(super) const BASE: usize = 256;
/// Sizes worth trying below the ceiling.
const STEPS: [usize; 4] = [1500, 1400, 1280, 576];
/// How often a size is tried before it is given up.
const TRIES: u8 = 3;
/// How long after an unsuccessful search the next one begins: links change seldom.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The search for the longest frame.
#[derive(Debug)]
pub(super) struct Sizing {
    current: usize,
    ceiling: usize,
    /// Sizes to try, the longest last, and how often each was.
    candidates: Vec<(usize, u8)>,
    /// Those of them whose turn it is.
    due: Vec<usize>,
    again_at: Option<Instant>,
}

impl Sizing {
    /// Nothing longer than [`BASE`] until [`begin`](Self::begin).
    pub(super) fn new() -> Self {
        let (candidates, due) = (Vec::new(), Vec::new());
        Self { current: BASE, ceiling: BASE, candidates, due, again_at: None }
    }

    /// The size of frames at present.
    pub(super) const fn current(&self) -> usize {
        self.current
    }

    /// Begins a search up to `ceiling`.
    pub(super) fn begin(&mut self, ceiling: usize) {
        self.ceiling = ceiling;
        self.search();
    }

    fn search(&mut self) {
        self.again_at = None;
        self.candidates.clear();
        let steps = STEPS.iter().rev().filter(|&&size| size < self.ceiling);
        let sizes = steps.chain([&self.ceiling]).filter(|&&size| size > self.current);
        self.candidates.extend(sizes.map(|&size| (size, 0)));
        self.due.clear();
        self.due.extend(self.candidates.iter().map(|&(size, _)| size));
    }

    /// The size of a probe that should be sent.
    pub(super) fn next_probe(&mut self) -> Option<usize> {
        let size = self.due.pop()?;
        if let Some((_, tries)) = self.candidates.iter_mut().find(|(other, _)| *other == size) {
            *tries += 1;
        }
        Some(size)
    }

    pub(super) fn wants_probe(&self) -> bool {
        !self.due.is_empty()
    }

    /// A frame of this size arrived. True where frames may be longer than before.
    pub(super) fn acknowledged(&mut self, size: usize) -> bool {
        self.candidates.retain(|&(other, _)| other > size);
        self.due.retain(|&other| other > size);
        let grows = size > self.current && size <= self.ceiling;
        if grows {
            self.current = size;
        }
        grows
    }

    /// A probe of this size was lost.
    pub(super) fn lost(&mut self, now: Instant, size: usize) {
        let Some(at) = self.candidates.iter().position(|&(other, _)| other == size) else { return };
        if self.candidates[at].1 < TRIES {
            self.due.push(size);
        } else {
            self.candidates.remove(at);
        }
        if self.candidates.is_empty() && self.current < self.ceiling {
            self.again_at = Some(now + AGAIN_AFTER);
        }
    }

    /// Nothing gets through any more: back to what every link carries. True where that
    /// changes anything.
    pub(super) fn fall_back(&mut self) -> bool {
        if self.current == BASE {
            return false;
        }
        self.current = BASE;
        self.search();
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) const fn timeout(&self) -> Option<Instant> {
        self.again_at
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.search();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn now() -> Instant {
        Instant::now()
    }

    fn probes(sizing: &mut Sizing) -> Vec<usize> {
        std::iter::from_fn(|| sizing.next_probe()).collect()
    }

    #[test]
    fn the_longest_frame_that_arrives_is_used() {
        let mut sizing = Sizing::new();
        sizing.begin(3498);
        assert_eq!(probes(&mut sizing), [3498, 1500, 1400, 1280, 576]);
        assert!(sizing.acknowledged(1500));
        assert!(!sizing.acknowledged(576));
        assert_eq!(sizing.current(), 1500);
        sizing.lost(now(), 1280);
        assert!(!sizing.wants_probe());
    }

    #[test]
    fn a_size_that_never_arrives_is_given_up_and_tried_later() {
        let now = now();
        let mut sizing = Sizing::new();
        sizing.begin(600);
        assert!(sizing.acknowledged(576));
        for _ in 0..3 {
            assert_eq!(sizing.next_probe().or_else(|| sizing.next_probe()), Some(600));
            sizing.lost(now, 600);
        }
        assert!(!sizing.wants_probe());
        let again = sizing.timeout().unwrap();
        sizing.handle_timeout(again);
        assert_eq!(probes(&mut sizing), [600]);
    }

    #[test]
    fn a_path_that_swallows_long_frames_is_left_for_short_ones() {
        let mut sizing = Sizing::new();
        sizing.begin(1500);
        sizing.acknowledged(1500);
        assert!(sizing.fall_back());
        assert!(!sizing.fall_back());
        assert_eq!(sizing.current(), BASE);
        assert_eq!(probes(&mut sizing)[0], 1500);
    }
}
