//! A peer that lies.

use proptest::prelude::*;

use super::*;

fn memory(streams: &Streams) -> usize {
    let receiving: usize = streams.streams.values().map(|stream| stream.recv.memory()).sum();
    let queues = streams.session.events.len() + streams.session.control.len();
    receiving + queues * 16 + streams.streams.len() * 2 * size_of::<Stream>()
}

fn victim(config: &Config) -> Streams {
    let mut streams = Streams::new(1, config);
    streams.set_peer_limits(limits(config));
    streams
}

#[test]
fn every_second_byte_is_refused_before_it_costs_much() {
    let config = Config::default();
    let mut streams = victim(&config);
    let sent = (0..1_000_000).find(|n| {
        let frame = Frame::Stream {
            stream: (n % 4 * 2) as u32,
            offset: 1 + n / 4 * 2,
            end: false,
            data: b"x",
        };
        streams.receive(&frame).is_err()
    });
    assert!(sent.unwrap() > 4096);
    assert!(memory(&streams) < 4 << 20, "{}", memory(&streams));
}

#[test]
fn tiny_frames_that_nobody_reads_cost_a_few_times_the_window() {
    let config = Config { max_data: 1 << 20, max_stream_data: 1 << 19, ..Config::default() };
    for placed in [false, true] {
        let mut streams = victim(&config);
        let mut most = 0;
        // Every second byte of a stretch, then the others, and so on.
        'all: for stretch in 0u64.. {
            for half in [1, 0] {
                for n in 0..100u64 {
                    for stream in (0..64).step_by(2) {
                        let offset = stretch * 200 + n * 2 + half;
                        let frame = if placed {
                            Frame::Placed { stream, offset: offset * 3, data: b"x" }
                        } else {
                            Frame::Stream { stream, offset, end: false, data: b"x" }
                        };
                        if streams.receive(&frame).is_err() {
                            break 'all;
                        }
                    }
                }
                most = most.max(memory(&streams));
            }
        }
        assert!(most < 24 << 20, "placed {placed}: {most}");
    }
}

#[test]
fn a_byte_in_each_block_of_each_stream_does_not_cost_a_block_each() {
    let config = Config::default();
    let mut streams = victim(&config);
    let block = 256 << 10;
    let data = vec![0; 1 << 10];
    for stream in (0..512).step_by(2) {
        for n in 0..300 {
            // The first block and a half make it look like somebody who sends much.
            let frame = Frame::Placed { stream, offset: n << 10, data: &data };
            streams.receive(&frame).unwrap();
            while let Some(Chunk::Data { data, .. }) = streams.read(StreamId(stream)) {
                streams.consumed(StreamId(stream), data.len() as u64);
            }
            if streams.wants_transmit() {
                streams.emit(&mut [0; 1000], &mut Contents::default());
            }
        }
    }
    for n in 10..110 {
        for stream in (0..512).step_by(2) {
            let frame = Frame::Placed { stream, offset: n * block + block - 1, data: b"x" };
            streams.receive(&frame).unwrap();
        }
    }
    assert!(memory(&streams) < 60 << 20, "{}", memory(&streams));
}

#[test]
fn many_short_streams_leave_nothing_behind() {
    let mut pair = Pair::new(&config());
    for round in 0..20_000 {
        let id = pair.sides[0].open().unwrap();
        assert_eq!(id.0, round * 2);
        pair.sides[0].finish(id).unwrap();
        if round % 3 == 0 {
            pair.sides[0].stop(id, 1);
        }
        pair.exchange();
        pair.sides[1].reset(id, 5);
        pair.read(1, id);
        pair.exchange();
        pair.read(0, id);
        pair.events(0);
        pair.events(1);
        pair.exchange();
        pair.assert_drained(0);
        pair.assert_drained(1);
    }
}

/// Small numbers that meet each other often, and large ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        160 => 0..40u64,
        80 => (0..40u64).prop_map(|n| n * 1000),
        20 => (256 << 10) - 20..(256 << 10) + 20u64,
        1 => any::<u64>(),
        1 => Just(u64::MAX >> 1),
    ]
}

