use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;

fn parse(bytes: &[u8]) -> Vec<Result<Frame<'_>, Malformed>> {
    Frames::new(bytes).collect()
}

fn emitted(frame: &Frame<'_>) -> Vec<u8> {
    let mut buffer = vec![0xaa; frame.len() + 3];
    let length = frame.emit(&mut buffer);
    assert_eq!(length, frame.len());
    assert_eq!(buffer[length..], [0xaa; 3], "it wrote past its length");
    buffer.truncate(length);
    buffer
}

#[test]
fn a_stream_frame_stands_on_the_wire_as_documented() {
    let frame =
        Frame::Stream { stream: 0x01020304, offset: 0x05060708090a0b0c, end: true, data: b"hi" };
    let bytes = [5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 2, b'h', b'i'];
    assert_eq!(emitted(&frame), bytes);
    assert_eq!(bytes.len(), Frame::STREAM_HEADER + 2);
}

#[test]
fn an_ack_stands_on_the_wire_as_documented() {
    let mut buffer = [0; 64];
    let length = emit_ack([9..=10, 5..=7, 1..=1].into_iter(), 3, 4, &mut buffer);
    #[rustfmt::skip]
    let bytes = [
        2, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1, 2,
        0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 1,
    ];
    assert_eq!(buffer[..length], bytes);
    let Some(Ok(Frame::Ack(ack))) = Frames::new(&buffer[..length]).next() else { panic!() };
    assert_eq!((ack.largest, ack.delay_us, ack.credit, ack.first), (10, 3, 4, 1));
    assert_eq!(ack.iter().collect::<Vec<_>>(), [9..=10, 5..=7, 1..=1]);
}

#[test]
fn padding_ends_a_packet_and_is_zero() {
    assert_eq!(parse(&[]), []);
    assert_eq!(parse(&[0; 40]), []);
    assert_eq!(parse(&[1, 0, 0, 0]), [Ok(Frame::Ping)]);
    let mut bytes = [0; 40];
    for at in 1..40 {
        bytes[at] = 1;
        assert_eq!(parse(&bytes), [Err(Malformed)], "at {at}");
        bytes[at] = 0;
    }
}

#[test]
fn nothing_is_read_behind_an_error() {
    assert_eq!(parse(&[1, 15, 1, 1]), [Ok(Frame::Ping), Err(Malformed)]);
    assert_eq!(parse(&[10, 0, 0, 0]), [Err(Malformed)]);
}

