//! Whole sessions in virtual time.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod sim;

use bmstools_common::ethernet::Vlan;
use bmstools_proto::Dialect;
use bmstools_proto::agent::EndReason;
use bmstools_proto::operator::{Event, Request, SessionError};
use bmstools_proto::response::{Code, Response};
use proptest::prelude::*;
use sim::*;
use std::time::Duration;

const DIALECTS: [Dialect; 2] = [Dialect::V1, Dialect::V1Deployed];

fn exec(command: &str) -> Request {
    Request::Exec(command.into())
}

#[test]
fn a_session_runs_commands_receives_a_file_and_ends() {
    for dialect in DIALECTS {
        let mut world = World::new(Weather::FINE, 1);
        world.vlan = Vlan::tagged(1708).unwrap();
        let bytes = random_bytes(2_000_003, 2);
        let mut todo = vec![exec("uname -r"), exec("")];
        todo.extend(push("/tmp/x", &bytes, 900_000));
        world.add(dialect, &KEY, todo);
        world.run(Duration::from_secs(60));
        let worker = &world.workers[0];
        assert_eq!(worker.outcome, Some(Ok(())), "{dialect:?}");
        assert!(worker.opened_at < worker.finished_at && worker.opened_at.is_some());
        assert_eq!(worker.responses[0], echo(b"uname -r"));
        assert!(worker.responses.iter().all(|response| response.code == Code::Success));
        assert!(world.host.files[&b"/tmp/x"[..]] == bytes);
        assert_eq!(worker.client.retransmitted(), 0);
        assert_eq!(world.host.ended.len(), 1);
        world.pass(ms(100));
        assert_eq!(world.host.endpoint.session_count(), 0);
        assert_eq!(world.host.drained, 1);
    }
}

#[test]
fn everything_arrives_exact_over_a_bad_link() {
    for seed in 0..10 {
        let weather = Weather {
            loss: 0.05,
            duplication: 0.05,
            reordering: 0.10,
            delay: Duration::from_micros(200),
            ..Weather::FINE
        };
        let mut world = World::new(weather, seed);
        let bytes = random_bytes(3_000_000, seed);
        let mut todo: Vec<_> = (0..20).map(|i| exec(&format!("echo {i}"))).collect();
        todo.extend(push("/tmp/x", &bytes, 900_000));
        world.add(Dialect::V1, &KEY, todo);
        world.run(Duration::from_secs(120));
        let worker = &world.workers[0];
        assert_eq!(worker.outcome, Some(Ok(())), "seed {seed}");
        for (i, response) in worker.responses.iter().take(20).enumerate() {
            assert_eq!(*response, echo(format!("echo {i}").as_bytes()));
        }
        assert!(world.host.files[&b"/tmp/x"[..]] == bytes, "seed {seed}");
        assert_eq!(world.host.commands.len(), 20, "a command ran twice");
    }
}

#[test]
fn thirty_percent_loss_slows_down_and_loses_nothing() {
    let mut world = World::new(Weather { loss: 0.3, ..Weather::FINE }, 3);
    let bytes = random_bytes(1_000_000, 3);
    let mut todo = vec![exec("true")];
    todo.extend(push("/tmp/x", &bytes, 900_000));
    world.add(Dialect::V1, &KEY, todo);
    world.run(Duration::from_secs(300));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
    assert!(world.host.files[&b"/tmp/x"[..]] == bytes);
}

#[test]
fn corrupted_frames_that_parse_never_break_the_endpoints() {
    let mut completed = 0;
    for seed in 0..40 {
        let weather = Weather { corruption: 0.02, loss: 0.02, duplication: 0.02, ..Weather::FINE };
        let mut world = World::new(weather, seed);
        let mut todo = vec![exec("true")];
        todo.extend(push("/tmp/x", &random_bytes(200_000, seed), 100_000));
        world.add(Dialect::V1, &KEY, todo);
        world.run(Duration::from_secs(120));
        let outcome = world.workers[0].outcome.clone();
        completed += usize::from(matches!(outcome, Some(Ok(()))));
        assert!(outcome.is_some(), "seed {seed} hangs");
        world.pass(Duration::from_secs(400));
        assert_eq!(world.host.endpoint.session_count(), 0, "seed {seed} leaves a session");
    }
    assert!(completed > 0);
}

#[test]
fn sixty_four_sessions_do_not_wait_for_a_slow_command() {
    let mut world = World::new(Weather::FINE, 4);
    for i in 0..64 {
        world.add(Dialect::V1, &KEY, vec![exec(&format!("echo {i}"))]);
    }
    world.run(Duration::from_secs(10));
    for (i, worker) in world.workers.iter().enumerate() {
        assert_eq!(worker.outcome, Some(Ok(())));
        assert_eq!(worker.responses, [echo(format!("echo {i}").as_bytes())]);
        assert!(worker.finished_at.unwrap() - world.start < ms(500));
    }
}

