//! What keeps an agent from starting, and how it says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use bmstools_common::maps::Rate;
use bmstools_link::{Mode, Options};
use bmstools_tests::agent::AgentCommand;
use bmstools_tests::{Link, Testbed, command, nic};

/// Fails unless the agent ends with an error that holds all of `words`.
fn require_refusal(command: AgentCommand, words: &[&str]) -> Result<()> {
    let done = command.finish()?;
    ensure!(done.code().is_some_and(|code| code == 1 || code == 2), "{done:?}");
    for word in words {
        ensure!(done.stderr.contains(word), "nothing of `{word}`: {}", done.stderr);
    }
    ensure!(!done.stderr.contains("panicked"), "{}", done.stderr);
    Ok(())
}

#[test]
fn a_missing_key_names_the_file_and_the_way_out() -> Result<()> {
    let bed = Testbed::new(Link::Packet)?;
    let command = bed.agent_command()?;
    fs::remove_file(bed.path("auth/public.pem"))?;
    require_refusal(command, &["public.pem", "bmstools keygen"])
}

#[test]
fn a_missing_key_directory_is_named() -> Result<()> {
    let bed = Testbed::new(Link::Packet)?;
    let command = AgentCommand::new(bed.agent_namespace())?
        .interface(nic::NAME)
        .auth_directory(&bed.path("nowhere"));
    require_refusal(command, &["nowhere"])
}

#[test]
fn a_file_that_is_no_key_is_named() -> Result<()> {
    let bed = Testbed::new(Link::Packet)?;
    let command = bed.agent_command()?;
    fs::write(bed.path("auth/public.pem"), "not a key")?;
    require_refusal(command, &["public.pem"])
}

#[test]
fn a_private_key_that_others_can_read_is_refused() -> Result<()> {
    let bed = Testbed::new(Link::Packet)?;
    let command = bed.agent_command()?;
    let private = bed.path("auth/private.pem");
    fs::copy(bed.keys.private_path(), &private)?;
    fs::set_permissions(&private, fs::Permissions::from_mode(0o644))?;
    require_refusal(command, &["private.pem", "chmod 600"])
}

#[test]
fn a_second_agent_on_an_interface_names_the_first() -> Result<()> {
    for link in [Link::Xdp, Link::XdpGeneric, Link::Packet] {
        let (bed, _agent) = Testbed::serving(link)?;
        require_refusal(bed.agent_command()?, &["another bmstools-agent", nic::NAME])?;
    }
    Ok(())
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    for link in [Link::Xdp, Link::XdpGeneric, Link::Packet] {
        let bed = Testbed::new(link)?;
        require_refusal(bed.agent_command()?.interface("nic9"), &["nic9"])?;
    }
    Ok(())
}

#[test]
fn no_interface_at_all_is_an_error() -> Result<()> {
    let bed = Testbed::new(Link::Packet)?;
    bed.agent_command()?;
    let command = AgentCommand::new(bed.agent_namespace())?.auth_directory(&bed.path("auth"));
    require_refusal(command, &["--iface"])
}

#[test]
fn a_bad_configuration_is_named_with_the_setting() -> Result<()> {
    let bed = Testbed::new(Link::Packet)?;
    let config = bed.path("agent.toml");
    fs::write(&config, "[exec]\nmax_output = 1\n")?;
    require_refusal(bed.agent_command()?.config(&config), &["agent.toml", "max_output"])?;
    fs::write(&config, "[exec]\nno_such_setting = 1\n")?;
    require_refusal(bed.agent_command()?.config(&config), &["agent.toml", "no_such_setting"])?;
    fs::write(&config, "[exec\n")?;
    require_refusal(bed.agent_command()?.config(&config), &["agent.toml"])?;
    require_refusal(bed.agent_command()?.config(&bed.path("no.toml")), &["no.toml"])
}

#[test]
fn somebody_elses_xdp_program_is_left_alone() -> Result<()> {
    let bed = Testbed::new(Link::Xdp)?;
    let unlimited = Rate { interval_ns: 0, burst: 1 };
    let options = Options {
        interface: nic::NAME.into(),
        mode: Mode::Xdp,
        zero_copy: false,
        opens_per_source: unlimited,
        opens_global: unlimited,
        accepts_opens: true,
    };
    let _occupant = bed.agent_namespace().enter(|| bmstools_link::open(&options))??;
    require_refusal(bed.agent_command()?, &["XDP program", "--link packet"])?;
    ensure!(nic::has_xdp_program(bed.agent_namespace(), nic::NAME)?, "it was detached");
    Ok(())
}

#[test]
fn programs_explain_themselves() -> Result<()> {
    let programs = [bmstools_tests::binaries::agent()?, bmstools_tests::binaries::operator()?];
    for program in programs {
        let help = command::run(&format!("{} --help", program.display()))?;
        ensure!(help.contains("Usage"), "{help}");
        let version = command::run(&format!("{} --version", program.display()))?;
        ensure!(version.contains('.'), "{version}");
    }
    Ok(())
}