fn ack(largest: u64, first: u32, pairs: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![2];
    bytes.extend(largest.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(first.to_be_bytes());
    bytes.push(pairs.len() as u8);
    for (gap, length) in pairs {
        bytes.extend(gap.to_be_bytes());
        bytes.extend(length.to_be_bytes());
    }
    bytes
}

#[test]
fn acks_that_make_no_sense_are_refused() {
    for (good, bytes) in [
        (true, ack(5, 5, &[])),
        (false, ack(5, 6, &[])),
        (true, ack(5, 1, &[(1, 3)])),
        (false, ack(5, 1, &[(2, 3)])),
        (false, ack(5, 1, &[(0, 1)])),
        (false, ack(5, 1, &[(1, 0)])),
        (false, ack(u64::from(u32::MAX), 0, &[(u32::MAX, u32::MAX)])),
        (true, ack(1000, 0, &[(1, 1); 64])),
        (false, ack(1000, 0, &[(1, 1); 65])),
    ] {
        assert_eq!(parse(&bytes)[0].is_ok(), good, "{bytes:?}");
    }
}

#[test]
fn data_beyond_the_end_of_numbers_is_refused() {
    let mut bytes = emitted(&Frame::Stream { stream: 0, offset: 7, end: false, data: b"ab" });
    bytes[5..13].copy_from_slice(&(u64::MAX - 2).to_be_bytes());
    assert!(parse(&bytes)[0].is_ok());
    bytes[5..13].copy_from_slice(&(u64::MAX - 1).to_be_bytes());
    assert_eq!(parse(&bytes), [Err(Malformed)]);
    let mut bytes = emitted(&Frame::Crypto { offset: 7, data: b"ab" });
    bytes[1..5].copy_from_slice(&(u32::MAX - 1).to_be_bytes());
    assert_eq!(parse(&bytes), [Err(Malformed)]);
}

#[test]
fn a_reason_is_cut_to_what_a_close_carries() {
    let reason = "ä".repeat(200);
    let bytes = emitted(&Frame::Close { code: 4, reason: &reason });
    assert_eq!(parse(&bytes), [Ok(Frame::Close { code: 4, reason: &reason[..256] })]);
    let long = format!("a{reason}");
    let bytes = emitted(&Frame::Close { code: 4, reason: &long });
    assert_eq!(parse(&bytes), [Ok(Frame::Close { code: 4, reason: &long[..255] })]);
    let mut bytes = vec![14, 0, 0, 0, 4, 1, 1];
    bytes.extend([b'x'; 257]);
    assert_eq!(parse(&bytes), [Err(Malformed)], "257 bytes");
    assert_eq!(parse(&[14, 0, 0, 0, 4, 0, 1, 0xff]), [Err(Malformed)], "not UTF-8");
}

#[test]
fn an_ack_that_has_no_room_is_left_out_or_shortened() {
    let ranges = || (0..100u64).rev().map(|n| n * 10..=n * 10 + 3);
    assert_eq!(emit_ack(ranges(), 0, 0, &mut [0; 21]), 0);
    assert_eq!(emit_ack(std::iter::empty(), 0, 0, &mut [0; 100]), 0);
    for (room, count) in [(22, 1), (29, 1), (30, 2), (1500, 65)] {
        let mut buffer = vec![0; room];
        let length = emit_ack(ranges(), 0, 0, &mut buffer);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&buffer[..length]).next() else { panic!() };
        assert_eq!(ack.iter().collect::<Vec<_>>(), ranges().take(count).collect::<Vec<_>>());
    }
}

#[test]
fn ranges_too_long_for_the_wire_are_shortened_to_what_is_true() {
    let mut buffer = [0; 100];
    let far = 1 << 40;
    for ranges in [vec![0..=far], vec![far..=far, 0..=3], vec![far..=far, 0..=far - 2]] {
        let length = emit_ack(ranges.iter().cloned(), 0, 0, &mut buffer);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&buffer[..length]).next() else { panic!() };
        for range in ack.iter() {
            assert!(ranges.iter().any(|r| r.contains(range.start()) && r.contains(range.end())));
        }
    }
}

/// A frame that owns its bytes.
#[derive(Clone, Debug)]
enum Owned {
    Fixed(Frame<'static>),
    Ack { start: u64, delay: u32, credit: u32, first: u32, pairs: Vec<(u32, u32)> },
    Crypto(u32, Vec<u8>),
    Stream(u32, u64, bool, Vec<u8>),
    Placed(u32, u64, Vec<u8>),
    Close(u32, String),
}

impl Owned {
    fn with<R>(&self, use_it: impl FnOnce(Frame<'_>) -> R) -> R {
        match self {
            Self::Fixed(frame) => use_it(*frame),
            Self::Ack { start, delay, credit, first, pairs } => {
                let below: u64 = pairs.iter().map(|(g, l)| u64::from(*g) + u64::from(*l)).sum();
                let mut ranges = Vec::new();
                for (gap, length) in pairs {
                    ranges.extend(gap.to_be_bytes());
                    ranges.extend(length.to_be_bytes());
                }
                use_it(Frame::Ack(Ack {
                    largest: start + below + u64::from(*first),
                    delay_us: *delay,
                    credit: *credit,
                    first: *first,
                    ranges: &ranges,
                }))
            }
            Self::Crypto(offset, data) => use_it(Frame::Crypto { offset: *offset, data }),
            Self::Stream(stream, offset, end, data) => {
                use_it(Frame::Stream { stream: *stream, offset: *offset, end: *end, data })
            }
            Self::Placed(stream, offset, data) => {
                use_it(Frame::Placed { stream: *stream, offset: *offset, data })
            }
            Self::Close(code, reason) => use_it(Frame::Close { code: *code, reason }),
        }
    }
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..3000)]
}

