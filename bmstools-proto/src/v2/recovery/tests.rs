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
    assert_eq!(waits.last(), Some(&LONGEST_PROBE_TIMEOUT));
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
