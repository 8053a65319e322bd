//! What each side tells the other of its limits (docs/protocol-v2.md, "Transport
//! parameters").
//!
//! Signatures first.

use std::time::Duration;

/// Transport parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Params {
    pub(crate) mtu: u16,
    pub(crate) max_data: u64,
    pub(crate) max_stream_data: u64,
    pub(crate) max_streams: u32,
    pub(crate) credit: u32,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_ack_delay: Duration,
    pub(crate) software: String,
}

impl Params {
    pub(crate) fn of(_config: &super::Config, _mtu: usize) -> Self {
        todo!()
    }
    pub(crate) fn emit(&self) -> Vec<u8> {
        todo!()
    }
    pub(crate) fn parse(_bytes: &[u8]) -> Option<Self> {
        todo!()
    }
}
