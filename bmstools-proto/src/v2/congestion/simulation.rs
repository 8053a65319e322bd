//! Senders and receivers that share a bottleneck, in virtual time.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Controller;
use crate::v2::acks::Received;
use crate::v2::recovery::{Content, Contents, Outcome, Recovery, Sent};
use crate::v2::streams::StreamId;

/// Bytes of every frame.
pub(super) const FRAME: u64 = 1500;

/// The path that all flows share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Bytes a second.
    pub(super) rate: u64,
    /// Frames that wait at most.
    pub(super) queue: u64,
    /// The round-trip time with no queue.
    pub(super) rtt: Duration,
    /// Of frames in both directions, the part that is lost.
    pub(super) loss: f64,
    /// Of data frames, the part that is late, and by what.
    pub(super) late: f64,
    pub(super) late_by: Duration,
    /// The longest that either side takes to wake up.
    pub(super) hiccup: Duration,
    pub(super) credit: u32,
}

impl Link {
    pub(super) fn new(megabits: u64, queue: u64, rtt: Duration) -> Self {
        Self {
            rate: megabits * 125_000,
            queue,
            rtt,
            loss: 0.0,
            late: 0.0,
            late_by: Duration::ZERO,
            hiccup: Duration::ZERO,
            credit: 2048,
        }
    }
}

enum Event {
    Arrival { flow: usize, number: u64, chunk: u64 },
    AckTimer { flow: usize },
    Ack { flow: usize, ranges: Vec<RangeInclusive<u64>>, delay: Duration },
    Wake { flow: usize },
}

pub(super) struct Flow {
    pub(super) recovery: Recovery,
    received: Received,
    outcome: Outcome,
    next: u64,
    next_chunk: u64,
    /// Chunks to send in all.
    total: u64,
    again: Vec<u64>,
    arrived: Vec<bool>,
    /// Different chunks that arrived.
    pub(super) delivered: u64,
    /// Chunks that arrived again.
    pub(super) duplicates: u64,
    pub(super) sent: u64,
    ack_timer: Option<Instant>,
    wake_at: Option<Instant>,
}

pub(super) struct Simulation {
    link: Link,
    now: Instant,
    pub(super) flows: Vec<Flow>,
    events: BTreeMap<(Instant, u64), Event>,
    counter: u64,
    busy_until: Instant,
    random: StdRng,
}

impl Simulation {
    #[allow(clippy::disallowed_methods, reason = "a simulation needs some instant to begin with")]
    pub(super) fn new(link: Link, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            link,
            now: start,
            flows: Vec::new(),
            events: BTreeMap::new(),
            counter: 0,
            busy_until: start,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// A flow with `total` chunks to send that begins at the present.
    pub(super) fn add(&mut self, controller: Box<dyn Controller>, total: u64) {
        let delay = Duration::from_micros(500);
        let mut recovery = Recovery::with(self.now, FRAME, self.link.credit, controller);
        recovery.set_max_ack_delay(delay);
        self.flows.push(Flow {
            recovery,
            received: Received::new(32, delay),
            outcome: Outcome::default(),
            next: 0,
            next_chunk: 0,
            total,
            again: Vec::new(),
            arrived: Vec::new(),
            delivered: 0,
            duplicates: 0,
            sent: 0,
            ack_timer: None,
            wake_at: None,
        });
        self.transmit(self.flows.len() - 1);
    }

    /// Lets `time` pass, or until nothing happens any more.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    /// Bytes that arrived at the flow's receiver, once each.
    pub(super) fn goodput(&self, flow: usize) -> u64 {
        self.flows[flow].delivered * FRAME
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.counter += 1;
        self.events.insert((at, self.counter), event);
    }

    fn hiccup(&mut self) -> Duration {
        // Rare: a process mostly runs when it should.
        if self.random.gen_bool(0.01) { self.link.hiccup } else { Duration::ZERO }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Arrival { flow: index, number, chunk } => {
                let flow = &mut self.flows[index];
                if flow.received.is_duplicate(number) {
                    return;
                }
                flow.received.note(now, number, true, false);
                let chunk = usize::try_from(chunk).unwrap();
                if flow.arrived.len() <= chunk {
                    flow.arrived.resize(chunk + 1, false);
                }
                if std::mem::replace(&mut flow.arrived[chunk], true) {
                    flow.duplicates += 1;
                } else {
                    flow.delivered += 1;
                }
                self.acknowledge(index);
            }
            Event::AckTimer { flow } => {
                self.flows[flow].ack_timer = None;
                self.acknowledge(flow);
            }
            Event::Ack { flow: index, ranges, delay } => {
                let credit = self.link.credit;
                let flow = &mut self.flows[index];
                let ranges = ranges.into_iter();
                flow.recovery.acknowledged(now, ranges, delay, credit, &mut flow.outcome).unwrap();
                self.transmit(index);
            }
            Event::Wake { flow: index } => {
                if self.flows[index].wake_at == Some(now) {
                    self.flows[index].wake_at = None;
                    self.transmit(index);
                }
            }
        }
    }

