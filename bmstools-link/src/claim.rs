//! One operator a session key: an agent knows sessions by the key, the address and
//! the VLAN that they were opened from, and would take two for one.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use bmstools_common::Mac;

/// The claim on a session key at an address of this network namespace, for as long
/// as it lives. To be held from before the first frame until behind the last.
///
/// It is the name of a socket: the kernel keeps those for each network namespace,
/// as it does interfaces, and a killed process leaves none behind.
#[derive(Debug)]
pub struct KeyClaim {
    key: u16,
    _socket: Option<UnixDatagram>,
}

impl KeyClaim {
    /// Claims the first of `candidates` that nobody holds at `mac`, the address that
    /// frames are sent from.
    ///
    /// Any program may take the names. Where very many candidates in a row are held,
    /// somebody means to be in the way: the next is used without a claim.
    ///
    /// # Errors
    ///
    /// Where the process can have no more sockets, or the candidates end.
    pub fn first_free(mac: Mac, candidates: impl IntoIterator<Item = u16>) -> io::Result<Self> {
        let mut candidates = candidates.into_iter().filter(|key| *key != 0);
        for key in candidates.by_ref().take(TRIES) {
            if let Some(claim) = Self::on(mac, key)? {
                return Ok(claim);
            }
        }
        let key = candidates.next().ok_or(ErrorKind::AddrInUse)?;
        tracing::warn!(%mac, "session keys are held by others; using one that may be in use");
        Ok(Self { key, _socket: None })
    }

    /// Claims `key` at `mac`; `None` where another holds it.
    ///
    /// # Errors
    ///
    /// Where the process can have no more sockets.
    pub fn on(mac: Mac, key: u16) -> io::Result<Option<Self>> {
        let name = format!("bmstools-operator/{mac}/{key}");
        match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?) {
            Ok(socket) => Ok(Some(Self { key, _socket: Some(socket) })),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The session key.
    #[must_use]
    pub const fn key(&self) -> u16 {
        self.key
    }
}

/// With a thousand operators on a host, one key in 65 is taken: so many in a row
/// never are.
const TRIES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Netns;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    #[test]
    fn a_key_has_one_holder_at_a_time() {
        Netns::new().run(|| {
            let first = KeyClaim::on(MAC, 7).unwrap().unwrap();
            assert!(KeyClaim::on(MAC, 7).unwrap().is_none());
            let second = KeyClaim::first_free(MAC, [0, 7, 7, 8]).unwrap();
            assert_eq!((first.key(), second.key()), (7, 8));
            drop(first);
            // A process that another test begins to start holds it as well for a moment.
            let free = (0..500).find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                KeyClaim::first_free(MAC, [7, 8]).ok()
            });
            assert_eq!(free.unwrap().key(), 7);
        });
    }

    #[test]
    fn every_address_and_every_namespace_has_its_own_keys() {
        let (here, there) = (Netns::new(), Netns::new());
        let held = here.run(|| KeyClaim::on(MAC, 7).unwrap().unwrap());
        here.run(|| assert!(KeyClaim::on(MAC, 7).unwrap().is_none()));
        here.run(|| assert!(KeyClaim::on(Mac([2, 0, 0, 0, 0, 8]), 7).unwrap().is_some()));
        there.run(|| assert!(KeyClaim::on(MAC, 7).unwrap().is_some()));
        drop(held);
    }

    #[test]
    fn whoever_takes_all_names_keeps_no_operator_from_working() {
        Netns::new().run(|| {
            let held: Vec<_> = (1..=64).map(|key| KeyClaim::on(MAC, key).unwrap()).collect();
            assert!(held.iter().all(Option::is_some));
            assert_eq!(KeyClaim::first_free(MAC, 1..).unwrap().key(), 65);
            let refused = KeyClaim::first_free(MAC, 1..=64).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        });
    }
}
