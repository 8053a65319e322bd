//! The loaded program, and what one frame does to it.

use std::{env, fs};

use bmstools_common::Mac;
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::{Peer, Vlan};
use bmstools_common::header::Framing;
use bmstools_common::maps::{Config, Rate, SessionKey};
use bmstools_link::{Entry, OBJECT, Program};

/// The address of the interface that frames are for.
pub(crate) const LOCAL: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);
/// The address that frames are from.
pub(crate) const PEER: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 2]);
/// Both entries of the program.
pub(crate) const ENTRIES: [Entry; 2] = [Entry::Frags, Entry::Linear];

/// A rate that no test reaches.
pub(crate) const UNLIMITED: Rate = Rate { interval_ns: 0, burst: 1 };

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// The program, and how many frames it was given.
pub(crate) struct Bench {
    pub(crate) program: Program,
    frames: u64,
}

impl Bench {
    pub(crate) fn new(entry: Entry) -> Self {
        Self::with_rates(entry, UNLIMITED, UNLIMITED)
    }

    pub(crate) fn with_rates(entry: Entry, per_source: Rate, global: Rate) -> Self {
        let config = Config { local: LOCAL, per_source, global };
        let other = env::var_os("BMSTOOLS_XDP_OBJECT");
        let other = other.map(|path| fs::read(path).expect("BMSTOOLS_XDP_OBJECT can be read"));
        let program = match Program::load_object(other.as_deref().unwrap_or(OBJECT), entry, &config)
        {
            Ok(program) => program,
            Err(error) => panic!("these tests need root and BPF: {error}"),
        };
        Self { program, frames: 0 }
    }

    /// Lets the frames of a session of `PEER` through.
    pub(crate) fn insert(&mut self, vlan: Vlan, key: u16, framing: impl Into<Framing>) {
        let framing = framing.into();
        let key = SessionKey::new(Peer { mac: PEER, vlan }, framing.version(), key);
        self.program.insert_session(key, framing).expect("there is room for a session");
    }

    /// Runs the program on `frame` and returns what it counted. Checks that it
    /// counted exactly this, that the action fits, and that the frame is as before.
    pub(crate) fn verdict(&mut self, frame: &[u8]) -> Counter {
        let before = self.program.counters().expect("counters can be read");
        let (action, behind) = self.program.test_run(frame).expect("the frame can be tested");
        let after = self.program.counters().expect("counters can be read");
        assert_eq!(behind, frame, "the frame was changed");
        let changed: Vec<_> = Counter::ALL
            .iter()
            .copied()
            .filter(|&counter| after[counter as usize] != before[counter as usize])
            .collect();
        let &[counter] = changed.as_slice() else { panic!("counted {changed:?} for one frame") };
        assert_eq!(after[counter as usize], before[counter as usize] + 1);
        self.frames += 1;
        assert_eq!(after.iter().sum::<u64>(), self.frames, "a frame is not accounted for");
        let expected = match counter {
            Counter::Passed => XDP_PASS,
            Counter::Session => XDP_REDIRECT,
            _ => XDP_DROP,
        };
        assert_eq!(action, expected, "the action for {}", counter.name());
        counter
    }

    /// Runs the program without looking at the counters: for many frames.
    pub(crate) fn run(&mut self, frame: &[u8]) -> u32 {
        self.frames += 1;
        self.program.test_run(frame).expect("the frame can be tested").0
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.program.counters().expect("counters can be read")[counter as usize]
    }

    /// Takes everything out of the ring buffer.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while self.program.drain(64, &mut |frame| frames.push(frame.to_vec())) > 0 {}
        frames
    }
}
