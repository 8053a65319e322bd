//! Packets under way: acknowledgement, loss, probe timeouts (RFC 9002).

mod contents;
mod delivery;
mod loss;
mod packets;
mod reordering;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

pub(crate) use self::contents::{Content, Contents};
use self::delivery::{Delivery, Stamp};
use self::packets::{Entry, Fate, InFlight, Packets};
use self::reordering::Reordering;
use super::congestion::{self, Acked, Controller, Pacer};
use super::rtt::Rtt;

/// A packet to remember.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// One more than the last one's.
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// Bytes behind the Ethernet header.
    pub(crate) size: u16,
    /// Encryption level: 0 initial, 1 handshake, 2 data.
    pub(crate) level: u8,
    /// Whether it calls for an acknowledgement. Those that do not are not in flight.
    pub(crate) eliciting: bool,
    pub(crate) contents: Contents,
}

/// What became of packets. Every content that was sent turns up once at most.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Contents of newly acknowledged packets.
    pub(crate) acknowledged: Vec<Content>,
    /// Contents of packets found lost, or held to be by a probe timeout: to be sent
    /// again.
    pub(crate) lost: Vec<Content>,
}

/// An acknowledgement of what was never sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bogus;

#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) rtt: Rtt,
    pub(crate) pacer: Pacer,
    controller: Box<dyn Controller>,
    packets: Packets,
    in_flight: InFlight,
    delivery: Delivery,
    reordering: Reordering,
    largest_acknowledged: Option<u64>,
    /// When the oldest open packet is lost, if nothing happens.
    loss_at: Option<Instant>,
    /// When the last eliciting packet left that is not a size probe, and the last that is.
    last_sent: Option<Instant>,
    last_size_probe: Option<Instant>,
    unanswered_since: Option<Instant>,
    first_sample_at: Option<Instant>,
    probe_count: u32,
    probes: u32,
    max_ack_delay: Duration,
    credit: u32,
    frame_size: u64,
    lost_packets: u64,
    /// Contents of packets given up because too many are remembered.
    overdue: Vec<Content>,
}

/// The packets that one ACK acknowledges newly.
#[derive(Default)]
struct Newly {
    eliciting: bool,
    bytes: u64,
    /// The one with the highest number in flight.
    latest: Option<(Instant, Stamp)>,
    largest: Option<(u64, Instant)>,
}

impl Recovery {
    pub(crate) fn new(now: Instant, frame_size: u64, credit: u32) -> Self {
        Self::with(now, frame_size, credit, congestion::new(frame_size))
    }

    pub(super) fn with(
        now: Instant,
        frame_size: u64,
        credit: u32,
        controller: Box<dyn Controller>,
    ) -> Self {
        Self {
            rtt: Rtt::new(),
            pacer: Pacer::new(now),
            controller,
            packets: Packets::default(),
            in_flight: InFlight::default(),
            delivery: Delivery::default(),
            reordering: Reordering::new(),
            largest_acknowledged: None,
            loss_at: None,
            last_sent: None,
            last_size_probe: None,
            unanswered_since: None,
            first_sample_at: None,
            probe_count: 0,
            probes: 0,
            max_ack_delay: Duration::ZERO,
            credit: credit.clamp(1, MAX_CREDIT),
            frame_size,
            lost_packets: 0,
            overdue: Vec::new(),
        }
    }

    /// Packets found lost so far, for statistics.
    pub(crate) fn lost_packets(&self) -> u64 {
        self.lost_packets
    }

    /// Whether window and credit allow another eliciting packet of `size` bytes, pacing
    /// aside. Always true for probes (`take_probe`).
    pub(crate) fn may_send(&self, size: u64) -> bool {
        self.in_flight.frames < self.credit
            && self.in_flight.bytes.saturating_add(size) <= self.controller.window()
    }

    /// When pacing lets the next eliciting frame leave; `None` is at once.
    pub(crate) fn pace(&mut self, now: Instant, _size: u64) -> Option<Instant> {
        self.pacer.delay(now)
    }

    /// Notes a packet that leaves.
    pub(crate) fn sent(&mut self, packet: Sent) {
        let (number, now) = (packet.number, packet.at);
        debug_assert!(number >= self.packets.next(), "every packet that leaves is noted once");
        let entry = Entry::new(packet, self.delivery.stamp());
        self.in_flight.add(&entry);
        if entry.eliciting {
            let size = u64::from(entry.size);
            if entry.size_probe {
                self.last_size_probe = Some(now);
            } else {
                self.last_sent = Some(now);
                self.unanswered_since.get_or_insert(now);
            }
            if self.in_flight.frames >= self.credit {
                self.delivery.limited(self.in_flight.bytes);
            }
            self.pacer.sent(now, size);
            self.controller.sent(now, size, self.in_flight.bytes);
        }
        self.packets.push(number, entry);
        self.bound();
    }

    /// Keeps the packets remembered few: what calls for no acknowledgement may never get
    /// one, and a peer may withhold one that is due.
    fn bound(&mut self) {
        while let Some(front) = self.packets.front() {
            let settled = front.fate != Fate::Open;
            let limit = if front.eliciting { MAX_TRACKED } else { MAX_IDLE_TRACKED };
            if !settled && self.packets.len() <= limit {
                return;
            }
            let Some(mut entry) = self.packets.pop_front() else { return };
            if !settled {
                self.in_flight.remove(&entry);
                if entry.eliciting {
                    entry.contents.move_to(&mut self.overdue);
                }
            }
        }
    }

    /// Notes that there was nothing more to send although it was allowed.
    pub(crate) fn app_limited(&mut self) {
        self.delivery.limited(self.in_flight.bytes);
    }