#[test]
fn a_key_that_is_not_authorised_is_told_so() {
    let mut world = World::new(Weather::FINE, 5);
    let other = key(8);
    world.add(Dialect::V1, &other, vec![exec("true")]);
    world.run(Duration::from_secs(10));
    assert!(matches!(world.workers[0].outcome, Some(Err(SessionError::WrongKey { .. }))));
    assert!(world.host.commands.is_empty());
    assert_eq!(world.host.endpoint.stats().auth_failures, 1);
}

#[test]
fn any_of_several_authorised_keys_opens() {
    let mut world = World::new(Weather::FINE, 6);
    let other = key(8);
    world.host.keys = vec![KEY.public_key(), key(9).public_key(), other.public_key()];
    world.add(Dialect::V1, &other, vec![exec("true")]);
    world.run(Duration::from_secs(10));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
}

#[test]
fn an_agent_that_is_not_there_is_reported_as_that() {
    let mut world = World::new(Weather { loss: 1.0, ..Weather::FINE }, 7);
    world.add(Dialect::V1, &KEY, vec![exec("true")]);
    world.run(Duration::from_secs(60));
    assert!(matches!(world.workers[0].outcome, Some(Err(SessionError::NoAnswer { .. }))));
}

#[test]
fn an_agent_that_dies_is_noticed_during_a_push_and_during_a_command() {
    for todo in [push("/x", &random_bytes(9_000_000, 1), 900_000), vec![exec("sleep 100")]] {
        let mut world = World::new(Weather::FINE, 8);
        world.host.command_time = Duration::from_secs(100);
        world.add(Dialect::V1, &KEY, todo);
        world.pass(ms(5));
        world.air.weather.loss = 1.0;
        let died = world.now;
        world.run(Duration::from_secs(200));
        assert!(matches!(world.workers[0].outcome, Some(Err(SessionError::Lost { .. }))));
        let noticed = world.workers[0].finished_at.unwrap() - died;
        assert!(noticed < Duration::from_secs(30), "noticed after {noticed:?}");
    }
}

#[test]
fn an_operator_that_dies_leaves_no_session_and_no_command() {
    let mut world = World::new(Weather::FINE, 9);
    world.host.command_time = Duration::from_secs(1000);
    world.add(Dialect::V1, &KEY, vec![exec("sleep 1000")]);
    world.pass(ms(50));
    assert_eq!(world.host.commands.len(), 1);
    world.workers.clear();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.host.endpoint.session_count(), 0);
    assert!(matches!(world.host.ended[..], [(_, EndReason::PeerGone)]));
}

#[test]
fn an_operator_that_dies_within_a_message_leaves_no_session() {
    for dialect in DIALECTS {
        let mut world = World::new(Weather { delay: ms(1), ..Weather::FINE }, 9);
        world.vlan = Vlan::tagged(1708).unwrap();
        world.add(dialect, &KEY, push("/x", &random_bytes(900_000, 1), 900_000));
        while !world.host.files.contains_key(&b"/x"[..]) {
            world.pass(ms(1));
        }
        // The answer has to get there, in the deployed dialect after its delay.
        world.pass(if dialect == Dialect::V1 { ms(6) } else { ms(13) });
        assert!(world.host.files[&b"/x"[..]].is_empty());
        world.workers.clear();
        world.pass(Duration::from_secs(60));
        assert_eq!(world.host.endpoint.session_count(), 0, "{dialect:?}");
        assert!(matches!(world.host.ended[..], [(_, EndReason::PeerGone)]));
    }
}

#[test]
fn an_operator_that_dies_before_it_knows_of_the_end_leaves_no_session() {
    for dialect in DIALECTS {
        let mut world = World::new(Weather::FINE, 9);
        world.vlan = Vlan::tagged(1708).unwrap();
        world.host.command_time = Duration::from_secs(1000);
        world.add(dialect, &KEY, vec![exec("sleep 1000")]);
        world.pass(ms(100));
        world.workers.clear();
        for session in world.host.endpoint.sessions().collect::<Vec<_>>() {
            world.host.endpoint.close(world.now, session);
        }
        world.pass(Duration::from_secs(40));
        assert_eq!(world.host.endpoint.session_count(), 0, "{dialect:?}");
        assert_eq!(world.host.drained, 1);
    }
}

#[test]
fn a_long_command_outlives_the_idle_timeout() {
    for dialect in DIALECTS {
        let mut world = World::new(Weather::FINE, 10);
        world.vlan = Vlan::tagged(1708).unwrap();
        world.host.command_time = Duration::from_secs(1000);
        world.add(dialect, &KEY, vec![exec("sleep 1000")]);
        world.run(Duration::from_secs(2000));
        assert_eq!(world.workers[0].outcome, Some(Ok(())), "{dialect:?}");
        assert_eq!(world.workers[0].responses, [echo(b"sleep 1000")]);
    }
}

