//! What is expected of streams one by one.

use super::*;

fn bytes(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn contents(packet: &Packet) -> Vec<Content> {
    packet.contents.clone()
}

/// The streams whose data a packet carries.
fn carried(packet: &Packet) -> Vec<StreamId> {
    let stream = |content: &Content| match *content {
        Content::Stream { stream, .. } | Content::Placed { stream, .. } => Some(stream),
        _ => None,
    };
    packet.contents.iter().filter_map(stream).collect()
}

fn read_all(chunks: &[Chunk]) -> Vec<u8> {
    let bytes = |chunk: &Chunk| match chunk {
        Chunk::Data { data, .. } => data.to_vec(),
        _ => Vec::new(),
    };
    chunks.iter().flat_map(bytes).collect()
}

#[test]
fn a_short_exchange_leaves_nothing_behind() {
    let mut pair = Pair::new(&config());
    let id = pair.sides[0].open().unwrap();
    assert_eq!(id, StreamId(0));
    pair.sides[0].write(id, Bytes::from_static(b"question")).unwrap();
    pair.sides[0].finish(id).unwrap();
    pair.exchange();
    assert_eq!(pair.events(1), [StreamEvent::Opened(id), StreamEvent::Readable(id)]);
    assert_eq!(pair.read(1, id), [data(0, b"question"), Chunk::End]);
    pair.sides[1].write(id, Bytes::from_static(b"answer")).unwrap();
    pair.sides[1].finish(id).unwrap();
    pair.exchange();
    assert_eq!(pair.events(0), [StreamEvent::Finished(id), StreamEvent::Readable(id)]);
    assert_eq!(pair.read(0, id), [data(0, b"answer"), Chunk::End]);
    assert_eq!(pair.events(1), [StreamEvent::Finished(id)]);
    pair.assert_drained(0);
    pair.assert_drained(1);
    assert_eq!(pair.sides[0].write(id, Bytes::new()), Err(StreamError::Closed));
}

#[test]
fn a_stream_that_was_finished_unwritten_is_empty() {
    let mut pair = Pair::new(&config());
    let id = pair.sides[1].open().unwrap();
    pair.sides[1].finish(id).unwrap();
    let packet = pair.take(1, 1450).unwrap();
    assert_eq!(packet.bytes.len(), Frame::STREAM_HEADER);
    pair.deliver(0, &packet);
    assert_eq!(pair.read(0, id), [Chunk::End]);
}

#[test]
fn an_empty_placed_direction_ends_at_once() {
    let mut pair = Pair::new(&config());
    let id = pair.sides[0].open().unwrap();
    pair.sides[0].write_at(id, 9, Bytes::new()).unwrap();
    pair.sides[0].finish(id).unwrap();
    let packet = pair.take(0, 1450).unwrap();
    assert_eq!(contents(&packet), [Content::PlacedEnd { stream: id }]);
    pair.deliver(1, &packet);
    assert_eq!(pair.read(1, id), [Chunk::End]);
}

#[test]
fn placed_data_comes_in_blocks_and_the_rest_at_the_end() {
    let mut pair = Pair::new(&Config::default());
    let id = pair.sides[0].open().unwrap();
    let block = bytes(256 << 10);
    pair.sides[0].write_at(id, 256 << 10, block.clone()).unwrap();
    pair.sides[0].write_at(id, 5, Bytes::from_static(b"begin")).unwrap();
    pair.sides[0].write_at(id, 20, Bytes::from_static(b"middle")).unwrap();
    pair.exchange();
    assert_eq!(pair.read(1, id), [Chunk::Data { offset: 256 << 10, data: block }]);
    pair.sides[0].finish(id).unwrap();
    pair.exchange();
    assert_eq!(pair.read(1, id), [data(5, b"begin"), data(20, b"middle"), Chunk::End]);
}

#[test]
fn a_file_of_holes_does_not_wait_for_its_end() {
    let config = Config { max_data: 4 << 20, max_stream_data: 1 << 20, ..Config::default() };
    let mut pair = Pair::new(&config);
    let id = pair.sides[0].open().unwrap();
    for n in 0..8 {
        pair.sides[0].write_at(id, n << 20, bytes(1000)).unwrap();
    }
    pair.exchange();
    // Six blocks may be open: the two oldest were handed up.
    let chunks = pair.read(1, id);
    let offsets: Vec<_> = chunks
        .iter()
        .map(|chunk| matches!(chunk, Chunk::Data { offset, .. } if *offset % (1 << 20) == 0))
        .collect();
    assert_eq!(offsets, [true, true]);
    assert_eq!(chunks[0], Chunk::Data { offset: 0, data: bytes(1000) });
}

#[test]
fn frames_of_a_batch_are_read_as_one() {
    let mut pair = Pair::new(&Config::default());
    let id = pair.sides[0].open().unwrap();
    let sent = bytes(4 << 20);
    let mut pieces = Vec::new();
    pair.sides[0].write(id, sent.clone()).unwrap();
    let mut read = Vec::new();
    let mut packets = 0;
    while let Some(packet) = pair.take(0, 1450) {
        pair.deliver(1, &packet);
        pair.acknowledge(0, &packet);
        packets += 1;
        if packets % 64 == 0 {
            let chunks = pair.read(1, id);
            pieces.push(chunks.len());
            read.extend(read_all(&chunks));
        }
    }
    read.extend(read_all(&pair.read(1, id)));
    assert!(read == sent);
    // The first takes the measure.
    assert!(pieces[1..].iter().all(|&pieces| pieces <= 2), "{pieces:?}");
}

#[test]
fn higher_priorities_go_first_and_equals_take_turns() {
    let mut pair = Pair::new(&config());
    let ids: Vec<_> = (0..4).map(|_| pair.sides[0].open().unwrap()).collect();
    pair.sides[0].set_priority(ids[3], 200);
    for &id in &ids[..2] {
        pair.sides[0].write(id, bytes(100_000)).unwrap();
    }
    pair.sides[0].write(ids[2], bytes(10)).unwrap();
    pair.sides[0].write(ids[3], bytes(5000)).unwrap();
    let order: Vec<_> =
        std::iter::from_fn(|| pair.take(0, 1000)).flat_map(|packet| carried(&packet)).collect();
    let turns: Vec<_> =
        order.chunk_by(|a, b| a == b).map(|turn| (turn[0], turn.len())).take(6).collect();
    assert_eq!(turns[0].0, ids[3]);
    assert_eq!(turns[1..], [(ids[0], 16), (ids[1], 16), (ids[2], 1), (ids[0], 16), (ids[1], 16)],);
}

#[test]
fn a_priority_holds_for_what_waits_already() {
    let mut pair = Pair::new(&config());
    let [a, b] = [(), ()].map(|()| pair.sides[0].open().unwrap());
    pair.sides[0].write(a, bytes(5000)).unwrap();
    pair.sides[0].write(b, bytes(5000)).unwrap();
    assert_eq!(carried(&pair.take(0, 1000).unwrap()), [a]);
    pair.sides[0].set_priority(b, 129);
    assert_eq!(carried(&pair.take(0, 1000).unwrap()), [b]);
    pair.sides[0].set_priority(b, 1);
    assert_eq!(carried(&pair.take(0, 1000).unwrap()), [a]);
}

#[test]
fn a_stream_stops_at_its_limit_until_the_reader_is_done_with_some() {
    let config = Config { max_data: 1 << 20, max_stream_data: 10_000, ..config() };
    for placed in [false, true] {
        let mut pair = Pair::new(&config);
        let id = pair.sides[0].open().unwrap();
        if placed {
            pair.sides[0].write_at(id, 1 << 40, bytes(30_000)).unwrap();
        } else {
            pair.sides[0].write(id, bytes(30_000)).unwrap();
        }
        pair.exchange();
        assert_eq!(pair.sides[0].session.sent(), 10_000);
        let Some(Chunk::Data { data, .. }) = pair.sides[1].read(id) else { panic!() };
        pair.exchange();
        assert_eq!(pair.sides[0].session.sent(), 10_000, "read, but not consumed");
        assert!(data.len() > 2500, "not enough for a new limit");
        pair.sides[1].consumed(id, data.len() as u64);
        pair.exchange();
        assert_eq!(pair.sides[0].session.sent(), 10_000 + data.len() as u64);
    }
}

#[test]
fn streams_stop_at_the_session_limit_together() {
    let config = Config { max_data: 10_000, max_stream_data: 9000, ..config() };
    let mut pair = Pair::new(&config);
    let [a, b] = [(), ()].map(|()| pair.sides[0].open().unwrap());
    pair.sides[0].write(a, bytes(9000)).unwrap();
    pair.sides[0].write(b, bytes(9000)).unwrap();
    pair.sides[0].finish(b).unwrap();
    pair.exchange();
    assert_eq!(pair.sides[0].session.sent(), 10_000);
    // A direction that ends without data is held up by nothing.
    let c = pair.sides[0].open().unwrap();
    pair.sides[0].finish(c).unwrap();
    pair.exchange();
    assert_eq!(pair.read(1, c), [Chunk::End]);
    assert_eq!(read_all(&pair.read(1, a)), bytes(9000));
    pair.exchange();
    let chunks = pair.read(1, b);
    assert_eq!(read_all(&chunks), bytes(9000));
    assert_eq!(chunks.last(), Some(&Chunk::End));
}

#[test]
fn what_is_lost_is_cut_to_smaller_frames() {
    let mut pair = Pair::new(&config());
    let [a, b] = [(), ()].map(|()| pair.sides[0].open().unwrap());
    pair.sides[0].write(a, bytes(6000)).unwrap();
    pair.sides[0].finish(a).unwrap();
    pair.sides[0].write_at(b, 7, bytes(3000)).unwrap();
    pair.sides[0].finish(b).unwrap();
    let packets: Vec<_> = std::iter::from_fn(|| pair.take(0, 1450)).collect();
    assert_eq!(pair.sides[0].retransmitted(), 0);
    for packet in &packets {
        pair.lose(0, packet);
    }
    while let Some(packet) = pair.take(0, 226) {
        assert!(packet.bytes.len() <= 226);
        pair.deliver(1, &packet);
        pair.acknowledge(0, &packet);
    }
    assert_eq!(pair.sides[0].retransmitted(), 9000);
    let chunks = pair.read(1, a);
    assert_eq!(read_all(&chunks), bytes(6000));
    assert_eq!(chunks.last(), Some(&Chunk::End));
    assert_eq!(pair.read(1, b), [Chunk::Data { offset: 7, data: bytes(3000) }, Chunk::End]);
    // Turns are of 16 frames, so the shorter one is done first.
    assert_eq!(pair.events(0), [StreamEvent::Finished(b), StreamEvent::Finished(a)]);
}

#[test]
fn what_arrived_after_all_is_not_sent_again() {
    for placed in [false, true] {
        let mut pair = Pair::new(&config());
        let id = pair.sides[0].open().unwrap();
        if placed {
            pair.sides[0].write_at(id, 7, bytes(3000)).unwrap();
        } else {
            pair.sides[0].write(id, bytes(3000)).unwrap();
        }
        let packets: Vec<_> = std::iter::from_fn(|| pair.take(0, 1015)).collect();
        assert_eq!(packets.len(), 3);
        pair.acknowledge(0, &packets[0]);
        pair.lose(0, &packets[0]);
        assert!(!pair.sides[0].wants_transmit(), "acknowledged, then found lost");
        pair.lose(0, &packets[1]);
        assert!(pair.sides[0].wants_transmit());
        pair.acknowledge(0, &packets[1]);
        assert!(!pair.sides[0].wants_transmit(), "found lost, then acknowledged");
        pair.lose(0, &packets[1]);
        pair.lose(0, &packets[2]);
        let again = pair.take(0, 1450).unwrap();
        assert_eq!(contents(&again), contents(&packets[2]));
        assert!(pair.take(0, 1450).is_none());
        assert_eq!(pair.sides[0].retransmitted(), packets[2].bytes.len() as u64 - 15);
    }
}

#[test]
fn a_lost_end_is_sent_again() {
    let mut pair = Pair::new(&config());
    let id = pair.sides[0].open().unwrap();
    pair.sides[0].write(id, bytes(10)).unwrap();
    let first = pair.take(0, 1450).unwrap();
    pair.sides[0].finish(id).unwrap();
    let end = pair.take(0, 1450).unwrap();
    pair.lose(0, &end);
    assert_eq!(contents(&pair.take(0, 1450).unwrap()), contents(&end));
    pair.lose(0, &end);
    pair.lose(0, &first);
    let both = pair.take(0, 1450).unwrap();
    assert_eq!(contents(&both), [Content::Stream { stream: id, offset: 0, len: 10, end: true }]);
    pair.acknowledge(0, &both);
    assert_eq!(pair.events(0), [StreamEvent::Finished(id)]);
    pair.lose(0, &end);
    assert!(!pair.sides[0].wants_transmit());
}

#[test]
fn lost_limits_are_sent_again_with_what_holds_then() {
    let config = Config { max_data: 10_000, max_stream_data: 10_000, ..config() };
    let mut pair = Pair::new(&config);
    let id = pair.sides[0].open().unwrap();
    pair.sides[0].write(id, bytes(10_000)).unwrap();
    while let Some(packet) = pair.take(0, 1450) {
        pair.deliver(1, &packet);
    }
    assert_eq!(read_all(&pair.read(1, id)).len(), 10_000);
    let lost = pair.take(1, 1450).unwrap();
    let expected = [Frame::MaxData(20_000), Frame::MaxStreamData { stream: 0, max: 20_000 }];
    assert_eq!(Frames::new(&lost.bytes).flatten().collect::<Vec<_>>(), expected);
    pair.lose(1, &lost);
    let again = pair.take(1, 1450).unwrap();
    assert_eq!(Frames::new(&again.bytes).flatten().collect::<Vec<_>>(), expected);
    pair.lose(1, &again);
    pair.sides[1].stop(id, 3);
    let stopped = pair.take(1, 1450).unwrap();
    assert_eq!(contents(&stopped), [Content::MaxData, Content::StopSending { stream: id }]);
}

#[test]
fn a_stream_given_up_says_so_and_counts_for_what_was_sent() {
    for placed in [false, true] {
        let mut pair = Pair::new(&config());
        let id = pair.sides[0].open().unwrap();
        if placed {
            pair.sides[0].write_at(id, 7, bytes(3000)).unwrap();
        } else {
            pair.sides[0].write(id, bytes(3000)).unwrap();
        }
        let first = pair.take(0, 1015).unwrap();
        let lost = pair.take(0, 1015).unwrap();
        pair.deliver(1, &first);
        pair.sides[0].reset(id, 9);
        pair.lose(0, &lost);
        let reset = pair.take(0, 1015).unwrap();
        let frame = Frame::ResetStream { stream: 0, code: 9, total: 2000 };
        assert_eq!(Frames::new(&reset.bytes).collect::<Vec<_>>(), [Ok(frame)]);
        pair.lose(0, &reset);
        pair.exchange();
        assert_eq!(pair.read(1, id), [Chunk::Reset { code: 9 }]);
        pair.deliver(1, &lost);
        assert_eq!(pair.sides[0].write(id, bytes(1)), Err(StreamError::Closed));
        pair.sides[1].finish(id).unwrap();
        pair.exchange();
        pair.read(0, id);
        pair.assert_drained(0);
        pair.assert_drained(1);
        pair.deliver(1, &lost);
    }
}

#[test]
fn a_stream_that_nobody_wants_is_given_up_by_its_sender() {
    let config = Config { max_data: 10_000, max_stream_data: 10_000, ..config() };
    let mut pair = Pair::new(&config);
    let id = pair.sides[0].open().unwrap();
    pair.sides[0].write(id, bytes(30_000)).unwrap();
    for _ in 0..3 {
        let packet = pair.take(0, 1450).unwrap();
        pair.deliver(1, &packet);
    }
    pair.sides[1].stop(id, 6);
    assert_eq!(pair.sides[1].read(id), None);
    // What is under way is credited as it comes.
    while let Some(packet) = pair.take(0, 1450) {
        pair.deliver(1, &packet);
    }
    pair.events(0);
    pair.exchange();
    assert_eq!(pair.events(0), [StreamEvent::Stopped(id, 6)]);
    assert_eq!(pair.sides[0].write(id, bytes(1)), Err(StreamError::Stopped(6)));
    assert_eq!(pair.sides[0].finish(id), Err(StreamError::Stopped(6)));
    pair.sides[1].finish(id).unwrap();
    pair.exchange();
    assert_eq!(pair.read(0, id), [Chunk::End]);
    pair.assert_drained(0);
    pair.assert_drained(1);
}

#[test]
fn streams_can_be_opened_as_others_end() {
    let config = Config { max_streams: 2, ..config() };
    let mut pair = Pair::new(&config);
    let ids = [pair.sides[0].open().unwrap(), pair.sides[0].open().unwrap()];
    assert_eq!(pair.sides[0].open(), Err(StreamError::Limit));
    for side in 0..2 {
        for id in ids {
            pair.sides[0].finish(id).unwrap_or_default();
            pair.exchange();
            pair.sides[1].finish(id).unwrap_or_default();
            pair.read(side, id);
        }
    }
    pair.exchange();
    pair.read(0, ids[0]);
    assert!(pair.events(0).contains(&StreamEvent::Available));
    assert_eq!(pair.sides[0].open(), Ok(StreamId(4)));
}

#[test]
fn room_is_told_of_once_it_was_used_up() {
    let config = Config { send_buffer: 4000, ..config() };
    let mut pair = Pair::new(&config);
    let id = pair.sides[0].open().unwrap();
    assert_eq!(pair.sides[0].room(id), 4000);
    for _ in 0..4 {
        pair.sides[0].write(id, bytes(1000)).unwrap();
    }
    assert_eq!(pair.sides[0].room(id), 0);
    let packets: Vec<_> = std::iter::from_fn(|| pair.take(0, 1015)).collect();
    pair.acknowledge(0, &packets[0]);
    assert_eq!(pair.events(0), [], "hardly worth a call");
    assert_eq!(pair.sides[0].room(id), 1000);
    pair.acknowledge(0, &packets[1]);
    assert_eq!(pair.events(0), [StreamEvent::Writable(id)]);
    pair.acknowledge(0, &packets[2]);
    assert_eq!(pair.events(0), []);
}

#[test]
fn what_is_readable_is_told_once_until_it_was_read_dry() {
    let mut pair = Pair::new(&config());
    let id = pair.sides[0].open().unwrap();
    let write = |pair: &mut Pair| {
        pair.sides[0].write(id, bytes(10)).unwrap();
        pair.exchange();
        pair.events(1)
    };
    assert_eq!(write(&mut pair), [StreamEvent::Opened(id), StreamEvent::Readable(id)]);
    assert_eq!(write(&mut pair), []);
    pair.read(1, id);
    assert_eq!(write(&mut pair), [StreamEvent::Readable(id)]);
}

#[test]
fn kinds_and_positions_do_not_mix() {
    let mut pair = Pair::new(&config());
    let [a, b] = [(), ()].map(|()| pair.sides[0].open().unwrap());
    pair.sides[0].write(a, bytes(1)).unwrap();
    assert_eq!(pair.sides[0].write_at(a, 0, bytes(1)), Err(StreamError::Kind));
    pair.sides[0].write_at(b, 10, bytes(10)).unwrap();
    assert_eq!(pair.sides[0].write(b, bytes(1)), Err(StreamError::Kind));
    for (offset, length) in [(10, 1), (5, 6), (19, 9), (0, 100), (u64::MAX, 1)] {
        let written = pair.sides[0].write_at(b, offset, bytes(length));
        assert_eq!(written, Err(StreamError::Position), "{offset} {length}");
    }
    pair.sides[0].write_at(b, 20, bytes(5)).unwrap();
    pair.sides[0].write_at(b, 5, bytes(5)).unwrap();
}

/// What a fresh side says to these frames, the last of which is the offender.
fn verdict(frames: &[Frame<'_>]) -> Result<(), Violation> {
    let config = Config { max_data: 150, max_stream_data: 100, max_streams: 4, ..config() };
    let mut streams = Streams::new(1, &config);
    streams.set_peer_limits(limits(&config));
    streams.open().unwrap();
    let (last, rest) = frames.split_last().unwrap();
    for frame in rest {
        streams.receive(frame).unwrap();
    }
    streams.receive(last)
}

#[test]
fn rules_that_are_broken_are_violations() {
    let data = &[0; 200];
    let stream =
        |stream, offset, length, end| Frame::Stream { stream, offset, end, data: &data[..length] };
    let placed = |offset, length| Frame::Placed { stream: 0, offset, data: &data[..length] };
    let end = |total| Frame::PlacedEnd { stream: 0, total };
    let reset = |total| Frame::ResetStream { stream: 0, code: 0, total };
    let stop = |stream| Frame::StopSending { stream, code: 0 };
    let good: &[&[Frame<'_>]] = &[
        &[stream(0, 0, 100, true)],
        &[stream(6, 0, 1, false)],
        &[stream(1, 0, 1, false)],
        &[stream(0, 50, 50, true), stream(0, 0, 100, true), stream(0, 100, 0, true)],
        &[stream(0, 0, 100, false), stream(2, 0, 50, false)],
        &[placed(u64::MAX - 100, 100), end(100)],
        &[placed(0, 50), placed(25, 50), placed(100, 25), end(100), placed(0, 90)],
        &[placed(0, 10), end(100), end(100), placed(10, 90)],
        &[stream(0, 0, 10, false), reset(100), reset(7), stream(0, 0, 200, false)],
        &[stream(0, 0, 10, true), reset(10)],
        &[stop(0), stop(0), stop(1)],
    ];
    for frames in good {
        assert_eq!(verdict(frames), Ok(()), "{frames:?}");
    }
    let bad: &[&[Frame<'_>]] = &[
        // Limits.
        &[stream(0, 0, 101, false)],
        &[stream(0, 101, 0, true)],
        &[stream(0, u64::MAX - 5, 5, false)],
        &[stream(0, 0, 100, false), stream(2, 0, 51, false)],
        &[stream(8, 0, 1, false)],
        &[placed(0, 50), placed(100, 51)],
        &[reset(101)],
        &[stream(2, 0, 100, false), reset(51)],
        // Ends.
        &[stream(0, 0, 10, true), stream(0, 10, 1, false)],
        &[stream(0, 0, 10, true), stream(0, 0, 9, true)],
        &[stream(0, 0, 10, false), stream(0, 0, 9, true)],
        &[stream(0, 5, 5, true), stream(0, 11, 0, true)],
        &[placed(0, 10), end(9)],
        &[end(9), placed(0, 10)],
        &[end(9), end(10)],
        &[stream(0, 0, 10, false), reset(9)],
        &[stream(0, 5, 5, true), reset(11)],
        // Kinds.
        &[stream(0, 0, 10, false), placed(0, 1)],
        &[stream(0, 0, 10, false), end(10)],
        &[placed(0, 1), stream(0, 0, 10, false)],
        // Names.
        &[stream(3, 0, 0, false)],
        &[stop(3)],
        &[stop(8)],
        &[Frame::MaxStreamData { stream: 3, max: 1 }],
        &[Frame::ResetStream { stream: 3, code: 0, total: 0 }],
    ];
    for frames in bad {
        assert!(verdict(frames).is_err(), "{frames:?}");
    }
}

#[test]
fn using_a_stream_opens_all_below_it() {
    let mut streams = Streams::new(1, &config());
    streams.receive(&Frame::StopSending { stream: 4, code: 0 }).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| streams.poll_event()).collect();
    let opened = [0, 2, 4].map(|id| StreamEvent::Opened(StreamId(id)));
    assert_eq!(events[..3], opened);
    assert_eq!(events[3..], [StreamEvent::Stopped(StreamId(4), 0)]);
}

#[test]
fn blocks_that_wait_for_their_rest_never_hold_the_sender_up() {
    let config = Config { max_data: 1 << 20, max_stream_data: 1 << 20, ..config() };
    let mut pair = Pair::new(&config);
    let ids: Vec<_> = (0..8).map(|_| pair.sides[0].open().unwrap()).collect();
    for &id in &ids {
        pair.sides[0].write_at(id, 0, bytes(250_000)).unwrap();
    }
    for _ in 0..ids.len() {
        pair.exchange();
        for &id in &ids {
            pair.read(1, id);
        }
    }
    assert_eq!(pair.sides[0].session.sent(), 2_000_000);
}
