//! One agent an interface: two would both answer each operator.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Context as _, bail};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::geteuid;
use tracing::warn;

/// The claim on an interface of this network namespace, for as long as it lives.
///
/// It is the name of a socket: the kernel keeps those for each network namespace,
/// as it does interfaces, and a killed process leaves none behind.
pub(crate) struct Claim(#[expect(dead_code, reason = "it is held, not used")] Option<UnixListener>);

impl Claim {
    /// Claims `interface`.
    ///
    /// # Errors
    ///
    /// Where another agent serves it. A process of another user than root's and
    /// this one's claims nothing: any program may take the name.
    pub(crate) fn on(interface: &str) -> anyhow::Result<Self> {
        let name = format!("bmstools-agent/{interface}");
        let address = SocketAddr::from_abstract_name(&name).context("cannot claim it")?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self(Some(listener))),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                refuse_twin(interface, owner(&name))?;
                warn!(interface, "cannot tell whether another agent serves this: @{name} is taken");
                Ok(Self(None))
            }
            Err(error) => Err(error).context("cannot claim it"),
        }
    }
}

/// The user and the process that listen at `name`.
fn owner(name: &str) -> io::Result<(u32, i32)> {
    // Nobody accepts there: where others have filled its queue, this must not wait.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    let owner = socket_peercred(&socket)?;
    Ok((owner.uid.as_raw(), owner.pid.as_raw_nonzero().get()))
}

fn refuse_twin(interface: &str, owner: io::Result<(u32, i32)>) -> anyhow::Result<()> {
    match owner {
        Ok((user, process)) if user == 0 || user == geteuid().as_raw() => bail!(
            "process {process}, another bmstools-agent, serves {interface} already; stop it first"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_served_by_one_agent_at_a_time() {
        let interface = format!("claim{}", std::process::id());
        let claim = Claim::on(&interface).unwrap();
        let refusal = Claim::on(&interface).map(drop).unwrap_err().to_string();
        let process = format!("process {}, another bmstools-agent", std::process::id());
        assert!(refusal.contains(&process) && refusal.contains(&interface), "{refusal}");
        Claim::on(&format!("{interface}b")).unwrap();
        drop(claim);
        Claim::on(&interface).unwrap();
    }

    #[test]
    fn a_user_who_takes_the_name_keeps_no_agent_from_starting() {
        refuse_twin("eth0", Ok((4242, 1))).unwrap();
        refuse_twin("eth0", Err(ErrorKind::ConnectionRefused.into())).unwrap();
        refuse_twin("eth0", Ok((0, 1))).unwrap_err();
    }
}
