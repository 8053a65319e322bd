//! Streams over a path that loses, reorders and repeats.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What one side does on one stream, in the order of doing.
#[derive(Clone, Debug)]
struct Plan {
    placed: bool,
    /// Lengths of pieces, and of the holes in front of them where placed.
    pieces: Vec<(usize, u64)>,
    priority: u8,
    /// Given up behind so many pieces.
    reset: Option<usize>,
    /// Not wanted behind so many chunks.
    stop: Option<usize>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let piece = prop_oneof![
        4 => (0..300usize, Just(0)),
        2 => (1000..60_000usize, Just(0)),
        2 => (0..3000usize, 0..400_000u64),
        1 => (200_000..400_000usize, 0..10u64),
    ];
    let sometimes = || prop_oneof![3 => Just(None), 1 => (0..4usize).prop_map(Some)];
    let pieces = prop::collection::vec(piece, 0..8);
    (any::<bool>(), pieces, 127..130u8, sometimes(), sometimes()).prop_map(
        |(placed, pieces, priority, reset, stop)| Plan { placed, pieces, priority, reset, stop },
    )
}

/// A simple generator, so that a run is its seed's.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn byte(stream: u32, position: u64) -> u8 {
    (position.wrapping_mul(31) >> 3) as u8 ^ position as u8 ^ (stream as u8).wrapping_mul(77)
}

/// One side's work on a stream.
struct Writer {
    id: StreamId,
    plan: Plan,
    next: usize,
    position: u64,
    finished: bool,
    /// Positions written, for placed ones.
    written: Vec<std::ops::Range<u64>>,
}

impl Writer {
    fn step(&mut self, streams: &mut Streams) {
        if self.finished {
            return;
        }
        if self.plan.reset == Some(self.next) {
            streams.reset(self.id, CODE);
            self.finished = true;
            return;
        }
        if streams.room(self.id) == 0 {
            return;
        }
        if let Some(&(length, hole)) = self.plan.pieces.get(self.next) {
            self.next += 1;
            if self.plan.placed {
                self.position += hole;
            }
            let range = self.position..self.position + length as u64;
            let data: Bytes = range.clone().map(|at| byte(self.id.0, at)).collect();
            if self.plan.placed {
                streams.write_at(self.id, self.position, data).unwrap();
            } else {
                streams.write(self.id, data).unwrap();
            }
            self.position = range.end;
            self.written.push(range);
        } else {
            streams.finish(self.id).unwrap();
            self.finished = true;
        }
    }
}

/// What one side has read of a stream.
#[derive(Default)]
struct Reader {
    data: BTreeMap<u64, Bytes>,
    ended: bool,
    /// Given up by either side.
    cut: bool,
    stop: Option<usize>,
}

