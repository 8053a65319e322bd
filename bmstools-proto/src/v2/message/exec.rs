//! Signatures first.

use minicbor::{Decode, Encode};

/// Run a command.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Exec {}

/// Something about jobs.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct JobRequest {}
