//! CUBIC (RFC 9438), counted in bytes: what TCP does.

use std::time::{Duration, Instant};

use super::super::rtt::Rtt;
use super::{Acked, Controller, INITIAL_WINDOW, MAX_WINDOW, MIN_WINDOW, rate};

#[derive(Clone, Debug)]
pub(super) struct Cubic {
    /// The part of the window that a reduction leaves (beta_cubic).
    beta: f64,
    frame_size: u64,
    window: u64,
    slow_start_threshold: u64,
    /// What left before this does not reduce the window again.
    recovery_start: Option<Instant>,
    epoch: Option<Epoch>,
    /// The window before the last reduction (W_max).
    last_max: f64,
    /// The state before the last reduction, to go back to where it was for nothing.
    before: Option<Box<Before>>,
}

/// A period of growth without loss.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds until the window is `origin` again (K).
    k: f64,
    origin: f64,
    /// What Reno would have by now (W_est).
    estimate: f64,
}

#[derive(Clone, Debug)]
struct Before {
    window: u64,
    slow_start_threshold: u64,
    last_max: f64,
    epoch: Option<Epoch>,
    /// Bytes lost in this reduction that have not arrived after all.
    lost: u64,
}

impl Cubic {
    pub(super) fn new(frame_size: u64, beta: f64) -> Self {
        Self {
            beta,
            frame_size,
            window: INITIAL_WINDOW * frame_size,
            slow_start_threshold: u64::MAX,
            recovery_start: None,
            epoch: None,
            last_max: 0.0,
            before: None,
        }
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.window < self.slow_start_threshold
    }

    pub(super) fn end_slow_start(&mut self) {
        self.slow_start_threshold = self.window;
    }

    /// Whether a loss of what left then is answered already.
    pub(super) fn is_recovering(&self, sent_at: Instant) -> bool {
        self.recovery_start.is_some_and(|start| sent_at <= start)
    }

    /// Undoes a reduction as far as `window`.
    pub(super) fn raise_to(&mut self, window: u64) {
        self.window = self.window.max(window);
        self.slow_start_threshold = self.slow_start_threshold.max(self.window);
    }

    fn min_window(&self) -> u64 {
        MIN_WINDOW * self.frame_size
    }

    fn begin_epoch(&self, now: Instant) -> Epoch {
        let window = self.window as f64;
        let origin = self.last_max.max(window);
        let k = ((origin - window) / (C * self.frame_size as f64)).cbrt();
        Epoch { start: now, k, origin, estimate: window }
    }

    fn avoid_congestion(&mut self, now: Instant, bytes: u64, rtt: &Rtt) {
        let mut epoch = self.epoch.unwrap_or_else(|| self.begin_epoch(now));
        let (window, frame) = (self.window as f64, self.frame_size as f64);
        let alpha = if epoch.estimate < self.last_max { ALPHA } else { 1.0 };
        epoch.estimate += alpha * frame * bytes as f64 / window;
        let ahead = now.saturating_duration_since(epoch.start) + rtt.smoothed();
        let cubic = epoch.origin + C * frame * (ahead.as_secs_f64() - epoch.k).powi(3);
        let target = cubic.clamp(window, window * 1.5);
        let grown = (window + (target - window) * bytes as f64 / window).max(epoch.estimate);
        self.window = (grown as u64).min(MAX_WINDOW);
        self.epoch = Some(epoch);
    }

    fn reduce(&mut self, now: Instant) {
        let window = self.window as f64;
        // Fast convergence: what another flow wants is given up sooner.
        self.last_max =
            if window < self.last_max { window * (1.0 + self.beta) / 2.0 } else { window };
        self.window = ((window * self.beta) as u64).max(self.min_window());
        self.slow_start_threshold = self.window;
        self.recovery_start = Some(now);
        self.epoch = None;
    }
}

impl Controller for Cubic {
    fn sent(&mut self, now: Instant, bytes: u64, in_flight: u64) {
        // After a pause, growth goes on from where it was, not from where time is.
        if in_flight == bytes
            && let Some(epoch) = &mut self.epoch
        {
            epoch.start = epoch.start.max(now.checked_sub(IDLE).unwrap_or(now));
        }
    }

    fn acknowledged(&mut self, now: Instant, acked: &Acked, rtt: &Rtt, _in_flight: u64) {
        if acked.app_limited || self.is_recovering(acked.sent_at) {
            return;
        }
        if self.in_slow_start() {
            self.window = self.window.saturating_add(acked.bytes).min(MAX_WINDOW);
        } else {
            self.avoid_congestion(now, acked.bytes, rtt);
        }
    }

    fn lost(&mut self, now: Instant, bytes: u64, sent_at: Instant, _in_flight: u64) {
        if self.is_recovering(sent_at) {
            if let Some(before) = &mut self.before {
                before.lost += bytes;
            }
            return;
        }
        self.before = Some(Box::new(Before {
            window: self.window,
            slow_start_threshold: self.slow_start_threshold,
            last_max: self.last_max,
            epoch: self.epoch,
            lost: bytes,
        }));
        self.reduce(now);
    }

    fn spurious(&mut self, _now: Instant, bytes: u64, sent_at: Instant) {
        let recovering = self.is_recovering(sent_at);
        let Some(before) = self.before.as_mut().filter(|_| recovering) else { return };
        before.lost = before.lost.saturating_sub(bytes);
        if before.lost == 0
            && let Some(before) = self.before.take()
        {
            self.window = self.window.max(before.window);
            self.slow_start_threshold = before.slow_start_threshold;
            self.last_max = before.last_max;
            self.epoch = before.epoch;
            self.recovery_start = None;
        }
    }

    fn persistent_congestion(&mut self, now: Instant) {
        self.before = None;
        self.reduce(now);
        self.window = self.min_window();
    }

    fn set_frame_size(&mut self, bytes: u64) {
        // The window is meant in frames where nothing was learnt, and in bytes after.
        if self.slow_start_threshold == u64::MAX {
            let frames = self.window / self.frame_size.max(1);
            self.window = frames.saturating_mul(bytes).min(MAX_WINDOW);
        }
        self.frame_size = bytes;
        self.window = self.window.max(self.min_window());
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, rtt: &Rtt) -> u64 {
        // Faster than the window alone would go, or it could never be filled.
        let ahead = if self.in_slow_start() { self.window } else { self.window / 4 };
        rate(self.window.saturating_add(ahead), rtt.smoothed())
    }
}

/// RFC 9438, section 5.
const C: f64 = 0.4;
pub(super) const BETA: f64 = 0.7;
/// That of TCP's beta, whatever beta is: who gives way more comes back no faster.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
const IDLE: Duration = Duration::from_secs(1);