fn frame() -> impl Strategy<Value = Owned> {
    prop_oneof![
        prop_oneof![
            Just(Frame::Ping),
            Just(Frame::HandshakeDone),
            any::<(u32, u64)>().prop_map(|(stream, total)| Frame::PlacedEnd { stream, total }),
            any::<u64>().prop_map(Frame::MaxData),
            any::<(u32, u64)>().prop_map(|(stream, max)| Frame::MaxStreamData { stream, max }),
            any::<u32>().prop_map(Frame::MaxStreams),
            any::<(u32, u32, u64)>().prop_map(|(stream, code, total)| Frame::ResetStream {
                stream,
                code,
                total
            }),
            any::<(u32, u32)>().prop_map(|(stream, code)| Frame::StopSending { stream, code }),
        ]
        .prop_map(Owned::Fixed),
        (
            0..1u64 << 60,
            any::<(u32, u32, u32)>(),
            prop::collection::vec((1..=u32::MAX, 1..=u32::MAX), 0..=MAX_ACK_RANGES)
        )
            .prop_map(|(start, (delay, credit, first), pairs)| Owned::Ack {
                start,
                delay,
                credit,
                first,
                pairs
            }),
        (0..=u32::MAX - 3000, data()).prop_map(|(offset, data)| Owned::Crypto(offset, data)),
        (any::<u32>(), 0..=u64::MAX - 3000, any::<bool>(), data())
            .prop_map(|(stream, offset, end, data)| Owned::Stream(stream, offset, end, data)),
        (any::<u32>(), 0..=u64::MAX - 3000, data())
            .prop_map(|(stream, offset, data)| Owned::Placed(stream, offset, data)),
        (any::<u32>(), "\\PC{0,60}").prop_map(|(code, reason)| Owned::Close(code, reason)),
    ]
}

fn packet() -> impl Strategy<Value = Vec<Owned>> {
    prop::collection::vec(frame(), 0..6)
}

fn written(frames: &[Owned]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.with(|frame| emitted(&frame))).collect()
}

proptest! {
    #[test]
    fn every_frame_comes_back_as_it_was(frames in packet(), padding in 0..50usize) {
        let mut bytes = written(&frames);
        bytes.resize(bytes.len() + padding, 0);
        let parsed = parse(&bytes);
        prop_assert_eq!(parsed.len(), frames.len());
        for (parsed, frame) in parsed.iter().zip(&frames) {
            frame.with(|frame| assert_eq!(*parsed, Ok(frame)));
        }
    }

    #[test]
    fn a_packet_cut_anywhere_errs_or_has_fewer_frames(frames in packet(), at in any::<prop::sample::Index>()) {
        let bytes = written(&frames);
        prop_assume!(!bytes.is_empty());
        let parsed = parse(&bytes[..at.index(bytes.len())]);
        let good = parsed.iter().filter(|frame| frame.is_ok()).count();
        prop_assert!(good < frames.len());
        for (parsed, frame) in parsed.iter().take(good).zip(&frames) {
            frame.with(|frame| assert_eq!(*parsed, Ok(frame)));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 0..20u8,
        bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..600),
    ) {
        let bytes = [&[kind], &bytes[..]].concat();
        for frame in Frames::new(&bytes) {
            let Ok(frame) = frame else { continue };
            if let Frame::Ack(ack) = frame {
                let mut below = u64::MAX;
                for range in ack.iter() {
                    assert!(range.start() <= range.end() && *range.end() <= below);
                    below = *range.start();
                }
            }
            assert_eq!(parse(&emitted(&frame)), [Ok(frame)]);
        }
    }

    #[test]
    fn ranges_come_back_as_they_were_sent(lengths in prop::collection::vec((2..1000u64, 1..1000u64), 1..60)) {
        let mut at = 1 << 20;
        let ranges: Vec<RangeInclusive<u64>> = lengths.iter().map(|(gap, length)| {
            let end = at - gap;
            at = end + 1 - length;
            at..=end
        }).collect();
        let mut buffer = [0; 1500];
        let length = emit_ack(ranges.iter().cloned(), 1, 2, &mut buffer);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&buffer[..length]).next() else { panic!() };
        prop_assert_eq!(ack.iter().collect::<Vec<_>>(), ranges);
    }
}
