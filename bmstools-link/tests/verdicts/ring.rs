//! What comes out of the ring buffer.

use std::sync::Mutex;
use std::thread;

use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Vlan;
use bmstools_common::header::Dialect;
use bmstools_common::maps::RING_CAPACITY;
use bmstools_common::maps::ring::{LONG_FRAME, SHORT_FRAME};
use bmstools_link::Entry;

use crate::bench::{Bench, ENTRIES};
use crate::frame::Frame;

/// The longest frame in one buffer that BPF_PROG_TEST_RUN makes: a page without
/// the room before and behind.
const ONE_BUFFER: usize = 3400;

fn frame_of(len: usize) -> Vec<u8> {
    let frame = Frame::data(Dialect::V1, Vlan::NONE, 1, &[]);
    let data = (0..).map(|at: usize| (at * 7 + len) as u8).take(len - frame.header_len());
    Frame { data: data.collect(), ..frame }.bytes()
}

#[test]
fn a_frame_of_any_length_comes_out_as_it_was() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        bench.insert(Vlan::NONE, 1, Dialect::V1);
        let longest = if entry == Entry::Linear { ONE_BUFFER } else { LONG_FRAME };
        let lengths = (28..300).chain([1513, 1514, 1515, 2047, 2048, 3000]);
        for len in lengths.chain(longest - 9..=longest) {
            let frame = frame_of(len);
            assert_eq!(bench.verdict(&frame), Counter::SessionViaRing, "{len} bytes");
            assert_eq!(bench.drain(), [frame], "{len} bytes, {entry:?}");
        }
    }
}

#[test]
fn frames_come_out_in_order_and_no_more_than_asked_for() {
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        bench.insert(Vlan::NONE, 1, Dialect::V1);
        let frames: Vec<_> = [50, 1514, 60, 121, 120, 2000].map(frame_of).to_vec();
        for frame in &frames {
            bench.run(frame);
        }
        let mut taken = Vec::new();
        assert_eq!(bench.program.drain(0, &mut |_| unreachable!("nothing was asked for")), 0);
        for expected in [4, 2, 0] {
            let count = bench.program.drain(4, &mut |frame| taken.push(frame.to_vec()));
            assert_eq!(count, expected);
        }
        assert_eq!(taken, frames);
    }
}

#[test]
fn a_frame_longer_than_a_record_is_dropped_and_counted() {
    let mut bench = Bench::new(Entry::Frags);
    bench.insert(Vlan::NONE, 1, Dialect::V1);
    assert_eq!(bench.verdict(&frame_of(LONG_FRAME)), Counter::SessionViaRing);
    assert_eq!(bench.verdict(&frame_of(LONG_FRAME + 1)), Counter::TooLong);
    assert_eq!(bench.verdict(&frame_of(9000)), Counter::TooLong);
    assert_eq!(bench.drain().len(), 1);
}

#[test]
fn the_deployed_length_of_a_frame_in_several_buffers_counts_all_of_them() {
    let mut bench = Bench::new(Entry::Frags);
    bench.insert(Vlan::NONE, 1, Dialect::V1Deployed);
    let frame = Frame::data(Dialect::V1Deployed, Vlan::NONE, 1, &[9; 8000]).bytes();
    assert_eq!(bench.verdict(&frame), Counter::TooLong);
    assert_eq!(bench.verdict(&frame[..frame.len() - 1]), Counter::DataLength);
}

/// Keeps what is logged.
struct Logged(Mutex<Vec<(thread::ThreadId, String)>>);

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push((thread::current().id(), line));
    }

    fn flush(&self) {}
}

static LOGGED: Logged = Logged(Mutex::new(Vec::new()));

#[test]
fn a_full_ring_drops_is_said_once_a_processor_and_takes_frames_again() {
    log::set_logger(&LOGGED).expect("no other test sets one");
    log::set_max_level(log::LevelFilter::Trace);
    for entry in ENTRIES {
        let mut bench = Bench::new(entry);
        let open = Frame::open(Dialect::V1, Vlan::NONE).bytes();
        // A record is its header, the kernel's header and room for a short frame.
        let records = RING_CAPACITY as usize / (8 + 8 + SHORT_FRAME);
        for _ in 0..records + 100 {
            bench.run(&open);
        }
        assert_eq!(bench.verdict(&open), Counter::RingFull);
        let (opens, full) = (bench.count(Counter::Open), bench.count(Counter::RingFull));
        assert_eq!(opens + full, records as u64 + 101);
        assert!(opens.abs_diff(records as u64) <= 1, "{opens} of {records} records");
        assert_eq!(bench.drain().len() as u64, opens);
        assert_eq!(bench.verdict(&open), Counter::Open);

        bench.program.flush_log();
        let own = thread::current().id();
        let said: Vec<_> = LOGGED.0.lock().unwrap().extract_if(.., |line| line.0 == own).collect();
        let full: Vec<_> = said.iter().filter(|(_, line)| line.contains("is full")).collect();
        let processors = thread::available_parallelism().unwrap().get();
        assert!((1..=processors).contains(&full.len()), "{said:?}");
        assert!(full.iter().all(|(_, line)| line.starts_with("WARN ")), "{said:?}");
    }
}