/// A long pause of one end's host must not look like one of the other's.
#[test]
fn an_operator_that_did_not_run_for_a_minute_asks_before_it_gives_up() {
    let mut world = World::new(Weather::FINE, 13);
    world.host.command_time = Duration::from_secs(1000);
    world.add(Dialect::V1, &KEY, vec![exec("sleep 1000")]);
    world.pass(ms(50));
    let mut client = world.workers.pop().unwrap().client;
    let mut later = world.now + Duration::from_secs(60);
    for _ in 0..3 {
        client.handle_timeout(later);
        assert!(client.poll_event().is_none(), "gave up without an answer to its question");
        assert!(client.poll_transmit(later, &mut [0; 1500]).is_some(), "no question");
        let next = client.poll_timeout(later).unwrap();
        assert!(next > later, "the next question follows at once");
        later = next;
    }
    client.handle_timeout(later);
    let Some(Event::Failed(SessionError::Lost { .. })) = client.poll_event() else {
        panic!("three questions without an answer, and no end");
    };
}

#[test]
fn a_push_goes_on_after_its_operator_did_not_run_for_a_minute() {
    let mut world = World::new(Weather { delay: ms(1), ..Weather::FINE }, 16);
    let bytes = random_bytes(900_000, 1);
    world.add(Dialect::V1, &KEY, push("/x", &bytes, 900_000));
    world.pass(ms(20));
    assert!(world.host.files.contains_key(&b"/x"[..]));
    // No frame of the last flight nor an answer to it arrives, and nobody looks.
    while world.air.pop_due(world.now + ms(10)).is_some() {}
    world.now += Duration::from_secs(20);
    world.run(Duration::from_secs(10));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
    assert!(world.host.files[&b"/x"[..]] == bytes);
}

#[test]
fn an_end_in_the_middle_of_a_message_or_a_request_is_told_from_a_good_end() {
    for todo in [push("/x", &random_bytes(900_000, 1), 900_000), vec![exec("sleep 100")]] {
        let mut world = World::new(Weather { delay: ms(2), ..Weather::FINE }, 13);
        world.host.command_time = Duration::from_secs(100);
        world.add(Dialect::V1, &KEY, todo);
        world.pass(ms(30));
        world.workers[0].todo.clear();
        world.workers[0].client.end(world.now);
        world.run(Duration::from_secs(1));
        assert!(
            matches!(world.host.ended[..], [(_, EndReason::Aborted)]),
            "{:?}",
            world.host.ended
        );
        assert_eq!(world.workers[0].outcome, Some(Ok(())));
    }
}

#[test]
fn ends_that_cross_are_confirmed_whatever_is_lost() {
    for seed in 0..100 {
        let mut world = World::new(Weather { delay: ms(1), ..Weather::FINE }, seed);
        world.host.command_time = Duration::from_secs(100);
        world.add(Dialect::V1, &KEY, vec![exec("sleep 100")]);
        world.pass(ms(50));
        world.air.weather.loss = 0.3;
        for session in world.host.endpoint.sessions().collect::<Vec<_>>() {
            world.host.endpoint.close(world.now, session);
        }
        let now = world.now;
        world.workers[0].client.end(now);
        world.run(Duration::from_secs(60));
        let outcome = &world.workers[0].outcome;
        assert_eq!(*outcome, Some(Ok(())), "seed {seed}");
        assert!(world.now - now < Duration::from_secs(3), "seed {seed}: {:?}", world.now - now);
    }
}

#[test]
fn an_end_gets_through_although_an_answer_crosses_it() {
    for dialect in DIALECTS {
        let mut world = World::new(Weather { delay: ms(1), ..Weather::FINE }, 14);
        world.vlan = Vlan::tagged(1708).unwrap();
        world.host.command_time = ms(100);
        world.add(dialect, &KEY, vec![exec("sleep 0.1")]);
        while world.host.commands.is_empty() {
            world.pass(ms(1));
        }
        world.pass(ms(100));
        // The answer is on its way, the end is lost.
        let now = world.now;
        world.workers[0].client.end(now);
        let mut buffer = [0; 1500];
        while world.workers[0].client.poll_transmit(now, &mut buffer).is_some() {}
        world.run(Duration::from_secs(100));
        assert_eq!(world.workers[0].outcome, Some(Ok(())), "{dialect:?}");
        let least = if dialect == Dialect::V1 { ms(500) } else { Duration::from_secs(4) };
        assert!(world.now - now < least, "{dialect:?}: {:?}", world.now - now);
    }
}

