//! Ends of streams, sessions and hubs, wanted and unwanted.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use bmstools_proto::v2::CloseReason;
use bmstools_session::SessionError;
use bytes::Bytes;

use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_writer_resets_its_stream() {
    let world = World::new();
    let (operator, mut agent) = world.stream().await;
    drop(operator.send);
    assert_eq!(soon(agent.recv.read()).await, Err(SessionError::Reset(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_reader_stops_its_stream() {
    let world = World::new();
    let (mut operator, agent) = world.stream().await;
    drop(agent.recv);
    assert_eq!(soon(operator.send.stopped()).await, SessionError::Stopped(0));
    let error = soon(operator.send.write(Bytes::from_static(b"late"))).await;
    assert_eq!(error, Err(SessionError::Stopped(0)));
    // The other direction lives on.
    let mut send = agent.send;
    soon(send.write(Bytes::from_static(b"still here"))).await.unwrap();
    assert_eq!(soon(operator.recv.read()).await.unwrap().unwrap(), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_carries_its_code_and_ends_a_write_that_waits() {
    let world = World::with(|config| {
        config.send_buffer = 16 << 10;
        config.max_stream_data = 16 << 10;
    });
    let (mut operator, mut agent) = world.stream().await;
    let writer = tokio::spawn(async move {
        loop {
            if let Err(error) = soon(operator.send.write(random(8 << 10, 1))).await {
                return error;
            }
        }
    });
    assert!(soon(agent.recv.read()).await.unwrap().is_some());
    agent.recv.stop(42);
    assert_eq!(writer.await.unwrap(), SessionError::Stopped(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_closes_with_its_last_clone_or_stream() {
    let world = World::new();
    let (operator, agent) = world.stream().await;
    let clone = operator.session.clone();
    drop((operator.session, operator.send));
    drop(clone);
    // A direction of a stream is left.
    let mut send = agent.send;
    soon(send.write(Bytes::from_static(b"on"))).await.unwrap();
    let mut recv = operator.recv;
    assert_eq!(soon(recv.read()).await.unwrap().unwrap(), "on");
    drop(recv);
    assert_eq!(soon(agent.session.closed()).await, goodbye(0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_tells_the_peer_why_and_everybody_who_waits() {
    let world = World::with(|config| {
        config.max_streams = 1;
        config.send_buffer = 16 << 10;
        config.max_stream_data = 16 << 10;
    });
    let (mut operator, agent) = world.stream().await;
    let ended = Err(SessionError::Ended(goodbye(7, "enough")));
    let accepting = tokio::spawn({
        let session = operator.session.clone();
        async move { soon(session.accept_stream()).await.map(drop) }
    });
    let taking = tokio::spawn({
        let session = operator.session.clone();
        async move { soon(session.take_stream(1)).await.map(drop) }
    });
    let opening = tokio::spawn({
        let session = operator.session.clone();
        async move { soon(session.open_stream()).await.map(drop) }
    });
    let reading = tokio::spawn(async move { soon(operator.recv.read()).await.map(drop) });
    let writing = tokio::spawn(async move {
        loop {
            soon(operator.send.write(random(8 << 10, 1))).await?;
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    soon(agent.session.close(7, "enough")).await;
    assert_eq!(agent.session.closed().await, CloseReason::Local);
    for task in [accepting, taking, opening, reading, writing] {
        assert_eq!(soon(task).await.unwrap(), ended);
    }
    assert_eq!(soon(operator.session.closed()).await, goodbye(7, "enough"));
    assert_eq!(soon(operator.session.open_stream()).await.map(drop), ended);
    assert_eq!(soon(operator.session.accept_stream()).await.map(drop), ended);
    assert!(soon(operator.session.stats()).await.is_none());
    soon(operator.session.close(0, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_before_the_session_ended_can_be_read() {
    for round in 0..50 {
        let world = World::new();
        let (mut operator, mut agent) = world.stream().await;
        let data = random(20_000, round);
        soon(agent.send.write(data.clone())).await.unwrap();
        agent.send.finish();
        soon(agent.send.acknowledged()).await.unwrap();
        soon(agent.session.close(0, "")).await;
        assert!(read_all(&mut operator.recv).await == data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_closes_at_once_has_acknowledged_what_it_read() {
    for round in 0..50 {
        let world = World::new();
        let (mut operator, mut agent) = world.stream().await;
        let data = random(20_000, round);
        soon(agent.send.write(data.clone())).await.unwrap();
        agent.send.finish();
        assert!(read_all(&mut operator.recv).await == data);
        drop((operator.session, operator.send, operator.recv));
        assert_eq!(soon(agent.send.acknowledged()).await, Ok(()), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_off_ends_the_stream_in_its_middle() {
    let world = World::new();
    let (mut operator, mut agent) = world.stream().await;
    soon(agent.send.write(Bytes::from_static(b"half of"))).await.unwrap();
    assert_eq!(soon(operator.recv.read()).await.unwrap().unwrap(), "half of");
    soon(agent.session.close(4, "out of order")).await;
    let ended = SessionError::Ended(goodbye(4, "out of order"));
    assert_eq!(soon(operator.recv.read()).await, Err(ended.clone()));
    assert_eq!(soon(operator.recv.read()).await, Err(ended.clone()), "it stays so");
    assert_eq!(soon(operator.send.stopped()).await, ended);
    assert_eq!(soon(operator.send.acknowledged()).await, Err(ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_says_goodbye_and_ends_the_loop() {
    let mut world = World::new();
    let (first, _agents_first) = world.session().await;
    let (second, _agents_second) = world.session().await;
    let accepting = tokio::spawn({
        let agent = world.agent.clone();
        async move { soon(agent.accept()).await.is_none() }
    });
    soon(world.agent.shut_down(Duration::from_secs(60))).await;
    for session in [first, second] {
        assert_eq!(soon(session.closed()).await, goodbye(2, "the agent is ending"));
    }
    assert!(accepting.await.unwrap());
    world.agent_thread.take().unwrap().join().unwrap();
    assert_eq!(world.agent.session_count(), 0);
    // What was counted stays known, and nothing hangs.
    assert_eq!(soon(world.agent.stats()).await.established, 2);
    assert!(soon(world.agent.connect(world.target())).await.is_err());
    soon(world.agent.shut_down(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_waits_no_longer_than_allowed() {
    let mut world = World::new();
    let (_operator, agent) = world.session().await;
    let patient = world.agent.shut_down(Duration::from_secs(3600));
    let impatient = world.agent.shut_down(Duration::ZERO);
    soon(async { tokio::join!(patient, impatient) }).await;
    assert_eq!(soon(agent.closed()).await, CloseReason::Local);
    world.agent_thread.take().unwrap().join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_goes_says_goodbye_and_ends_everything() {
    let mut world = World::new();
    let (mut operator, agent) = world.stream().await;
    drop(world.operator_thread.take());
    assert_eq!(soon(agent.session.closed()).await, goodbye(0, ""));
    let gone = SessionError::Ended(CloseReason::Local);
    assert_eq!(soon(operator.recv.read()).await, Err(gone.clone()));
    assert_eq!(soon(operator.session.open_stream()).await.map(drop), Err(gone));
    assert!(soon(operator.session.stats()).await.is_none());
    soon(operator.session.close(0, "")).await;
    assert!(soon(world.operator.connect(world.target())).await.is_err());
}