#[derive(Clone, Debug)]
enum Move {
    Data { placed: bool, end: bool, stream: u32, offset: u64, length: usize },
    Frame(Frame<'static>),
    Read(u32),
    Stop(u32),
    Reset(u32),
    Write(u32, u64),
    Finish(u32),
    Emit(usize),
    Lose,
    Acknowledge,
}

fn a_move() -> impl Strategy<Value = Move> {
    let stream = || prop_oneof![400 => 0..4u32, 1 => Just(77), ];
    prop_oneof![
        10 => (prop::bool::weighted(0.01), prop::bool::weighted(0.1), stream(), number(), 0..1500usize).prop_map(
            |(placed, end, stream, offset, length)| {
                let offset = offset.min(u64::MAX - length as u64);
                // Either kind has streams of its own, most of the time.
                Move::Data { placed: placed ^ (stream % 4 > 1), end, stream, offset, length }
            }
        ),
        3 => prop_oneof![
            (stream(), number()).prop_map(|(stream, total)| Frame::PlacedEnd { stream, total }),
            number().prop_map(Frame::MaxData),
            (stream(), number()).prop_map(|(stream, max)| Frame::MaxStreamData { stream, max }),
            any::<u32>().prop_map(Frame::MaxStreams),
            (stream(), number())
                .prop_map(|(stream, total)| Frame::ResetStream { stream, code: 1, total }),
            stream().prop_map(|stream| Frame::StopSending { stream, code: 2 }),
        ]
        .prop_map(Move::Frame),
        3 => stream().prop_map(Move::Read),
        1 => stream().prop_map(Move::Stop),
        1 => stream().prop_map(Move::Reset),
        3 => (stream(), number()).prop_map(|(stream, offset)| Move::Write(stream, offset)),
        1 => stream().prop_map(Move::Finish),
        5 => (0..1500usize).prop_map(Move::Emit),
        2 => Just(Move::Lose),
        2 => Just(Move::Acknowledge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_frames_and_calls_panics(
        moves in prop::collection::vec(a_move(), 0..200),
        window in prop_oneof![1 => Just(0u64), 5 => Just(3000), 10 => Just(600_000)],
    ) {
        let config = Config {
            max_data: window * 2,
            max_stream_data: window,
            max_streams: 5,
            send_buffer: 5000,
            ..Config::default()
        };
        let mut streams = victim(&config);
        let _ = (streams.open(), streams.open());
        let zeros = [0; 1500];
        let mut under_way = std::collections::VecDeque::new();
        for step in moves {
            let taken = match step {
                Move::Data { placed: true, stream, offset, length, .. } => {
                    streams.receive(&Frame::Placed { stream, offset, data: &zeros[..length] })
                }
                Move::Data { end, stream, offset, length, .. } => {
                    streams.receive(&Frame::Stream { stream, offset, end, data: &zeros[..length] })
                }
                Move::Frame(frame) => streams.receive(&frame),
                Move::Read(stream) => {
                    if let Some(Chunk::Data { data, .. }) = streams.read(StreamId(stream)) {
                        streams.consumed(StreamId(stream), data.len() as u64 * 2);
                    }
                    Ok(())
                }
                Move::Stop(stream) => { streams.stop(StreamId(stream), 3); Ok(()) }
                Move::Reset(stream) => { streams.reset(StreamId(stream), 4); Ok(()) }
                Move::Write(stream, offset) => {
                    let data = Bytes::from_static(&[1; 700]);
                    if stream & 4 == 0 {
                        let _ = streams.write(StreamId(stream), data);
                    } else {
                        let _ = streams.write_at(StreamId(stream), offset, data);
                    }
                    Ok(())
                }
                Move::Finish(stream) => { let _ = streams.finish(StreamId(stream)); Ok(()) }
                Move::Emit(size) => {
                    let wanted = streams.wants_transmit();
                    let mut buffer = vec![0; size];
                    let mut contents = Contents::default();
                    let length = streams.emit(&mut buffer, &mut contents);
                    assert!(size < 100 || wanted == (length > 0));
                    assert_eq!(length > 0, !contents.is_empty());
                    assert!(Frames::new(&buffer[..length]).all(|frame| frame.is_ok()));
                    under_way.push_back(contents);
                    Ok(())
                }
                Move::Lose => {
                    if let Some(contents) = under_way.pop_front() {
                        contents.iter().for_each(|content| streams.lost(content));
                        // And yet it may have arrived.
                        under_way.push_back(contents);
                    }
                    Ok(())
                }
                Move::Acknowledge => {
                    if let Some(contents) = under_way.pop_front() {
                        contents.iter().for_each(|content| streams.acknowledged(content));
                    }
                    Ok(())
                }
            };
            while streams.poll_event().is_some() {}
            if taken.is_err() {
                break;
            }
        }
        prop_assert!(memory(&streams) < 10 << 20);
    }
}