fn run(plans: [Vec<Plan>; 2], loss: u64, size: u64, config: &Config, seed: u64) {
    let mut dice = Dice(seed);
    let mut pair = Pair::new(config);
    let mut waiting = plans.map(|mut plans| {
        plans.reverse();
        plans
    });
    let mut writers: [Vec<Writer>; 2] = Default::default();
    let mut readers: [BTreeMap<StreamId, Reader>; 2] = Default::default();
    let mut path: [Vec<Packet>; 2] = Default::default();
    let mut idle = 0;
    while idle < 50 {
        idle += 1;
        let hurry = idle > 5;
        for side in 0..2 {
            // The application.
            if let Some(plan) = waiting[side].pop() {
                match pair.sides[side].open() {
                    Ok(id) => {
                        pair.sides[side].set_priority(id, plan.priority);
                        // Nobody answers here: the other side ends its direction at once.
                        writers[side].push(Writer {
                            id,
                            plan,
                            next: 0,
                            position: 0,
                            finished: false,
                            written: Vec::new(),
                        });
                        readers[side].insert(id, Reader::default());
                    }
                    Err(error) => {
                        assert_eq!(error, StreamError::Limit);
                        waiting[side].push(plan);
                    }
                }
            }
            for event in pair.events(side) {
                match event {
                    StreamEvent::Opened(id) => {
                        // The stream's plan says how it is read.
                        let writer = writers[1 - side].iter().find(|writer| writer.id == id);
                        let stop = writer.unwrap().plan.stop;
                        pair.sides[side].finish(id).unwrap();
                        readers[side].insert(id, Reader { stop, ..Reader::default() });
                    }
                    StreamEvent::Stopped(id, code) => {
                        assert_eq!(code, CODE);
                        let writer = writers[side].iter_mut().find(|writer| writer.id == id);
                        writer.unwrap().finished = true;
                    }
                    _ => (),
                }
            }
            for writer in &mut writers[side] {
                if hurry || dice.roll(3) == 0 {
                    writer.step(&mut pair.sides[side]);
                }
            }
            if hurry || dice.roll(4) == 0 {
                for (id, reader) in &mut readers[side] {
                    if reader.stop.is_some_and(|stop| reader.data.len() >= stop) && !reader.ended {
                        pair.sides[side].stop(*id, CODE);
                        (reader.ended, reader.cut) = (true, true);
                    }
                    for chunk in pair.read(side, *id) {
                        assert!(!reader.ended);
                        match chunk {
                            Chunk::Data { offset, data } => {
                                assert!(!data.is_empty() && data.len() <= 256 << 10);
                                reader.data.insert(offset, data);
                            }
                            Chunk::End => reader.ended = true,
                            Chunk::Reset { code } => {
                                assert_eq!(code, CODE);
                                (reader.ended, reader.cut) = (true, true);
                            }
                        }
                        idle = 0;
                    }
                }
            }
            // The path.
            for _ in 0..dice.roll(40) {
                let room = 100 + dice.roll(size) as usize;
                let Some(packet) = pair.take(side, room) else { break };
                idle = 0;
                if dice.roll(100) < loss {
                    pair.lose(side, &packet);
                } else {
                    path[side].push(packet);
                }
            }
            let keep = if hurry { 0 } else { dice.roll(60) as usize };
            while path[side].len() > keep {
                idle = 0;
                let at =
                    if dice.roll(2) == 0 { 0 } else { dice.roll(path[side].len() as u64) as usize };
                let packet = path[side].remove(at);
                pair.deliver(1 - side, &packet);
                match dice.roll(20) {
                    0 if loss > 0 => {
                        // Found lost although it was not.
                        pair.lose(side, &packet);
                        if dice.roll(2) == 0 {
                            pair.acknowledge(side, &packet);
                        }
                    }
                    1 => {
                        pair.deliver(1 - side, &packet);
                        pair.acknowledge(side, &packet);
                    }
                    _ => pair.acknowledge(side, &packet),
                }
            }
        }
    }
    for side in 0..2 {
        assert!(waiting[side].is_empty() && path[side].is_empty());
        pair.assert_drained(side);
        for writer in &writers[side] {
            assert!(writer.finished);
            let reader = &readers[1 - side][&writer.id];
            assert!(reader.ended);
            assert!(!reader.cut || writer.plan.reset.is_some() || writer.plan.stop.is_some());
            let mut sent: Vec<u64> = writer.written.iter().cloned().flatten().collect();
            sent.sort_unstable();
            let mut read = Vec::new();
            for (offset, data) in &reader.data {
                for (position, value) in (*offset..).zip(data) {
                    assert_eq!(*value, byte(writer.id.0, position));
                    read.push(position);
                }
            }
            if reader.cut {
                assert!(read.iter().all(|position| sent.binary_search(position).is_ok()));
            } else {
                assert!(read == sent, "not the bytes that were written");
            }
        }
    }
}

fn small(max_stream_data: u64) -> Config {
    Config {
        max_data: max_stream_data * 2,
        max_stream_data,
        max_streams: 3,
        send_buffer: 100_000,
        ..Config::default()
    }
}

const CODE: u32 = 77;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        a in prop::collection::vec(plan(), 0..8),
        b in prop::collection::vec(plan(), 0..8),
        loss in prop_oneof![Just(0u64), 1..40u64],
        size in prop_oneof![Just(1u64), Just(1400), 1..3000u64],
        window in prop_oneof![Just(4096u64), Just(100_000), Just(8 << 20)],
        seed in any::<u64>(),
    ) {
        run([a, b], loss, size, &small(window), seed);
    }
}
