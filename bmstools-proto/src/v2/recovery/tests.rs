use super::*;
use crate::v2::streams::StreamId;

const SIZE: u16 = 1500;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn now() -> Instant {
    Instant::now()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One side of a path, its clock and what became of its packets.
struct Side {
    recovery: Recovery,
    now: Instant,
    next: u64,
    outcome: Outcome,
}

impl Side {
    fn new() -> Self {
        let now = now();
        let recovery = Recovery::new(now, u64::from(SIZE), 2048);
        Self { recovery, now, next: 0, outcome: Outcome::default() }
    }

    fn send_with(&mut self, level: u8, eliciting: bool, contents: Contents) -> u64 {
        let number = self.next;
        self.next += 1;
        let sent = Sent { number, at: self.now, size: SIZE, level, eliciting, contents };
        self.recovery.sent(sent);
        number
    }

    fn send(&mut self) -> u64 {
        let content = stream(self.next);
        self.send_with(2, true, contents(content))
    }

    fn send_many(&mut self, count: u64) {
        for _ in 0..count {
            self.send();
        }
    }

    fn ack(&mut self, ranges: &[(u64, u64)]) -> Result<(), Bogus> {
        let ranges = ranges.iter().map(|&(low, high)| low..=high);
        self.recovery.acknowledged(self.now, ranges, Duration::ZERO, 2048, &mut self.outcome)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets time pass to the timeout that is due.
    fn time_out(&mut self) {
        self.now = self.recovery.timeout().expect("nothing is due").max(self.now);
        self.recovery.handle_timeout(self.now, &mut self.outcome);
    }
}

fn stream(offset: u64) -> Content {
    Content::Stream { stream: StreamId(0), offset, len: 1400, end: false }
}

fn contents(content: Content) -> Contents {
    let mut contents = Contents::default();
    contents.push(content);
    contents
}

#[test]
fn what_is_acknowledged_is_no_longer_in_flight() {
    let mut side = Side::new();
    side.send_many(10);
    assert_eq!(side.recovery.in_flight(), (10, 15_000));
    side.wait(ms(1));
    side.ack(&[(0, 9)]).unwrap();
    assert_eq!(side.recovery.in_flight(), (0, 0));
    assert_eq!(side.outcome.acknowledged, (0..10).map(stream).collect::<Vec<_>>());
    assert_eq!(side.recovery.rtt.latest(), ms(1));
    assert_eq!(side.recovery.timeout(), None);
    assert_eq!(side.recovery.packets.len(), 0);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
    let mut side = Side::new();
    assert_eq!(side.ack(&[(0, 0)]), Err(Bogus));
    side.send_many(4);
    let ranges = [5..=5, 0..=2].into_iter();
    let result = side.recovery.acknowledged(side.now, ranges, ms(0), 7, &mut side.outcome);
    assert_eq!(result, Err(Bogus));
    assert_eq!(side.recovery.in_flight(), (4, 6000));
    assert_eq!(side.recovery.credit, 2048);
    assert!(!side.recovery.rtt.is_measured() && side.outcome.acknowledged.is_empty());
}

#[test]
fn three_packets_behind_a_gap_show_a_loss() {
    let mut side = Side::new();
    side.send_many(5);
    side.wait(ms(1));
    side.ack(&[(1, 2)]).unwrap();
    assert!(side.outcome.lost.is_empty());
    side.ack(&[(1, 3)]).unwrap();
    assert_eq!(side.outcome.lost, [stream(0)]);
    assert_eq!(side.recovery.lost_packets(), 1);
    assert_eq!(side.recovery.in_flight().0, 1);
}

#[test]
fn time_shows_a_loss_behind_fewer() {
    let mut side = Side::new();
    side.send_many(2);
    side.wait(ms(8));
    side.ack(&[(1, 1)]).unwrap();
    assert!(side.outcome.lost.is_empty());
    side.time_out();
    assert_eq!(side.outcome.lost, [stream(0)]);
    assert_eq!(side.now, side.recovery.last_sent.unwrap() + ms(9));
}

#[test]
fn nothing_acknowledged_brings_probes_ever_later() {
    let mut side = Side::new();
    side.send_many(5);
    let mut waits = Vec::new();
    for round in 0..12 {
        let before = side.now;
        side.time_out();
        waits.push(side.now - before);
        assert_eq!(side.recovery.probe_count(), round + 1);
        assert!(side.recovery.wants_probe());
        while side.recovery.take_probe() {
            side.send_with(2, true, Contents::default());
        }
    }
    assert_eq!(side.outcome.lost, (0..5).map(stream).collect::<Vec<_>>());
    assert_eq!(waits[0], ms(60));
    assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]));
    assert_eq!(waits.last(), Some(&Duration::from_secs(2)));
    assert_eq!(side.recovery.in_flight().0, 5 + 24);
    assert_eq!(side.recovery.lost_packets(), 0);
    side.ack(&[(28, 28)]).unwrap();
    assert_eq!((side.recovery.probe_count(), side.recovery.wants_probe()), (0, false));
}

