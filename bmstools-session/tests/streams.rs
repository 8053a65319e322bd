//! Data on streams: exact, bounded, in everybody's own order.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bmstools_session::{RecvStream, SendStream, SessionError};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use common::*;

/// Writes `data` in pieces of all sizes, and ends the stream.
async fn write_pieces(send: &mut SendStream, mut data: Bytes, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    while !data.is_empty() {
        let len = rng.gen_range(1..=300_000).min(data.len());
        soon(send.write(data.split_to(len))).await.unwrap();
    }
    send.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_data_arrives_as_it_was_written() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    let data = random(64 << 20, 1);
    let expected = data.clone();
    let writer = tokio::spawn(async move {
        write_pieces(&mut operator.send, data, 1).await;
        soon(operator.send.acknowledged()).await.unwrap();
        operator
    });
    let mut at = 0;
    while let Some(piece) = soon(agent.recv.read()).await.unwrap() {
        assert!(piece == expected[at..at + piece.len()], "wrong bytes at {at}");
        at += piece.len();
    }
    assert_eq!(at, expected.len());
    assert_eq!(soon(agent.recv.read()).await, Ok(None), "the end stays");
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn placed_data_arrives_where_it_belongs() {
    const BLOCK: usize = 256 << 10;
    let world = World::new();
    let (operator, agent) = world.session().await;
    let data = random((64 << 20) - 12_345, 2);
    let expected = data.clone();
    let writer = tokio::spawn(async move {
        let (mut send, recv) = operator.open_stream().await.unwrap();
        let mut blocks: Vec<usize> = (0..data.len().div_ceil(BLOCK)).collect();
        blocks.shuffle(&mut StdRng::seed_from_u64(2));
        for block in blocks {
            let begin = block * BLOCK;
            let piece = data.slice(begin..data.len().min(begin + BLOCK));
            soon(send.write_at(begin as u64, piece)).await.unwrap();
        }
        send.finish();
        soon(send.acknowledged()).await.unwrap();
        (operator, recv)
    });
    let (_send, mut recv) = soon(agent.accept_stream()).await.unwrap();
    let (mut file, mut total) = (vec![0; expected.len()], 0);
    while let Some((offset, piece)) = soon(recv.read_placed()).await.unwrap() {
        let begin = offset as usize;
        file[begin..begin + piece.len()].copy_from_slice(&piece);
        total += piece.len();
        recv.consumed(piece.len() as u64);
    }
    assert_eq!(total, expected.len(), "every byte once");
    assert!(expected == file);
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_and_streams_keep_their_data_apart() {
    const SESSIONS: u64 = 12;
    const STREAMS: u64 = 24;
    let world = Arc::new(World::new());
    let echo = tokio::spawn({
        let agent = world.agent.clone();
        async move {
            let mut tasks = Vec::new();
            for _ in 0..SESSIONS {
                let session = soon(agent.accept()).await.unwrap();
                for _ in 0..STREAMS {
                    let (mut send, mut recv) = soon(session.accept_stream()).await.unwrap();
                    tasks.push(tokio::spawn(async move {
                        while let Some(data) = soon(recv.read()).await.unwrap() {
                            soon(send.write(data)).await.unwrap();
                        }
                        send.finish();
                        soon(send.acknowledged()).await.unwrap();
                    }));
                }
            }
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
    let mut tasks = Vec::new();
    for number in 0..SESSIONS {
        let session = soon(world.operator.connect(world.target())).await.unwrap();
        for stream in 0..STREAMS {
            let (mut send, mut recv) = soon(session.open_stream()).await.unwrap();
            let seed = number * STREAMS + stream;
            let data = random(1 + (seed as usize * 7919) % 300_000, seed);
            tasks.push(tokio::spawn(async move {
                let expected = data.clone();
                let write = write_pieces(&mut send, data, seed);
                let (_, back) = tokio::join!(write, read_all(&mut recv));
                assert!(back == expected, "stream {stream} of session {number}");
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    echo.await.unwrap();
    assert_eq!(world.operator.stats().await.established, SESSIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_the_writer_back() {
    const PIECE: usize = 64 << 10;
    const TOTAL: usize = 16 << 20;
    let world = World::with(|config| {
        config.max_stream_data = 1 << 20;
        config.max_data = 2 << 20;
        config.send_buffer = 512 << 10;
    });
    let (mut operator, mut agent) = world.stream().await;
    let written = Arc::new(AtomicU64::new(0));
    let data = random(TOTAL, 3);
    let expected = data.clone();
    let writer = tokio::spawn({
        let written = written.clone();
        async move {
            for begin in (0..TOTAL).step_by(PIECE) {
                soon(operator.send.write(data.slice(begin..begin + PIECE))).await.unwrap();
                written.fetch_add(PIECE as u64, Ordering::Relaxed);
            }
            operator.send.finish();
            soon(operator.send.acknowledged()).await.unwrap();
            operator
        }
    });
    let mut seen = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let at = written.swap(written.load(Ordering::Relaxed), Ordering::Relaxed);
        if at == seen && at > 0 {
            break;
        }
        seen = at;
    }
    let bound = (1 << 20) + (512 << 10) + PIECE as u64;
    assert!((1 << 20..=bound).contains(&seen), "{seen} bytes written, none read");
    assert!(read_all(&mut agent.recv).await == expected);
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_longer_than_the_send_buffer_passes() {
    let world = World::with(|config| config.send_buffer = 64 << 10);
    let (mut operator, mut agent) = world.stream().await;
    let data = random(3 << 20, 4);
    let (one, other) = (data.clone(), data.clone());
    let write = async {
        soon(operator.send.write(one)).await.unwrap();
        soon(operator.send.write(other)).await.unwrap();
        operator.send.finish();
    };
    let (_, arrived) = tokio::join!(write, read_all(&mut agent.recv));
    assert!(arrived == [data.as_ref(), data.as_ref()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_reads_and_writes_lose_and_repeat_nothing() {
    let world = World::with(|config| config.send_buffer = 32 << 10);
    let (mut operator, mut agent) = world.stream().await;
    let data = random(4 << 20, 5);
    let mut left = data.clone();
    let writer = tokio::spawn(async move {
        let mut cancelled = 0;
        while !left.is_empty() {
            let piece = left.slice(..left.len().min(10_000));
            tokio::select! {
                biased;
                done = operator.send.write(piece.clone()) => {
                    done.unwrap();
                    let _ = left.split_to(piece.len());
                }
                () = tokio::task::yield_now() => cancelled += 1,
            }
        }
        operator.send.finish();
        soon(operator.send.acknowledged()).await.unwrap();
        cancelled
    });
    let (mut arrived, mut cancelled) = (Vec::new(), 0);
    loop {
        tokio::select! {
            biased;
            read = agent.recv.read() => match read.unwrap() {
                Some(data) => arrived.extend_from_slice(&data),
                None => break,
            },
            () = tokio::task::yield_now() => cancelled += 1,
        }
    }
    assert!(arrived == data);
    assert!(cancelled > 0 && writer.await.unwrap() > 0, "nothing was cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_consumed_after_its_stream_ended_makes_room_again() {
    // Each stream takes a quarter of the session's window.
    let world = World::with(|config| {
        config.max_data = 64 << 10;
        config.max_stream_data = 64 << 10;
    });
    let (operator, agent) = world.session().await;
    for round in 0..40 {
        let (mut send, _recv) = soon(operator.open_stream()).await.unwrap();
        let data = random(16 << 10, round);
        soon(send.write(data.clone())).await.unwrap();
        send.finish();
        let (mut back, mut recv) = soon(agent.accept_stream()).await.unwrap();
        back.finish();
        soon(send.acknowledged()).await.unwrap();
        if round % 2 == 0 {
            assert!(read_all(&mut recv).await == data, "stream {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_remainders_of_many_streams_do_not_use_up_the_window() {
    let world = World::with(|config| {
        config.max_data = 64 << 10;
        config.max_stream_data = 64 << 10;
    });
    let (operator, agent) = world.session().await;
    let mut streams = Vec::new();
    for number in 0..100 {
        let (mut send, recv) = soon(operator.open_stream()).await.unwrap();
        let data = random(2000, number);
        soon(send.write(data.clone())).await.unwrap();
        let (back, mut theirs) = soon(agent.accept_stream()).await.unwrap();
        let mut arrived = Vec::new();
        while arrived.len() < data.len() {
            arrived.extend_from_slice(&soon(theirs.read()).await.unwrap().unwrap());
        }
        assert!(arrived == data, "stream {number}");
        streams.push((send, recv, back, theirs));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_more_streams_than_allowed_waits_for_one_to_end() {
    let world = World::with(|config| config.max_streams = 4);
    let (operator, agent) = world.session().await;
    let mut open: Vec<(SendStream, RecvStream)> = Vec::new();
    for _ in 0..4 {
        let (mut send, recv) = soon(operator.open_stream()).await.unwrap();
        soon(send.write(Bytes::from_static(b"!"))).await.unwrap();
        open.push((send, recv));
    }
    let fifth = tokio::spawn({
        let operator = operator.clone();
        async move { soon(operator.open_stream()).await.unwrap().0.id() }
    });
    // One that is not waited for in the end takes nobody's turn.
    tokio::select! {
        biased;
        _ = operator.open_stream() => panic!("the peer's limit does not hold"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    assert!(!fifth.is_finished());
    let (mut send, mut recv) = open.remove(0);
    send.finish();
    let (mut theirs, _their_recv) = soon(agent.accept_stream()).await.unwrap();
    theirs.finish();
    assert_eq!(soon(recv.read()).await, Ok(None));
    assert_eq!(soon(fifth).await.unwrap(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_high_priority_overtakes_one_of_low() {
    let world = World::with(|config| config.send_buffer = 8 << 20);
    let (operator, agent) = world.session().await;
    let (mut bulk, _bulk_recv) = soon(operator.open_stream()).await.unwrap();
    bulk.set_priority(1);
    let data = random(8 << 20, 6);
    soon(bulk.write(data.clone())).await.unwrap();
    bulk.finish();
    let (mut urgent, _urgent_recv) = soon(operator.open_stream()).await.unwrap();
    urgent.set_priority(200);
    soon(urgent.write(Bytes::from_static(b"now"))).await.unwrap();
    urgent.finish();
    let (_a, mut bulk_recv) = soon(agent.accept_stream()).await.unwrap();
    let (_b, mut urgent_recv) = soon(agent.accept_stream()).await.unwrap();
    // The bulk's window is used up before anybody reads: what is urgent is there anyway.
    assert_eq!(read_all(&mut urgent_recv).await, b"now");
    assert!(read_all(&mut bulk_recv).await == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stream_takes_no_more() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    operator.send.finish();
    let late = Bytes::from_static(b"late");
    assert_eq!(operator.send.write(late.clone()).await, Err(SessionError::Closed));
    agent.send.reset(7);
    assert_eq!(agent.send.write(late).await, Err(SessionError::Closed));
    assert_eq!(soon(agent.send.acknowledged()).await, Err(SessionError::Closed));
    assert_eq!(soon(operator.recv.read()).await, Err(SessionError::Reset(7)));
    agent.recv.stop(8);
    assert_eq!(agent.recv.read().await, Err(SessionError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_stand_in_a_stream_ends_it() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    soon(operator.send.write_at(0, Bytes::from_static(b"misplaced"))).await.unwrap();
    assert!(matches!(soon(operator.send.stopped()).await, SessionError::Unusable(_)));
    let late = operator.send.write(Bytes::from_static(b"late")).await;
    assert!(matches!(late, Err(SessionError::Unusable(_))), "{late:?}");
    assert_eq!(soon(agent.recv.read()).await, Err(SessionError::Reset(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_placed_stream_ends_at_once() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    let (mut send, _recv) = soon(operator.open_stream()).await.unwrap();
    soon(send.write_at(0, Bytes::new())).await.unwrap();
    send.finish();
    let (_send, mut recv) = soon(agent.accept_stream()).await.unwrap();
    assert_eq!(soon(recv.read_placed()).await, Ok(None));
    soon(send.acknowledged()).await.unwrap();
}
