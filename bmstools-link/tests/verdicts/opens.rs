//! The limits on opens.

use std::thread;
use std::time::Duration;

use bmstools_common::Mac;
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Vlan;
use bmstools_common::header::Dialect;
use bmstools_common::maps::{OPEN_BUCKETS_CAPACITY, Rate};

use crate::bench::{Bench, ENTRIES, UNLIMITED};
use crate::frame::Frame;

const HOUR_NS: u64 = 3_600_000_000_000;

fn open_from(source: u32) -> Vec<u8> {
    let [a, b, c, d] = source.to_be_bytes();
    let frame = Frame::open(Dialect::V1, Vlan::NONE);
    Frame { source: Mac([2, 0, a, b, c, d]), ..frame }.bytes()
}

#[test]
fn a_source_opens_its_burst_and_no_more_whatever_others_do() {
    let rate = Rate { interval_ns: HOUR_NS, burst: 3 };
    for entry in ENTRIES {
        let mut bench = Bench::with_rates(entry, rate, UNLIMITED);
        for source in 1..5 {
            for _ in 0..3 {
                assert_eq!(bench.verdict(&open_from(source)), Counter::Open);
            }
            for _ in 0..3 {
                assert_eq!(bench.verdict(&open_from(source)), Counter::OpenRateSource);
            }
        }
        assert_eq!(bench.drain().len(), 4 * 3);
    }
}

#[test]
fn all_sources_together_open_the_global_burst_and_no_more() {
    let rate = Rate { interval_ns: HOUR_NS, burst: 5 };
    for entry in ENTRIES {
        let mut bench = Bench::with_rates(entry, UNLIMITED, rate);
        for source in 0..5 {
            assert_eq!(bench.verdict(&open_from(source)), Counter::Open);
        }
        for source in 0..5 {
            assert_eq!(bench.verdict(&open_from(source)), Counter::OpenRateGlobal);
        }
    }
}

#[test]
fn tokens_come_back_with_time() {
    let rate = Rate { interval_ns: 200_000_000, burst: 1 };
    for entry in ENTRIES {
        for (per_source, global) in [(rate, UNLIMITED), (UNLIMITED, rate)] {
            let mut bench = Bench::with_rates(entry, per_source, global);
            assert_eq!(bench.verdict(&open_from(1)), Counter::Open);
            thread::sleep(Duration::from_millis(250));
            assert_eq!(bench.verdict(&open_from(1)), Counter::Open);
        }
    }
}

#[test]
fn more_sources_than_are_remembered_never_shut_a_new_one_out() {
    let rate = Rate { interval_ns: HOUR_NS, burst: 1 };
    let mut bench = Bench::with_rates(ENTRIES[0], rate, UNLIMITED);
    for source in 0..3 * OPEN_BUCKETS_CAPACITY {
        bench.run(&open_from(source));
        if source % 1000 == 0 {
            bench.drain();
        }
    }
    assert_eq!(bench.count(Counter::Open), u64::from(3 * OPEN_BUCKETS_CAPACITY));
}

#[test]
fn frames_of_a_session_take_no_token() {
    let none = Rate { interval_ns: HOUR_NS, burst: 0 };
    for entry in ENTRIES {
        let mut bench = Bench::with_rates(entry, none, none);
        bench.insert(Vlan::NONE, 1, Dialect::V1);
        assert_eq!(bench.verdict(&open_from(1)), Counter::OpenRateSource);
        let frame = Frame::data(Dialect::V1, Vlan::NONE, 1, b"x");
        assert_eq!(bench.verdict(&frame.bytes()), Counter::SessionViaRing);
    }
}
