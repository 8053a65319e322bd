//! Signatures first.

use minicbor::{Decode, Encode};

/// Receive files.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Push {}

/// Send files.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Pull {}
