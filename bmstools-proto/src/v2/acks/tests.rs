use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const DELAY: Duration = Duration::from_micros(500);

fn received() -> (Received, Instant) {
    (Received::new(32, DELAY), now())
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn now() -> Instant {
    Instant::now()
}

fn ranges(received: &Received) -> Vec<(u64, u64)> {
    received.ranges().map(|range| (*range.start(), *range.end())).collect()
}

#[test]
fn packets_in_order_are_one_range() {
    let (mut received, now) = received();
    for number in 0..1000 {
        assert!(!received.is_duplicate(number));
        received.note(now, number, true, false);
        assert!(received.is_duplicate(number));
    }
    assert_eq!(ranges(&received), [(0, 999)]);
    assert_eq!(received.largest(), Some(999));
}

#[test]
fn gaps_are_told_from_the_highest_down_and_close() {
    let (mut received, now) = received();
    for number in [0, 1, 5, 3, 9] {
        received.note(now, number, true, false);
    }
    assert_eq!(ranges(&received), [(9, 9), (5, 5), (3, 3), (0, 1)]);
    received.note(now, 4, true, false);
    received.note(now, 2, true, false);
    assert_eq!(ranges(&received), [(9, 9), (0, 5)]);
}

#[test]
fn an_acknowledgement_is_due_with_the_thirty_second_packet_or_after_the_delay() {
    let (mut received, now) = received();
    for number in 0..31 {
        received.note(now, number, true, false);
    }
    assert!(received.is_pending() && !received.is_due(now));
    assert_eq!(received.due_at(), Some(now + DELAY));
    assert!(received.is_due(now + DELAY));
    received.note(now, 31, true, false);
    assert!(received.is_due(now));
    received.sent();
    assert!(!received.is_pending() && received.due_at().is_none());
}

#[test]
fn what_elicits_nothing_makes_nothing_due() {
    let (mut received, now) = received();
    for number in [0, 1, 7, 3] {
        received.note(now, number, false, false);
    }
    assert!(!received.is_pending() && received.due_at().is_none());
    assert_eq!(received.largest(), Some(7));
}

#[test]
fn a_ping_is_acknowledged_at_once() {
    let (mut received, now) = received();
    received.note(now, 0, true, true);
    assert!(received.is_due(now));
}

#[test]
fn a_gap_is_told_at_once_and_again_behind_three_packets() {
    let (mut received, now) = received();
    received.note(now, 0, true, false);
    received.note(now, 2, true, false);
    assert!(received.is_due(now));
    received.sent();
    received.note(now, 3, true, false);
    assert!(!received.is_due(now));
    received.note(now, 4, true, false);
    assert!(received.is_due(now));
    received.sent();
    for number in 5..36 {
        received.note(now, number, true, false);
        assert!(!received.is_due(now));
    }
}

#[test]
fn a_long_reordering_costs_no_acknowledgement_a_packet() {
    let (mut received, now) = received();
    let mut acks = 0;
    for pair in 0..1000 {
        for number in [2 * pair + 1, 2 * pair] {
            received.note(now, number, true, false);
            if received.is_due(now) {
                acks += 1;
                received.sent();
            }
        }
    }
    assert!((100..=500).contains(&acks), "{acks} acknowledgements for 2,000 packets");
}

#[test]
fn two_lost_in_a_hundred_cost_few_acknowledgements() {
    let (mut received, now) = received();
    let mut acks = 0;
    for number in (0..100_000).filter(|number| number % 50 != 0) {
        received.note(now, number, true, false);
        if received.is_due(now) {
            acks += 1;
            received.sent();
        }
    }
    assert!(acks < 8_000, "{acks} acknowledgements for 98,000 packets");
}

#[test]
fn only_the_newest_64_ranges_are_kept() {
    let (mut received, now) = received();
    for number in 0..1000 {
        received.note(now, 2 * number, true, false);
    }
    let ranges = ranges(&received);
    assert_eq!(ranges.len(), 64);
    assert_eq!((ranges[0], ranges[63]), ((1998, 1998), (1872, 1872)));
    assert!(received.is_duplicate(0) && !received.is_duplicate(1));
}

#[test]
fn what_the_peer_knows_is_not_repeated_but_still_seen() {
    let (mut received, now) = received();
    for number in [0, 1, 2, 5, 6, 9, 10, 11] {
        received.note(now, number, true, false);
    }
    received.forget_below(10);
    assert_eq!(ranges(&received), [(10, 11)]);
    received.forget_below(50);
    assert_eq!(ranges(&received), [(11, 11)]);
    assert!(received.is_duplicate(5) && !received.is_duplicate(4));
    received.note(now, 4, true, false);
    assert_eq!(ranges(&received), [(11, 11), (4, 4)]);
}

#[test]
fn at_least_4096_numbers_below_the_largest_are_remembered_and_lower_ones_count_as_seen() {
    let (mut received, now) = received();
    received.note(now, 100_000, true, false);
    assert!((100_000 - 4096..100_000).all(|number| !received.is_duplicate(number)));
    assert!((0..100_000 - 9000).all(|number| received.is_duplicate(number)));
}

#[test]
fn the_ends_of_the_number_space_are_taken() {
    let (mut received, now) = received();
    for number in [0, u64::MAX, u64::MAX - 1, 3, u64::MAX - 3] {
        received.note(now, number, true, false);
        assert!(received.is_duplicate(number));
    }
    assert_eq!(ranges(&received)[0], (u64::MAX - 1, u64::MAX));
    let mut above = u64::MAX;
    for range in received.ranges() {
        assert!(above - range.end() <= MAX_SPAN);
        above = *range.start();
    }
}

#[test]
fn the_delay_counts_from_the_largest() {
    let (mut received, now) = received();
    received.note(now, 5, true, false);
    received.note(now + Duration::from_micros(70), 2, true, false);
    assert_eq!(received.delay_us(now + Duration::from_micros(100)), 100);
    assert_eq!(received.delay_us(now - Duration::from_micros(100)), 0);
    assert_eq!(received.delay_us(now + Duration::from_secs(100_000)), u32::MAX);
}

proptest! {
    #[test]
    fn ranges_hold_exactly_what_was_received(numbers in prop::collection::vec(0u64..96, 1..200)) {
        let (mut received, now) = received();
        let mut model = BTreeSet::new();
        for number in numbers {
            prop_assert_eq!(received.is_duplicate(number), model.contains(&number));
            received.note(now, number, true, false);
            model.insert(number);
            let told: BTreeSet<u64> = received.ranges().flatten().collect();
            prop_assert_eq!(&told, &model);
            let ranges = ranges(&received);
            prop_assert!(ranges.windows(2).all(|pair| pair[1].1 + 1 < pair[0].0));
        }
    }

    #[test]
    fn no_number_is_new_twice(numbers in prop::collection::vec(0u64..40_000, 1..500)) {
        let (mut received, now) = received();
        let mut model = BTreeSet::new();
        for number in numbers {
            if !received.is_duplicate(number) {
                prop_assert!(model.insert(number));
            }
            received.note(now, number, true, false);
            model.insert(number);
            prop_assert!(received.is_duplicate(number));
        }
    }
}
