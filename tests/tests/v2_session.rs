//! Sessions of version 2: who may open one, with whom, and how they fare.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bmstools_tests::counters::Counters;
use bmstools_tests::{Agent, KeyPair, Link, Testbed, with_every_link};

with_every_link!(
    ping_measures_the_way_there_and_back,
    status_tells_of_the_agent_and_its_host,
    bench_measures_both_directions,
    keys_of_every_type_establish_sessions,
    an_agent_with_a_key_of_its_own_is_known_by_it,
    a_wrong_agent_key_is_refused_with_both_fingerprints,
    an_operator_whose_key_is_not_authorised_is_refused,
    a_removed_key_is_out_at_once_and_a_new_one_is_known_soon,
    a_tagged_vlan_works,
    a_version_that_is_turned_off_is_not_answered,
    no_version_falls_back_to_the_other,
    a_short_rsa_key_is_for_v1_alone,
);

/// An agent with these lines in its configuration, and the keys of both.
fn configured(bed: &Testbed, lines: &str) -> Result<Agent> {
    let path = bed.path("agent.toml");
    fs::write(&path, lines)?;
    bed.v2_agent_command(&bed.keys, &[])?.config(&path).start()
}

/// The agent's counters once no session is left.
fn settled(agent: &mut Agent) -> Result<Counters> {
    let begun = Instant::now();
    loop {
        let counters = agent.counters()?;
        if counters.named("v2_sessions_open") == 0 {
            return Ok(counters);
        }
        ensure!(begun.elapsed() < Duration::from_secs(5), "sessions stay behind: {counters:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn ping_measures_the_way_there_and_back(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving_v2(link)?;
    let operator = bed.operator().v2();
    let done = operator.run(&["ping", "-c", "3", "--interval", "0.01"])?.success()?;
    let text = done.text();
    assert_eq!(text.lines().filter(|line| line.starts_with("answer ")).count(), 3, "{text}");
    ensure!(text.contains("3 sent, 3 answered, 0 % unanswered"), "{text}");
    ensure!(text.contains("min/avg/max/mdev") && text.contains("established in"), "{text}");
    let json = operator.json().run(&["ping"])?.success()?.json()?;
    assert_eq!((&json["sent"], &json["answered"]), (&4.into(), &4.into()), "{json}");
    let times = &json["round_trip_ms"];
    ensure!(times["min"].as_f64() <= times["max"].as_f64(), "{json}");
    ensure!(times["min"].as_f64() > Some(0.0) && json["handshake_ms"].as_f64() > Some(0.0));
    let counters = settled(&mut agent)?;
    assert_eq!(counters.named("v2_established"), 2);
    assert_eq!(counters.named("v2_handshakes_failed"), 0);
    Ok(())
}

fn status_tells_of_the_agent_and_its_host(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving_v2(link)?;
    let operator = bed.operator().v2();
    let text = operator.run(&["status"])?.success()?.text();
    for part in ["agent ", "host ", "kernel ", "link ", "sessions ", "jobs ", "counted "] {
        ensure!(text.contains(part), "nothing of {part}: {text}");
    }
    settled(&mut agent)?;
    let json = operator.json().run(&["status"])?.success()?.json()?;
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"), "{json}");
    assert_eq!(json["links"][0]["mac"], "52:54:00:aa:bb:01", "{json}");
    assert_eq!(json["sessions"]["v2"], 1, "{json}");
    assert_eq!(json["counters"]["v2_established"], 2, "{json}");
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    assert_eq!(json["hostname"].as_str(), Some(hostname.trim()), "{json}");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = json["kernel"].as_str().unwrap_or_default();
    ensure!(kernel.contains(release.trim()), "{json}");
    ensure!(json["host_uptime_ms"].as_u64() > json["uptime_ms"].as_u64(), "{json}");
    ensure!(json["key"].as_str().unwrap_or_default().contains(&bed.keys.fingerprint()?), "{json}");
    Ok(())
}

fn bench_measures_both_directions(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving_v2(link)?;
    let operator = bed.operator().v2().json();
    let json = operator.run(&["bench", "--size", "8M", "-c", "20"])?.success()?.json()?;
    assert_eq!(json["request_ms"]["count"], 20, "{json}");
    assert_eq!(json["bytes"], 8 << 20, "{json}");
    for way in ["there", "back"] {
        ensure!(json[way]["gigabits_per_second"].as_f64() > Some(0.0), "{json}");
    }
    Ok(())
}

fn keys_of_every_type_establish_sessions(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    for kind in ["rsa", "p256", "ed25519"] {
        let keys = KeyPair::of_type(kind)?;
        let agent = bed.v2_agent_command(&keys, &[])?.start()?;
        let operator = bed.operator().v2().key(&keys.private_path());
        let json = operator.json().run(&["status"])?.success()?.json()?;
        let key = json["key"].as_str().unwrap_or_default();
        ensure!(key.contains(&keys.fingerprint()?), "{kind}: {json}");
        drop(agent);
        fs::remove_dir_all(bed.path("auth"))?;
    }
    Ok(())
}

fn an_agent_with_a_key_of_its_own_is_known_by_it(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let own = KeyPair::of_type("ed25519")?;
    let _agent = bed.v2_agent_command(&own, &[&bed.keys])?.start()?;
    let operator = bed.operator().v2().agent_key(&own.public_path());
    operator.run(&["ping", "-c", "1"])?.success().map(drop)
}

fn a_wrong_agent_key_is_refused_with_both_fingerprints(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let other = KeyPair::of_type("p256")?;
    let mut agent = bed.v2_agent_command(&other, &[&bed.keys])?.start()?;
    let done = bed.operator().v2().run(&["ping"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    for fingerprint in [other.fingerprint()?, bed.keys.fingerprint()?] {
        ensure!(done.stderr.contains(&fingerprint), "{fingerprint}: {done:?}");
    }
    ensure!(done.stderr.contains("--agent-key"), "{done:?}");
    assert_eq!(agent.counters()?.named("v2_established"), 0);
    // The operator may name what it expects, and that may be wrong too.
    let operator = bed.operator().v2().agent_key(&KeyPair::of_type("ed25519")?.public_path());
    let done = operator.run(&["ping"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains(&KeyPair::of_type("ed25519")?.fingerprint()?), "{done:?}");
    Ok(())
}

fn an_operator_whose_key_is_not_authorised_is_refused(link: Link) -> Result<()> {
    let (bed, mut agent) = Testbed::serving_v2(link)?;
    let stranger = KeyPair::stranger(2048)?;
    let operator = bed.operator().v2();
    let refused = operator
        .clone()
        .key(&stranger.private_path())
        .agent_key(&bed.keys.public_path())
        .run(&["ping"])?;
    assert_eq!(refused.code(), Some(255), "{refused:?}");
    ensure!(refused.stderr.contains("does not accept the key"), "{refused:?}");
    ensure!(refused.stderr.contains(&stranger.fingerprint()?), "{refused:?}");
    ensure!(refused.took < Duration::from_secs(5), "{refused:?}");
    let counters = agent.counters()?;
    assert_eq!(counters.named("v2_established"), 0);
    assert_eq!(counters.named("v2_handshakes_failed"), 1);
    operator.run(&["ping", "-c", "1"])?.success().map(drop)
}

fn a_removed_key_is_out_at_once_and_a_new_one_is_known_soon(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let other = KeyPair::of_type("ed25519")?;
    let _agent = bed.v2_agent_command(&bed.keys, &[&other])?.start()?;
    let operator = bed.operator().v2().agent_key(&bed.keys.public_path());
    let removable = operator.clone().key(&other.private_path());
    removable.run(&["ping", "-c", "1"])?.success()?;
    let file = bed.path("auth/authorized_keys.d/001.pem");
    let key = fs::read(&file)?;
    fs::remove_file(&file)?;
    let refused = removable.run(&["ping", "-c", "1"])?;
    assert_eq!(refused.code(), Some(255), "{refused:?}");
    ensure!(refused.stderr.contains("does not accept the key"), "{refused:?}");
    operator.run(&["ping", "-c", "1"])?.success()?;
    fs::write(&file, key)?;
    let put = Instant::now();
    while removable.run(&["ping", "-c", "1"])?.success().is_err() {
        ensure!(put.elapsed() < Duration::from_secs(10), "the new key is not known");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn a_tagged_vlan_works(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving_v2(link)?;
    let operator = bed.operator().v2().target("52:54:00:aa:bb:01@1708%eth0");
    operator.run(&["ping", "-c", "1"])?.success().map(drop)
}

fn a_version_that_is_turned_off_is_not_answered(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    for (on, off) in [("v2", "v1"), ("v1", "v2")] {
        let mut agent = configured(&bed, &format!("protocols = [\"{on}\"]"))?;
        let operator = bed.operator();
        operator.clone().dialect(on).run(&["ping", "-c", "1"])?.success()?;
        assert_eq!(agent.counters()?.named("ignored"), 0);
        let done = operator.dialect(off).run(&["--connect-timeout", "1", "ping", "-c", "1"])?;
        assert_eq!(done.code(), Some(255), "{done:?}");
        ensure!(done.stderr.contains("no answer"), "{done:?}");
        ensure!(agent.counters()?.named("ignored") > 0, "nothing was counted");
        drop(agent);
        fs::remove_dir_all(bed.path("auth"))?;
    }
    Ok(())
}

fn no_version_falls_back_to_the_other(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let mut agent = configured(&bed, "protocols = [\"v1\"]")?;
    let done = bed.operator().v2().run(&["--connect-timeout", "1", "ping"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("--proto v1"), "no hint: {done:?}");
    assert_eq!(agent.counters()?.named("sessions_opened"), 0, "it fell back");
    Ok(())
}

fn a_short_rsa_key_is_for_v1_alone(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let short = KeyPair::shared(1024)?;
    let agent = bed.v2_agent_command(&short, &[])?.start()?;
    ensure!(agent.log().contains("v2 is not served"), "{}", agent.log());
    ensure!(agent.log().contains("1024 bits are too short"), "{}", agent.log());
    let operator = bed.operator().key(&short.private_path());
    operator.clone().dialect("v1").run(&["ping"])?.success()?;
    let done = operator.v2().run(&["ping"])?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("keygen") && done.stderr.contains("--proto v1"), "{done:?}");
    drop(agent);
    let config = bed.path("agent.toml");
    fs::write(&config, "protocols = ['v2']")?;
    let done = bed.v2_agent_command(&short, &[])?.config(&config).finish()?;
    ensure!(!done.status.success(), "it started: {done:?}");
    ensure!(done.stderr.contains("too short") && done.stderr.contains("keygen"), "{done:?}");
    Ok(())
}
