//! Opening sessions and finding streams.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use bmstools_common::Peer;
use bmstools_proto::v2::CloseReason;
use bmstools_session::{Session, SessionError};
use bytes::Bytes;

use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_know_whom_they_talk_to() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    assert_eq!((operator.peer().mac, agent.peer().mac), (AGENT, OPERATOR));
    assert!(*operator.peer_key() == AGENT_KEY.public_key());
    assert!(*agent.peer_key() == OPERATOR_KEY.public_key());
    assert!(!agent.peer_software().is_empty());
    assert_eq!((world.operator.session_count(), world.agent.session_count()), (1, 1));
    let stats = soon(operator.stats()).await.unwrap();
    assert!(stats.rtt.is_some() && stats.sent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_says_why() {
    let world = World::new();
    let mut target = world.target();
    target.expected = new_key().public_key();
    let reason = soon(world.operator.connect(target)).await.map(drop).unwrap_err();
    assert!(matches!(reason, CloseReason::WrongKey { .. }), "{reason}");

    let mut target = world.target();
    target.identity = new_key();
    let reason = soon(world.operator.connect(target)).await.map(drop).unwrap_err();
    assert!(matches!(reason, CloseReason::NotAuthorized(_)), "{reason}");

    let (session, _agents) = world.session().await;
    let mut target = world.target();
    target.key -= 1;
    let reason = soon(world.operator.connect(target)).await.map(drop).unwrap_err();
    assert!(matches!(reason, CloseReason::Handshake(_)), "{reason}");
    assert!(soon(session.stats()).await.is_some(), "the session that has the key lives on");

    let world = World::with(|config| config.handshake_timeout = Duration::from_millis(300));
    let mut target = world.target();
    target.peer = Peer { mac: OPERATOR, ..target.peer };
    let reason = soon(world.operator.connect(target)).await.map(drop).unwrap_err();
    assert!(matches!(reason, CloseReason::NoAnswer(_)), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_nobody_waits_for_is_given_up() {
    let world = World::new();
    world.agent.accept_with(None);
    let attempt = world.operator.connect(world.target());
    assert!(tokio::time::timeout(Duration::from_millis(50), attempt).await.is_err());
    soon(async {
        while world.operator.session_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_can_accept_is_closed() {
    let (mut world, other) = (World::new(), World::new());
    let (_operator, agent) = world.session().await;
    drop(std::mem::replace(&mut world.agent, other.agent.clone()));
    let reason = match soon(world.operator.connect(world.target())).await {
        Ok(late) => soon(late.closed()).await,
        Err(reason) => reason,
    };
    assert_eq!(reason, goodbye(0, ""));
    assert!(soon(agent.stats()).await.is_some(), "those accepted before live on");
}

/// Opens a stream and writes its number on it.
async fn announce(
    session: &Session,
) -> (bmstools_session::SendStream, bmstools_session::RecvStream) {
    let (mut send, recv) = soon(session.open_stream()).await.unwrap();
    let number = send.id().to_string();
    soon(send.write(Bytes::from(number))).await.unwrap();
    (send, recv)
}

async fn accepted(session: &Session) -> u32 {
    let (send, mut recv) = soon(session.accept_stream()).await.unwrap();
    let said = soon(recv.read()).await.unwrap().unwrap();
    assert_eq!(said, send.id().to_string());
    send.id()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_accepted_in_the_order_of_their_numbers() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        kept.push(announce(&operator).await);
    }
    for number in 0..5 {
        assert_eq!(accepted(&agent).await, 2 * number);
    }
    kept.push(announce(&agent).await);
    assert_eq!(accepted(&operator).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_taken_by_number_before_and_after_it_comes() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    let before = agent.take_stream(2);
    let _first = announce(&operator).await;
    let _second = announce(&operator).await;
    let _third = announce(&operator).await;
    let (send, mut recv) = soon(before).await.unwrap();
    assert_eq!((send.id(), soon(recv.read()).await.unwrap().unwrap()), (2, "2".into()));
    let (send, mut recv) = soon(agent.take_stream(4)).await.unwrap();
    assert_eq!((send.id(), soon(recv.read()).await.unwrap().unwrap()), (4, "4".into()));
    assert_eq!(accepted(&agent).await, 0);
    let _fourth = announce(&operator).await;
    assert_eq!(accepted(&agent).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_taken_after_all_is_accepted() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    let first = agent.take_stream(0);
    let second = agent.take_stream(2);
    let _kept = (announce(&operator).await, announce(&operator).await);
    drop(second);
    assert_eq!(accepted(&agent).await, 2);
    let accepting = tokio::spawn({
        let agent = agent.clone();
        async move { accepted(&agent).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(first);
    assert_eq!(accepting.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_had_is_refused() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    let _kept = announce(&operator).await;
    assert_eq!(accepted(&agent).await, 0);
    let waiting = agent.take_stream(2);
    for id in [0, 1, 2] {
        let error = soon(agent.take_stream(id)).await.map(drop).unwrap_err();
        assert!(matches!(error, SessionError::Malformed(_)), "{id}: {error}");
    }
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_only_named_waits_for_who_knows_its_name() {
    let world = World::new();
    let (operator, agent) = world.session().await;
    // Opened first and used last, as a request names streams for what follows.
    let (mut named, _recv) = soon(operator.open_stream()).await.unwrap();
    let _kept = announce(&operator).await;
    assert_eq!(accepted(&agent).await, 2);
    let taken = agent.take_stream(0);
    soon(named.write(Bytes::from("late"))).await.unwrap();
    let (_send, mut recv) = soon(taken).await.unwrap();
    assert_eq!(soon(recv.read()).await.unwrap().unwrap(), "late");
}
