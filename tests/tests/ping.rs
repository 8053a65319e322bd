//! Reaching an agent: `bmstools ping`, VLANs and keys.

use std::time::Duration;

use anyhow::{Result, ensure};
use bmstools_tests::{KeyPair, Link, Testbed, with_every_link};

with_every_link!(
    ping_says_how_long_each_step_took,
    json_output_is_one_value,
    one_command_follows_another_without_a_pause,
    a_tagged_vlan_works,
    a_vlan_identifier_under_256_works,
    both_dialects_work_on_a_vlan,
    a_wrong_address_gets_no_answer_and_a_clear_error,
    a_key_that_the_agent_does_not_know_is_refused,
    every_authorised_key_is_accepted,
    keys_of_1024_2048_and_4096_bits_authenticate,
);

fn ping_says_how_long_each_step_took(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().run(&["ping"])?.success()?;
    let text = done.text().to_lowercase();
    for step in ["open", "auth", "end"] {
        ensure!(text.contains(step), "nothing of {step}: {text}");
    }
    ensure!(text.contains("ms") || text.contains("µs"), "no times: {text}");
    Ok(())
}

fn json_output_is_one_value(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let json = bed.operator().json().run(&["ping"])?.success()?.json()?;
    ensure!(json.is_object(), "{json}");
    Ok(())
}

fn one_command_follows_another_without_a_pause(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    for _ in 0..20 {
        bed.operator().run(&["ping"])?.success()?;
    }
    Ok(())
}

fn a_tagged_vlan_works(link: Link) -> Result<()> {
    reach(link, "52:54:00:aa:bb:01@1708%eth0", "v1")
}

fn a_vlan_identifier_under_256_works(link: Link) -> Result<()> {
    reach(link, "52:54:00:aa:bb:01@7%eth0", "v1")
}

fn both_dialects_work_on_a_vlan(link: Link) -> Result<()> {
    reach(link, "52:54:00:aa:bb:01@7%eth0", "v1-deployed")?;
    reach(link, "52:54:00:aa:bb:01@4094%eth0", "v1-deployed")
}

fn reach(link: Link, target: &str, dialect: &str) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let operator = bed.operator().target(target).dialect(dialect);
    operator.run(&["ping"])?.success()?;
    let done = operator.exec(&["seq", "1000"])?.success()?;
    assert_eq!(done.text().lines().count(), 1000);
    let sent = bed.random_file("sent", 50_000)?;
    let arrived = bed.path("arrived");
    operator.push(&sent, &arrived)?;
    bmstools_tests::data::require_same(&sent, &arrived)
}

fn a_wrong_address_gets_no_answer_and_a_clear_error(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done =
        bed.operator().target("52:54:00:aa:bb:99%eth0").run(&["--connect-timeout", "2", "ping"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("52:54:00:aa:bb:99"), "{done:?}");
    ensure!(done.stderr.contains("no answer"), "{done:?}");
    ensure!(done.took < Duration::from_secs(10), "{done:?}");
    Ok(())
}

fn a_key_that_the_agent_does_not_know_is_refused(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let stranger = KeyPair::stranger(2048)?;
    let done = bed.operator().key(&stranger.private_path()).exec(&["true"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("key"), "{done:?}");
    bed.operator().exec(&["true"])?.success().map(drop)
}

fn every_authorised_key_is_accepted(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let others = [KeyPair::stranger(2048)?, KeyPair::stranger(1024)?];
    let _agent = bed.agent_command_with(&[&bed.keys, &others[0], &others[1]])?.start()?;
    for keys in [&bed.keys, &others[0], &others[1]] {
        bed.operator().key(&keys.private_path()).exec(&["true"])?.success()?;
    }
    Ok(())
}

fn keys_of_1024_2048_and_4096_bits_authenticate(link: Link) -> Result<()> {
    for bits in [1024, 2048, 4096] {
        let bed = Testbed::new(link)?;
        let keys = KeyPair::shared(bits)?;
        let _agent = bed.agent_command_with(&[&keys])?.start()?;
        let done = bed.operator().key(&keys.private_path()).exec(&["echo", "hello"])?.success()?;
        assert_eq!(done.text(), "hello\n", "{bits} bits");
    }
    Ok(())
}
