//! Messages on streams.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use bmstools_proto::v2::message::{Failure, FailureCode, MAX_MESSAGE};
use bmstools_session::SessionError;
use bytes::Bytes;
use common::*;

fn message(number: u32) -> Failure {
    let message = format!("{number}: {}", "x".repeat(number as usize % 97));
    Failure { code: FailureCode::Other, message }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_arrive_in_order() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    let sender = tokio::spawn(async move {
        for number in 0..10_000 {
            soon(operator.send.send(&message(number))).await.unwrap();
        }
        operator.send.finish();
        soon(operator.send.acknowledged()).await.unwrap();
        operator
    });
    for number in 0..10_000 {
        assert_eq!(soon(agent.recv.receive::<Failure>()).await, Ok(Some(message(number))));
    }
    assert_eq!(soon(agent.recv.receive::<Failure>()).await, Ok(None));
    sender.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_may_be_answered() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    let answering = tokio::spawn(async move {
        while let Some(message) = soon(agent.recv.receive::<Failure>()).await.unwrap() {
            soon(agent.send.send(&message)).await.unwrap();
        }
        agent
    });
    for number in 0..500 {
        soon(operator.send.send(&message(number))).await.unwrap();
        assert_eq!(soon(operator.recv.receive()).await, Ok(Some(message(number))));
    }
    operator.send.finish();
    answering.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_may_follow_a_message_on_its_stream() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    let data = random(1 << 20, 1);
    soon(operator.send.send(&message(1))).await.unwrap();
    soon(operator.send.send(&message(2))).await.unwrap();
    soon(operator.send.write(data.clone())).await.unwrap();
    operator.send.finish();
    assert_eq!(soon(agent.recv.receive()).await, Ok(Some(message(1))));
    assert_eq!(soon(agent.recv.receive()).await, Ok(Some(message(2))));
    assert!(read_all(&mut agent.recv).await == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_pieces_survives_cancelled_receives() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    // Three messages as bytes, taken from another stream.
    let (mut other, other_recv) = soon(operator.session.open_stream()).await.unwrap();
    for number in 90..93 {
        soon(other.send(&message(number))).await.unwrap();
    }
    other.finish();
    let (_send, mut recv) = soon(agent.session.accept_stream()).await.unwrap();
    let bytes = Bytes::from(read_all(&mut recv).await);
    let sender = tokio::spawn(async move {
        for at in 0..bytes.len() {
            soon(operator.send.write(bytes.slice(at..=at))).await.unwrap();
            if at % 5 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
        operator.send.finish();
        (operator, other, other_recv)
    });
    let (mut arrived, mut cancelled) = (Vec::new(), 0);
    loop {
        tokio::select! {
            biased;
            message = agent.recv.receive::<Failure>() => match message.unwrap() {
                Some(message) => arrived.push(message),
                None => break,
            },
            () = tokio::task::yield_now() => cancelled += 1,
        }
    }
    assert_eq!(arrived, [message(90), message(91), message(92)]);
    assert!(cancelled > 0);
    sender.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_as_long_as_allowed_passes_a_smaller_window() {
    let world = World::with(|config| {
        config.max_data = 64 << 10;
        config.max_stream_data = 64 << 10;
    });
    let (mut operator, mut agent) = world.stream().await;
    let long = "y".repeat(MAX_MESSAGE - 100);
    let message = Failure { code: FailureCode::Limit, message: long };
    soon(operator.send.send(&message)).await.unwrap();
    assert_eq!(soon(agent.recv.receive()).await, Ok(Some(message)));
    let long = "y".repeat(MAX_MESSAGE);
    let error = operator.send.send(&Failure { code: FailureCode::Limit, message: long }).await;
    assert!(matches!(error, Err(SessionError::Malformed(_))), "{error:?}");
}

/// What is received where `bytes` were written before the end.
async fn received(bytes: &'static [u8]) -> Result<Option<Failure>, SessionError> {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    soon(operator.send.write(Bytes::from_static(bytes))).await.unwrap();
    operator.send.finish();
    soon(agent.recv.receive()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused() {
    // {0: 0, 1: "a"} is one.
    let good = received(b"\0\0\0\x06\xa2\x00\x00\x01\x61\x61").await.unwrap().unwrap();
    assert_eq!(good, Failure { code: FailureCode::Other, message: "a".into() });
    for bytes in [
        b"\0\x10\0\x01\xa2\x00\x00\x01\x61\x61".as_slice(),
        b"\xff\xff\xff\xff",
        b"\0\0\0\x06\xa2\x00\x00\x01\x61\xff",
        b"\0\0\0\x07\xa2\x00\x00\x01\x61\x61\x00",
        b"\0\0\0\0",
        b"\0\0\0\x06\xa2\x00\x00\x01\x7b\xff",
    ] {
        let error = received(bytes).await;
        assert!(matches!(error, Err(SessionError::Malformed(_))), "{bytes:?}: {error:?}");
    }
    for bytes in [b"\0\0\0\x06\xa2\x00".as_slice(), b"\0\0", b"\0\0\0\x01"] {
        assert_eq!(received(bytes).await, Err(SessionError::Truncated), "{bytes:?}");
    }
    assert_eq!(received(b"").await, Ok(None));
}