#[test]
fn a_lost_size_probe_is_no_congestion() {
    let mut side = Side::new();
    let window = side.recovery.window();
    side.send_with(2, true, contents(Content::SizeProbe { size: 3000 }));
    side.send_many(4);
    side.wait(ms(1));
    side.ack(&[(1, 4)]).unwrap();
    assert_eq!(side.outcome.lost, [Content::SizeProbe { size: 3000 }]);
    assert!(side.recovery.window() >= window);
    side.outcome.lost.clear();
    side.send_with(2, true, contents(Content::SizeProbe { size: 2000 }));
    side.time_out();
    assert_eq!(side.outcome.lost, [Content::SizeProbe { size: 2000 }]);
    assert_eq!((side.recovery.probe_count(), side.recovery.wants_probe()), (0, false));
    assert_eq!(side.recovery.in_flight(), (0, 0));
    assert_eq!(side.recovery.timeout(), None);
}

#[test]
fn a_level_forgotten_is_neither_lost_nor_told() {
    let mut side = Side::new();
    side.send_with(0, true, contents(Content::MaxData));
    side.send_with(1, true, contents(Content::MaxData));
    side.send();
    side.recovery.forget_level(0);
    side.recovery.forget_level(1);
    assert_eq!(side.recovery.in_flight(), (1, 1500));
    side.wait(ms(1));
    side.ack(&[(0, 2)]).unwrap();
    assert_eq!(side.outcome.acknowledged, [stream(2)]);
    assert!(side.outcome.lost.is_empty());
}

#[test]
fn credit_bounds_the_frames_under_way() {
    let mut side = Side::new();
    side.recovery.set_credit(3);
    side.send_many(2);
    assert!(side.recovery.may_send(1500));
    side.send();
    assert!(!side.recovery.may_send(1500));
    side.recovery.set_credit(0);
    side.ack(&[(0, 2)]).unwrap();
    side.recovery.set_credit(0);
    assert!(side.recovery.may_send(1500));
}

#[test]
fn a_window_bounds_the_bytes_under_way() {
    let mut side = Side::new();
    while side.recovery.may_send(1500) {
        side.send();
    }
    assert_eq!(side.recovery.in_flight().0, 64);
}

#[test]
fn a_packet_lost_for_nothing_makes_patient_and_restores_the_window() {
    let mut side = Side::new();
    side.send_many(64);
    side.wait(ms(1));
    side.ack(&[(0, 63)]).unwrap();
    // A queue builds up, so that the loss counts.
    for _ in 0..4 {
        let first = side.next;
        side.send_many(40);
        side.wait(ms(30));
        for last in (first..first + 40).step_by(5) {
            side.ack(&[(last, last + 4)]).unwrap();
        }
    }
    let window = side.recovery.window();
    let first = side.next;
    side.send_many(20);
    side.wait(ms(30));
    side.ack(&[(first + 1, first + 10)]).unwrap();
    assert_eq!(side.outcome.lost, [stream(first)]);
    assert!(side.recovery.window() < window);
    side.outcome.acknowledged.clear();
    side.ack(&[(first, first + 19)]).unwrap();
    let told = side.outcome.acknowledged.contains(&stream(first));
    assert!(!told, "told twice what became of it");
    assert!(side.recovery.window() >= window);
    // As late as the last one is not lost again.
    let first = side.next;
    side.send_many(20);
    side.wait(ms(1));
    side.ack(&[(first + 1, first + 5)]).unwrap();
    assert_eq!(side.outcome.lost.len(), 1);
}

#[test]
fn an_overtaken_acknowledgement_does_not_bring_back_old_credit() {
    let mut side = Side::new();
    side.send_many(4);
    let acks = [(2, 10), (1, 99)];
    for (last, credit) in acks {
        let range = std::iter::once(0..=last);
        side.recovery.acknowledged(side.now, range, ms(0), credit, &mut side.outcome).unwrap();
    }
    assert_eq!(side.recovery.credit, 10);
}

