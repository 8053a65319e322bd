//! When packets are lost, and when to ask after them (RFC 9002, section 6).

use std::time::{Duration, Instant};

use super::packets::Fate;
use super::reordering::Lost;
use super::{Outcome, Recovery};

impl Recovery {
    /// RFC 9002, section 6.1.
    pub(super) fn find_lost(&mut self, now: Instant, outcome: &mut Outcome) {
        self.loss_at = None;
        let Some(largest) = self.largest_acknowledged else { return };
        let delay = self.reordering.delay(&self.rtt);
        let threshold = self.reordering.packets();
        let Self { packets, in_flight, reordering, loss_at, lost_packets, .. } = self;
        let mut bytes = 0;
        let mut latest = None;
        let mut first = None;
        let mut persistent = false;
        let first_sample_at = self.first_sample_at;
        let longest = self.rtt.probe_timeout(self.max_ack_delay) * PERSISTENT;
        packets.for_each_open(|number, entry, behind_acknowledged| {
            if number > largest {
                return false;
            }
            let lost_at = entry.at + delay;
            if number.saturating_add(threshold) > largest && lost_at > now {
                if entry.eliciting {
                    *loss_at = Some(lost_at);
                }
                return !entry.eliciting;
            }
            entry.fate = Fate::Lost;
            in_flight.remove(entry);
            if !entry.eliciting {
                return true;
            }
            *lost_packets += 1;
            entry.contents.move_to(&mut outcome.lost);
            if !entry.size_probe {
                let size = entry.size;
                bytes += u64::from(size);
                latest = Some(entry.at);
                reordering.found_lost(Lost { number, at: entry.at, size });
                if behind_acknowledged {
                    first = None;
                }
                if first_sample_at.is_some_and(|at| entry.at > at) {
                    let since = *first.get_or_insert(entry.at);
                    persistent |= entry.at.saturating_duration_since(since) > longest;
                }
            }
            true
        });
        if let Some(sent_at) = latest {
            self.controller.lost(now, bytes, sent_at, self.in_flight.bytes);
            if persistent {
                self.controller.persistent_congestion(now);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due: time-threshold loss or
    /// probe timeout (with backoff).
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.loss_at.or_else(|| self.probe_at()).or_else(|| self.size_probe_lost_at())
    }

    fn probe_at(&self) -> Option<Instant> {
        let waiting = self.in_flight.frames > self.in_flight.size_probes;
        let timeout = self.rtt.probe_timeout(self.max_ack_delay);
        let backoff = timeout * (1 << self.probe_count.min(MAX_BACKOFF));
        self.last_sent.filter(|_| waiting).map(|at| at + backoff.min(LONGEST_PROBE_TIMEOUT))
    }

    /// Where nothing else is under way, nothing shows a size probe's loss but time.
    fn size_probe_lost_at(&self) -> Option<Instant> {
        let timeout = self.rtt.probe_timeout(self.max_ack_delay) * 2;
        self.last_size_probe.filter(|_| self.in_flight.size_probes > 0).map(|at| at + timeout)
    }

    /// Detects losses by time, or begins a probe: then `take_probe` gives up to 2.
    pub(crate) fn handle_timeout(&mut self, now: Instant, outcome: &mut Outcome) {
        outcome.lost.append(&mut self.overdue);
        if self.loss_at.is_some() {
            if self.loss_at.is_some_and(|at| at <= now) {
                self.find_lost(now, outcome);
                self.packets.trim();
                self.set_pace();
            }
        } else if let Some(at) = self.probe_at() {
            if at <= now {
                self.begin_probe(now, outcome);
            }
        } else if self.size_probe_lost_at().is_some_and(|at| at <= now) {
            self.lose_size_probes(outcome);
        }
    }

    /// RFC 9002, section 6.2.4: what is oldest is sent again, yet it may arrive still.
    fn begin_probe(&mut self, now: Instant, outcome: &mut Outcome) {
        // Where the probe cannot leave, the next one is not due at once.
        self.last_sent = Some(now);
        self.probe_count = self.probe_count.saturating_add(1);
        self.probes = PROBES;
        let mut left = PROBES;
        self.packets.for_each_open(|_, entry, _| {
            if entry.eliciting && !entry.size_probe && !entry.contents.is_empty() {
                entry.contents.move_to(&mut outcome.lost);
                left -= 1;
            }
            left > 0
        });
    }

    fn lose_size_probes(&mut self, outcome: &mut Outcome) {
        let Self { packets, in_flight, lost_packets, .. } = self;
        packets.for_each_open(|_, entry, _| {
            if entry.size_probe {
                entry.fate = Fate::Lost;
                entry.contents.move_to(&mut outcome.lost);
                in_flight.remove(entry);
                *lost_packets += 1;
            }
            true
        });
        self.packets.trim();
    }

    /// Whether a probe packet must be sent now, window or not; what is oldest and
    /// unacknowledged should go in it (its contents are given as lost by
    /// `handle_timeout`), or PING.
    pub(crate) fn take_probe(&mut self) -> bool {
        let wanted = self.probes > 0;
        self.probes = self.probes.saturating_sub(1);
        wanted
    }

    pub(crate) fn wants_probe(&self) -> bool {
        self.probes > 0
    }

    /// Probe timeouts in a row without any acknowledgement.
    pub(crate) fn probe_count(&self) -> u32 {
        self.probe_count
    }

    /// When the oldest eliciting packet that nothing was acknowledged after left. Size
    /// probes do not count.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        self.unanswered_since
    }
}

const PROBES: u32 = 2;
/// RFC 9002's kPersistentCongestionThreshold.
const PERSISTENT: u32 = 3;
const MAX_BACKOFF: u32 = 10;
const LONGEST_PROBE_TIMEOUT: Duration = Duration::from_secs(2);
