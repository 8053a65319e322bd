//! What an agent takes from a peer, frame by frame.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bmstools_common::counters::Counter;
use bmstools_common::header::ptype;
use bmstools_tests::nic::End;
use bmstools_tests::peer::Options;
use bmstools_tests::testbed::AGENT_MAC;
use bmstools_tests::wire::{Frame, Tap, control, ctype};
use bmstools_tests::{KeyPair, Link, Testbed, flood, wire, with_every_link};

with_every_link!(
    a_command_before_authentication_is_refused,
    a_file_before_authentication_is_refused,
    data_before_authentication_is_refused,
    data_before_a_file_control_is_refused,
    an_empty_path_is_refused,
    a_wrong_answer_is_refused_and_opens_nothing,
    an_answer_from_another_session_is_refused,
    an_answer_is_good_for_one_challenge_only,
    an_answer_after_a_wrong_one_is_refused,
    challenges_differ,
    a_repeated_message_runs_once,
    fragments_in_any_order_make_the_message,
    a_session_belongs_to_the_address_that_opened_it,
    both_dialects_serve_a_whole_session,
);

fn a_command_before_authentication_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    let marker = bed.path("marker");
    let response = operator.exec(&format!("touch {}", marker.display()))?;
    assert_eq!(response["code"], "AuthError", "{response}");
    ensure!(!marker.exists(), "the command ran");
    Ok(())
}

fn a_file_before_authentication_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    let response = operator.file(&bed.path("file").display().to_string())?;
    assert_eq!(response["code"], "AuthError", "{response}");
    ensure!(!bed.path("file").exists(), "the file was made");
    Ok(())
}

fn data_before_authentication_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    let response = operator.data(&[b'x'; 100])?;
    assert_eq!(response["code"], "AuthError", "{response}");
    Ok(())
}

fn data_before_a_file_control_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    operator.authenticate(&bed.keys)?;
    let response = operator.data(&[b'x'; 100])?;
    assert_eq!(response["code"], "LogicError", "{response}");
    assert_eq!(operator.exec("true")?["code"], "Success");
    Ok(())
}

fn an_empty_path_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    operator.authenticate(&bed.keys)?;
    let response = operator.file("")?;
    assert_eq!(response["code"], "ParameterError", "{response}");
    Ok(())
}

fn a_wrong_answer_is_refused_and_opens_nothing(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    operator.challenge()?;
    let response = operator.answer("00000000000000000000000000000000")?;
    assert_eq!(response["code"], "AuthError", "{response}");
    assert_eq!(operator.exec("true")?["code"], "AuthError");
    Ok(())
}

fn an_answer_from_another_session_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut first = bed.hand_operator(Options::documented(7))?;
    let answer = bed.keys.answer(&first.challenge()?)?;
    assert_eq!(first.answer(&answer)?["code"], "Success");
    first.end()?;
    let mut second = bed.hand_operator(Options::documented(7))?;
    second.challenge()?;
    assert_eq!(second.answer(&answer)?["code"], "AuthError");
    assert_eq!(second.exec("true")?["code"], "AuthError");
    Ok(())
}

fn an_answer_is_good_for_one_challenge_only(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    // The second challenge is under the second key.
    let keys = [&bed.keys, &KeyPair::stranger(2048)?];
    let _agent = bed.agent_command_with(&keys)?.start()?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    let first = bed.keys.answer(&operator.challenge()?)?;
    operator.challenge()?;
    assert_eq!(operator.answer(&first)?["code"], "AuthError");
    assert_eq!(operator.exec("true")?["code"], "AuthError");
    Ok(())
}

fn an_answer_after_a_wrong_one_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    let right = bed.keys.answer(&operator.challenge()?)?;
    assert_eq!(operator.answer("00000000000000000000000000000000")?["code"], "AuthError");
    assert_eq!(operator.answer(&right)?["code"], "AuthError");
    assert_eq!(operator.exec("true")?["code"], "AuthError");
    Ok(())
}