/// Only an end that follows everything in order says that a file is whole.
#[test]
fn an_end_that_skips_a_message_is_not_taken_for_a_clean_one() {
    let mut world = World::new(Weather { delay: ms(1), ..Weather::FINE }, 15);
    world.add(Dialect::V1, &KEY, push("/x", &random_bytes(900_000, 1), 900_000));
    while !world.host.files.contains_key(&b"/x"[..]) {
        world.pass(ms(1));
    }
    world.pass(ms(5));
    let now = world.now;
    world.workers[0].client.end(now);
    world.run(Duration::from_secs(10));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
    assert!(matches!(world.host.ended[..], [(_, EndReason::Aborted)]), "{:?}", world.host.ended);
    world.pass(ms(100));
    assert_eq!(world.host.endpoint.session_count(), 0);
}

/// Bytes a second of a push of 20 MB in v1, virtual time, delay included.
fn goodput(weather: Weather, seed: u64) -> f64 {
    let mut world = World::new(weather, seed);
    let bytes = random_bytes(20_000_000, seed);
    world.add(Dialect::V1, &KEY, push("/x", &bytes, 900_000));
    world.run(Duration::from_secs(300));
    assert_eq!(world.workers[0].outcome, Some(Ok(())), "seed {seed}");
    assert!(world.host.files[&b"/x"[..]] == bytes, "seed {seed}");
    bytes.len() as f64 / (world.now - world.start).as_secs_f64()
}

/// The link has no bandwidth here, so this is about the timers and the window:
/// the round trip is 0.2 ms, and 8 frames in flight all along would make 59 MB/s.
#[test]
fn a_push_keeps_going_at_five_percent_loss() {
    for seed in 0..4 {
        let weather = Weather { delay: Duration::from_micros(100), ..Weather::FINE };
        let clean = goodput(weather, seed);
        let lossy = goodput(Weather { loss: 0.05, ..weather }, seed);
        assert!(clean > 200e6, "seed {seed}: {clean:.0} bytes a second without loss");
        assert!(lossy > 40e6, "seed {seed}: {lossy:.0} bytes a second");
    }
}

#[test]
fn a_long_round_trip_is_not_taken_for_loss() {
    let weather = Weather { delay: ms(25), ..Weather::FINE };
    let mut world = World::new(weather, 16);
    world.add(Dialect::V1, &KEY, push("/x", &random_bytes(4_000_000, 16), 900_000));
    world.run(Duration::from_secs(60));
    assert_eq!(world.workers[0].outcome, Some(Ok(())));
    assert_eq!(world.workers[0].client.retransmitted(), 0);
}

#[test]
fn refusals_reach_the_operator() {
    let mut world = World::new(Weather::FINE, 11);
    let todo = vec![Request::Data(vec![1; 100]), Request::File(Vec::new())];
    world.add(Dialect::V1, &KEY, todo);
    world.run(Duration::from_secs(10));
    let refused = Response::error(Code::LogicError, "no file");
    let no_path = Response::error(Code::ParameterError, "no path");
    assert_eq!(world.workers[0].responses, [refused, no_path]);
}

#[test]
fn an_agent_that_closes_tells_the_operator() {
    let mut world = World::new(Weather::FINE, 12);
    world.host.command_time = Duration::from_secs(100);
    world.add(Dialect::V1, &KEY, vec![exec("sleep 100")]);
    world.pass(ms(50));
    let sessions: Vec<_> = world.host.endpoint.sessions().collect();
    for session in sessions {
        world.host.endpoint.close(world.now, session);
    }
    world.run(Duration::from_secs(1));
    let outcome = &world.workers[0].outcome;
    assert!(matches!(outcome, Some(Err(SessionError::EndedByAgent(_)))), "{outcome:?}");
    world.pass(ms(10));
    assert_eq!(world.host.endpoint.session_count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sent_is_what_is_delivered(
        seed: u64,
        len in 32usize..60_000,
        chunk in 1000usize..30_000,
        loss in 0.0..0.2,
        duplication in 0.0..0.2,
        reordering in 0.0..0.3,
    ) {
        let weather = Weather { loss, duplication, reordering, ..Weather::FINE };
        let mut world = World::new(weather, seed);
        let bytes = random_bytes(len, seed);
        // The last chunk as the command cuts it: none is short enough to be padded.
        let chunk = if len % chunk < 32 { chunk + 32 } else { chunk };
        prop_assume!(len % chunk == 0 || len % chunk >= 32);
        world.add(Dialect::V1, &KEY, push("/x", &bytes, chunk));
        world.run(Duration::from_secs(300));
        prop_assert_eq!(&world.workers[0].outcome, &Some(Ok(())));
        prop_assert!(world.host.files[&b"/x"[..]] == bytes);
    }
}