    /// Takes an acknowledgement. `ranges` go from the highest down. Fills `outcome`
    /// (whose vectors are reused by the caller: no allocation a frame).
    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        delay: Duration,
        credit: u32,
        outcome: &mut Outcome,
    ) -> Result<(), Bogus> {
        let mut ranges = ranges.peekable();
        let Some(largest) = ranges.peek().map(|range| *range.end()) else { return Err(Bogus) };
        if largest >= self.packets.next() {
            return Err(Bogus);
        }
        if self.largest_acknowledged.is_none_or(|known| known <= largest) {
            self.set_credit(credit);
        }
        let was_open = self.packets.is_open(largest);
        let newly = self.settle(now, ranges, outcome);
        self.largest_acknowledged = self.largest_acknowledged.max(Some(largest));
        let mut round_trip = None;
        if let Some((number, sent_at)) = newly.largest
            && was_open
            && number == largest
            && newly.eliciting
        {
            let latest = now.saturating_duration_since(sent_at);
            round_trip = Some(self.rtt.sample(latest, delay.min(self.max_ack_delay)));
            self.first_sample_at.get_or_insert(now);
        }
        self.find_lost(now, outcome);
        if let Some(latest) = newly.latest {
            self.progress(now, newly.bytes, latest, round_trip)
        }
        self.packets.trim();
        outcome.lost.append(&mut self.overdue);
        self.set_pace();
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        outcome: &mut Outcome,
    ) -> Newly {
        let mut newly = Newly::default();
        for range in ranges {
            let (low, high) = range.into_inner();
            let below = high < self.packets.base();
            if below && self.reordering.lowest().is_none_or(|lowest| high < lowest) {
                break;
            }
            while let Some(lost) = self.reordering.take(low, high) {
                let largest = self.largest_acknowledged.unwrap_or(high);
                self.reordering.spurious(lost.number, largest);
                self.controller.spurious(now, u64::from(lost.size), lost.at);
            }
            let in_flight = &mut self.in_flight;
            self.packets.acknowledge(low, high, |number, entry| {
                in_flight.remove(entry);
                entry.contents.move_to(&mut outcome.acknowledged);
                if newly.largest.is_none_or(|(largest, _)| number > largest) {
                    newly.largest = Some((number, entry.at));
                    if entry.eliciting {
                        newly.latest = Some((entry.at, entry.stamp));
                    }
                }
                if entry.eliciting {
                    newly.eliciting = true;
                    newly.bytes += u64::from(entry.size);
                    newly.latest.get_or_insert((entry.at, entry.stamp));
                }
            });
        }
        newly
    }

    /// Eliciting packets were acknowledged, `latest` the last of them to leave.
    fn progress(
        &mut self,
        now: Instant,
        bytes: u64,
        latest: (Instant, Stamp),
        round_trip: Option<Duration>,
    ) {
        let (sent_at, stamp) = latest;
        self.delivery.acknowledged(bytes);
        // The pace, or a cap on it, may be the bound as well (RFC 9002, section 7.8).
        let used = self.in_flight.bytes.saturating_add(bytes);
        let unused = used < self.controller.window() / 2;
        let acked = Acked {
            bytes,
            sent_at,
            app_limited: stamp.limited || unused,
            round_trip,
            delivered_before: stamp.delivered,
            delivered: self.delivery.delivered(),
        };
        self.controller.acknowledged(now, &acked, &self.rtt, self.in_flight.bytes);
        self.probe_count = 0;
        self.probes = 0;
        self.unanswered_since = (self.in_flight.frames > self.in_flight.size_probes).then_some(now);
    }

    /// The peer's longest delay of acknowledgements (handshake: 0).
    pub(crate) fn set_max_ack_delay(&mut self, delay: Duration) {
        self.max_ack_delay = delay.min(LONGEST_ACK_DELAY);
    }

    /// Frames that may be under way. One always may, or its acknowledgement could not
    /// bring more credit.
    pub(crate) fn set_credit(&mut self, frames: u32) {
        self.credit = frames.clamp(1, MAX_CREDIT);
    }

    pub(crate) fn set_frame_size(&mut self, bytes: u64) {
        self.frame_size = bytes;
        self.controller.set_frame_size(bytes);
        self.set_pace();
    }

    fn set_pace(&mut self) {
        self.pacer.set_rate(self.controller.pacing_rate(&self.rtt), self.frame_size);
    }

    /// Treats everything sent under `level` as acknowledged: its keys are gone.
    pub(crate) fn forget_level(&mut self, level: u8) {
        let in_flight = &mut self.in_flight;
        self.packets.for_each_open(|_, entry, _| {
            if entry.level == level {
                entry.fate = Fate::Acknowledged;
                entry.contents = Contents::default();
                in_flight.remove(entry);
            }
            true
        });
        self.packets.trim();
        self.probe_count = 0;
        self.probes = 0;
        self.loss_at = None;
        if self.in_flight.frames == self.in_flight.size_probes {
            self.unanswered_since = None;
        }
    }

    /// Eliciting packets and bytes under way.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> (u32, u64) {
        (self.in_flight.frames, self.in_flight.bytes)
    }

    pub(crate) fn window(&self) -> u64 {
        self.controller.window()
    }
}

/// Frames under way at most, whatever the peer can take: what is remembered of them
/// costs some 5 MB.
const MAX_CREDIT: u32 = 32_768;
/// Packets remembered at most, counted from the oldest that is eliciting.
const MAX_TRACKED: usize = 2 * MAX_CREDIT as usize;
/// The same from one that is not: its ACK is of use to know of, no more.
const MAX_IDLE_TRACKED: usize = 256;
/// Whatever the peer announces, probes do not wait longer for it.
const LONGEST_ACK_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
