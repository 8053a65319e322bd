//! Questions about the agent itself.

use minicbor::{Decode, Encode};

/// Tell about the agent. Answered by a [`Status`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct StatusRequest {}

/// What an agent says of itself and its host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    /// The agent's version.
    #[n(0)]
    pub version: String,
    /// Milliseconds since the agent started.
    #[n(1)]
    pub uptime_ms: u64,
    /// The host's name.
    #[n(2)]
    pub host: String,
    /// The host's kernel: its name, release and machine, as `uname -srm` has them.
    #[n(3)]
    pub kernel: String,
    /// Milliseconds since the host started.
    #[n(4)]
    pub host_uptime_ms: u64,
    /// The interfaces that the agent serves.
    #[n(5)]
    pub links: Vec<Link>,
    /// Open sessions of version 1.
    #[n(6)]
    pub sessions_v1: u32,
    /// Open sessions of version 2, the asker's among them.
    #[n(7)]
    pub sessions_v2: u32,
    /// Detached commands that run.
    #[n(8)]
    pub jobs: u32,
    /// What the agent has counted since it started, by name.
    #[n(9)]
    pub counters: Vec<Counter>,
}

/// An interface that the agent serves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Link {
    /// Its name.
    #[n(0)]
    pub interface: String,
    /// Its address.
    #[n(1)]
    pub mac: String,
    /// Bytes behind the Ethernet header of a frame at most.
    #[n(2)]
    pub mtu: u32,
    /// How frames move, for people.
    #[n(3)]
    pub mode: String,
    /// What was counted there, by name.
    #[n(4)]
    pub counters: Vec<Counter>,
}

/// A counter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Counter {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its value.
    #[n(1)]
    pub value: u64,
}

/// Answer at once by a [`Pong`] of the same number. More of them may follow the
/// request on its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// Which one it is.
    #[n(0)]
    pub number: u64,
}

/// The answer to a [`Ping`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// Which one it answers.
    #[n(0)]
    pub number: u64,
}

/// Take what follows on the stream to its end and throw it away. The answer is a
/// [`Measured`], with as many bytes behind it as are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Measure {
    /// Bytes to send back, of any value.
    #[n(0)]
    pub back: u64,
}

/// What arrived for a [`Measure`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Measured {
    /// Bytes.
    #[n(0)]
    pub received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_peer_adds_is_passed_over() {
        // {0: 7, 1: "more"}
        let newer = [0xa2, 0x00, 0x07, 0x01, 0x64, b'm', b'o', b'r', b'e'];
        let ping: Ping = minicbor::decode(&newer).unwrap();
        assert_eq!(ping, Ping { number: 7 });
        let asked: StatusRequest = minicbor::decode(&newer).unwrap();
        assert_eq!(asked, StatusRequest {});
    }

    #[test]
    fn a_status_comes_back_as_it_was() {
        let counters = vec![Counter { name: "received".into(), value: u64::MAX }];
        let link = Link { interface: "eth0".into(), mtu: 1500, counters, ..Link::default() };
        let status = Status { host: "h\u{e4}".into(), links: vec![link], ..Status::default() };
        let bytes = minicbor::to_vec(&status).unwrap();
        assert_eq!(minicbor::decode::<Status>(&bytes).unwrap(), status);
    }
}
