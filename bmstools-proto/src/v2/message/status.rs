//! Signatures first.

use minicbor::{Decode, Encode};

/// Tell about the agent.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct StatusRequest {}

/// Answer at once.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Ping {}