    fn acknowledge(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        if flow.received.is_due(now) {
            let ranges = flow.received.ranges().collect();
            let delay = Duration::from_micros(u64::from(flow.received.delay_us(now)));
            flow.received.sent();
            if !self.random.gen_bool(self.link.loss) {
                let at = now + self.link.rtt / 2;
                self.at(at, Event::Ack { flow: index, ranges, delay });
            }
        } else if let Some(due) = flow.received.due_at()
            && flow.ack_timer.is_none()
        {
            flow.ack_timer = Some(due);
            let at = due + self.hiccup();
            self.at(at, Event::AckTimer { flow: index });
        }
    }

    fn transmit(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        if flow.recovery.timeout().is_some_and(|at| at <= now) {
            flow.recovery.handle_timeout(now, &mut flow.outcome);
        }
        flow.outcome.acknowledged.clear();
        let lost = flow.outcome.lost.drain(..).filter_map(|content| match content {
            Content::Placed { offset, .. } => Some(offset),
            _ => None,
        });
        flow.again.extend(lost);
        let mut paced = None;
        loop {
            let flow = &mut self.flows[index];
            if !flow.recovery.take_probe() {
                if !flow.recovery.may_send(FRAME) {
                    break;
                }
                paced = flow.recovery.pace(now, FRAME);
                if paced.is_some() {
                    break;
                }
            }
            let again = flow.again.pop();
            if again.is_none() && flow.next_chunk == flow.total {
                flow.recovery.app_limited();
                break;
            }
            let chunk = again.unwrap_or(flow.next_chunk);
            flow.next_chunk = flow.next_chunk.max(chunk + 1);
            self.send(index, chunk);
        }
        let flow = &self.flows[index];
        let next = [flow.recovery.timeout(), paced].into_iter().flatten().min();
        if let Some(at) = next {
            let at = at.max(now) + self.hiccup();
            self.flows[index].wake_at = Some(at);
            self.at(at, Event::Wake { flow: index });
        }
    }

    fn send(&mut self, index: usize, chunk: u64) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let number = flow.next;
        flow.next += 1;
        flow.sent += 1;
        let mut contents = Contents::default();
        contents.push(Content::Placed { stream: StreamId(0), offset: chunk, len: 1400 });
        let size = u16::try_from(FRAME).unwrap();
        flow.recovery.sent(Sent { number, at: now, size, level: 2, eliciting: true, contents });
        let link = self.link;
        let waits = self.busy_until.saturating_duration_since(now);
        if waits > super::time_for(link.queue * FRAME, link.rate) {
            return;
        }
        self.busy_until = self.busy_until.max(now) + super::time_for(FRAME, link.rate);
        if self.random.gen_bool(link.loss) {
            return;
        }
        let mut at = self.busy_until + link.rtt / 2;
        if self.random.gen_bool(link.late) {
            at += link.late_by;
        }
        self.at(at, Event::Arrival { flow: index, number, chunk });
    }
}