fn challenges_differ(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut answers = Vec::new();
    for key in 1..=5 {
        let mut operator = bed.hand_operator(Options::documented(key))?;
        let challenge = operator.challenge()?;
        answers.push(bed.keys.answer(&challenge)?);
        let stranger = KeyPair::stranger(2048)?.answer(&challenge);
        ensure!(stranger.ok().as_ref() != answers.last(), "a stranger's key opened a challenge");
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 5);
    Ok(())
}

fn a_repeated_message_runs_once(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let log = bed.path("log");
    let command = control(ctype::EXEC, format!("echo once >> {}", log.display()).as_bytes());
    let mut operator = bed.hand_operator(Options::documented(7))?;
    operator.authenticate(&bed.keys)?;
    assert_eq!(operator.request(ptype::CONTROL, &command)?["code"], "Success");
    // Messages 0 to 2 opened and authenticated, 3 was the command.
    operator.send_as(3, ptype::CONTROL, &command)?;
    ensure!(operator.receive(Duration::from_millis(500))?.is_none(), "it was answered again");
    assert_eq!(fs::read_to_string(&log)?, "once\n");
    assert_eq!(operator.exec("true")?["code"], "Success");
    Ok(())
}

fn fragments_in_any_order_make_the_message(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    operator.authenticate(&bed.keys)?;
    let command = control(ctype::EXEC, b"echo in the right order; # and a tail of many bytes");
    let pieces: Vec<_> = command.chunks(20).collect();
    for offset in [2_usize, 0, 1, 0, 2] {
        let mut frame = Frame::single(ptype::CONTROL, operator.keys(), 3, pieces[offset]);
        frame.header.count = u16::try_from(pieces.len())?;
        frame.header.offset = u16::try_from(offset)?;
        operator.send_frame(&frame)?;
    }
    let response = operator.response()?;
    assert_eq!(response["data"]["stdout"], "in the right order\n", "{response}");
    Ok(())
}

fn a_session_belongs_to_the_address_that_opened_it(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving(link)?;
    let mut operator = bed.hand_operator(Options::documented(7))?;
    operator.authenticate(&bed.keys)?;
    let marker = bed.path("marker");
    let command = control(ctype::EXEC, format!("touch {}", marker.display()).as_bytes());
    let stolen = Frame::single(ptype::CONTROL, operator.keys(), 3, &command);
    let before = agent.counters()?;
    let neighbour = Tap::open(End { mac: flood::MAC, ..bed.operator_end() })?;
    neighbour.send(&stolen, wire::peer(AGENT_MAC, None)?, Options::documented(7).dialect)?;
    neighbour.send(&stolen, wire::peer(AGENT_MAC, Some(5))?, Options::documented(7).dialect)?;
    assert_eq!(operator.exec("true")?["code"], "Success");
    ensure!(!marker.exists(), "a stranger's frame was taken for the session's");
    let dropped = agent.counters()?.get(Counter::NoSession) - before.get(Counter::NoSession);
    assert_eq!(dropped, 2, "frames of no session were not counted");
    Ok(())
}

fn both_dialects_serve_a_whole_session(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    for options in [Options::documented(7), Options::deployed(8)] {
        let mut operator = bed.hand_operator(options)?;
        operator.authenticate(&bed.keys)?;
        let response = operator.exec("uname -s; exit 3").context("exec")?;
        assert_eq!(response["data"]["code"], 3, "{response}");
        assert_eq!(response["data"]["stdout"], "Linux\n", "{response}");
        let path = bed.path(&format!("file-{}", options.key));
        let contents = bmstools_tests::data::random(1, 3000);
        assert_eq!(operator.file(&path.display().to_string())?["code"], "Success");
        assert_eq!(operator.data(&contents[..1500])?["code"], "Success");
        assert_eq!(operator.data(&contents[1500..])?["code"], "Success");
        operator.end()?;
        ensure!(fs::read(path)? == contents, "the file arrived changed");
    }
    Ok(())
}