#[test]
fn nothing_but_losses_for_long_is_persistent_congestion() {
    let mut side = Side::new();
    side.send_many(64);
    side.wait(ms(1));
    side.ack(&[(0, 63)]).unwrap();
    for _ in 0..10 {
        side.send();
        side.wait(ms(10));
    }
    assert!(side.recovery.window() >= 64 * 1500);
    let last = side.send();
    side.ack(&[(last, last)]).unwrap();
    assert_eq!(side.recovery.lost_packets(), 10);
    assert_eq!(side.recovery.window(), 16 * 1500);
}

#[test]
fn losses_with_something_acknowledged_between_are_not_persistent() {
    let mut side = Side::new();
    side.send_many(64);
    side.wait(ms(1));
    side.ack(&[(0, 63)]).unwrap();
    for _ in 0..11 {
        side.send();
        side.wait(ms(10));
    }
    let last = side.next - 1;
    side.ack(&[(last, last), (66, 66), (68, 68), (70, 70), (72, 72)]).unwrap();
    assert!(side.recovery.window() > 16 * 1500);
}

#[test]
fn absurd_delays_do_not_spoil_the_round_trip_time() {
    let mut side = Side::new();
    side.recovery.set_max_ack_delay(Duration::MAX);
    for _ in 0..10 {
        let number = side.send();
        side.wait(ms(3));
        let range = std::iter::once(number..=number);
        let (now, outcome) = (side.now, &mut side.outcome);
        side.recovery.acknowledged(now, range, Duration::MAX, 1, outcome).unwrap();
    }
    assert_eq!(side.recovery.rtt.smoothed(), ms(3));
    side.send();
    assert!(side.recovery.timeout().unwrap() <= side.now + Duration::from_secs(2));
}

#[test]
fn packets_that_are_never_acknowledged_are_forgotten() {
    let mut side = Side::new();
    for largest in 0..100_000 {
        side.send_with(2, false, contents(Content::Ack { largest }));
    }
    assert!(side.recovery.packets.len() <= MAX_IDLE_TRACKED);
    assert_eq!((side.recovery.in_flight(), side.recovery.timeout()), ((0, 0), None));
}

#[test]
fn a_peer_that_withholds_an_acknowledgement_costs_bounded_memory() {
    let mut side = Side::new();
    side.send();
    for largest in 0..200_000 {
        side.send_with(2, false, contents(Content::Ack { largest }));
    }
    assert!(side.recovery.packets.len() <= MAX_TRACKED);
    assert_eq!(side.recovery.in_flight(), (0, 0));
    side.ack(&[(200_000, 200_000)]).unwrap();
    assert_eq!(side.outcome.lost, [stream(0)]);
}

#[test]
fn a_number_that_was_skipped_is_no_packet() {
    let mut side = Side::new();
    side.send();
    side.next += 3;
    side.send_many(2);
    side.wait(ms(1));
    side.ack(&[(0, 5)]).unwrap();
    assert_eq!(side.outcome.acknowledged, [stream(0), stream(4), stream(5)]);
    assert_eq!(side.recovery.in_flight(), (0, 0));
}

#[test]
fn any_ranges_cost_what_they_bring_even_in_a_hostile_order() {
    let mut side = Side::new();
    side.recovery.set_credit(u32::MAX);
    side.send_many(30_000);
    // Nothing is found lost, so that the walk is as long as it can be.
    for last in (2..30_000).step_by(2) {
        side.recovery.packets.acknowledge(last, last, |_, _| {});
    }
    for last in (0..15_000).rev().map(|half| 2 * half + 1) {
        side.recovery.packets.acknowledge(last, 29_999, |_, _| {});
    }
    let mut open = 0;
    side.recovery.packets.for_each_open(|number, _, _| {
        assert_eq!(number, 0);
        open += 1;
        true
    });
    assert_eq!(open, 1);
}

mod properties;

#[test]
fn a_window_that_a_cap_keeps_from_being_used_does_not_grow() {
    let mut side = Side::new();
    side.recovery.pacer.set_cap(Some(10_000_000));
    for _ in 0..200 {
        let first = side.next;
        while side.recovery.may_send(1500) && side.recovery.pace(side.now, 1500).is_none() {
            side.send();
        }
        side.wait(ms(5));
        if side.next > first {
            side.ack(&[(first, side.next - 1)]).unwrap();
        }
    }
    assert!(side.recovery.window() <= 4 * 50_000, "{}", side.recovery.window());
}
