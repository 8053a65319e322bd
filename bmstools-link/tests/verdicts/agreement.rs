//! The program in the kernel decides as the same code does in userspace.

use std::cell::RefCell;

use bmstools_common::classify::{Verdict, check_framing, classify};
use bmstools_common::counters::Counter;
use bmstools_common::header::{Dialect, Framing, VERSION_2};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::bench::{Bench, ENTRIES, LOCAL, PEER};
use crate::frame::{DIALECTS, Frame, vlans};
use crate::v2;

/// The key of the sessions that live, one of each version on every VLAN.
const LIVE: u16 = 1;

fn frames() -> impl Strategy<Value = (Vec<u8>, Dialect)> {
    let data = prop::collection::vec(any::<u8>(), 0..80);
    let key = select(&[0, LIVE, 2][..]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let cut = prop::option::weighted(0.3, any::<prop::sample::Index>());
    let kind = (select(&DIALECTS[..]), select(vlans().to_vec()), key, any::<bool>());
    let version_2 = prop::option::of(0..7_u8);
    let choice = (kind, version_2, data, changes, cut);
    choice.prop_map(|((dialect, vlan, key, open), version_2, data, changes, cut)| {
        let mut bytes = match version_2 {
            Some(ptype) => v2::frame(vlan, ptype, key, &data),
            None => {
                let mut frame = Frame::data(dialect, vlan, key, &data);
                if open {
                    frame.header.ptype = 0;
                }
                frame.bytes()
            }
        };
        for (at, value) in changes {
            // Not the address: nearly all frames would be for somebody else.
            let at = 12 + at.index(bytes.len() - 12);
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(14 + cut.index(bytes.len() - 14));
        }
        (bytes, dialect)
    })
}

/// What the program must count for `frame`.
fn expected(frame: &[u8], dialect: Dialect) -> Counter {
    let ours = match classify(frame, LOCAL) {
        Verdict::NotOurs => return Counter::Passed,
        Verdict::NotAddressed => return Counter::NotAddressed,
        Verdict::Malformed(error) => return error.into(),
        Verdict::Ours(ours) => ours,
    };
    let Some(key) = ours.session else { return Counter::Open };
    let [.., version] = key.to_bytes();
    if key.local_key() != LIVE || !vlans().contains(&ours.peer.vlan) {
        return Counter::NoSession;
    }
    if ours.peer.mac != PEER {
        return Counter::NoSession;
    }
    let framing = if version == VERSION_2 { Framing::V2 } else { dialect.into() };
    match check_framing(frame, &ours, framing) {
        Ok(()) => Counter::SessionViaRing,
        Err(error) => error.into(),
    }
}

#[test]
fn kernel_and_userspace_decide_alike_on_any_frame() {
    for entry in ENTRIES {
        let bench = RefCell::new(Bench::new(entry));
        let config = Config { cases: 1500, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let done = runner.run(&frames(), |(frame, dialect)| {
            let mut bench = bench.borrow_mut();
            for vlan in vlans() {
                bench.insert(vlan, LIVE, dialect);
                bench.insert(vlan, LIVE, Framing::V2);
            }
            prop_assert_eq!(bench.verdict(&frame), expected(&frame, dialect));
            bench.drain();
            Ok(())
        });
        if let Err(error) = done {
            panic!("{entry:?}: {error}");
        }
        let bench = bench.into_inner();
        for counter in [
            Counter::Passed,
            Counter::Open,
            Counter::SessionViaRing,
            Counter::NoSession,
            Counter::Truncated,
            Counter::Version,
            Counter::PacketType,
            Counter::DataLength,
        ] {
            assert_ne!(bench.count(counter), 0, "no frame was {}", counter.name());
        }
    }
}
