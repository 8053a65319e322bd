//! What is expected of streams one by one.

use super::*;

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
    assert_eq!((pair.sides[0].count(), pair.sides[1].count()), (0, 0));
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
fn placed_data_comes_in_blocks_and_the_rest_at_the_end() {
    let mut pair = Pair::new(&Config::default());
    let id = pair.sides[0].open().unwrap();
    let block = Bytes::from(vec![7; 256 << 10]);
    pair.sides[0].write_at(id, 256 << 10, block.clone()).unwrap();
    pair.sides[0].write_at(id, 5, Bytes::from_static(b"begin")).unwrap();
    pair.sides[0].write_at(id, 20, Bytes::from_static(b"middle")).unwrap();
    pair.exchange();
    assert_eq!(pair.read(1, id), [Chunk::Data { offset: 256 << 10, data: block }]);
    pair.sides[0].finish(id).unwrap();
    pair.exchange();
    assert_eq!(pair.read(1, id), [data(5, b"begin"), data(20, b"middle"), Chunk::End]);
}
