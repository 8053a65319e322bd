//! The handshake: rustls' `quic` side, with raw public keys on both sides.
//!
//! Signatures first.

use std::sync::Arc;

use rustls::quic::{DirectionalKeys, KeyChange};

use super::identity::{Identity, PublicKey};
use super::params::Params;

/// Answers handshakes: identity and trusted keys. Made once per change of either.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {}

impl Acceptor {
    pub(crate) fn new(_identity: &Identity, _authorized: Arc<[PublicKey]>) -> Self {
        todo!()
    }
    pub(crate) fn accept(&self, _params: &Params) -> Result<Tls, TlsError> {
        todo!()
    }
}

/// Begins a handshake as `identity` with the agent that has `expected`.
pub(crate) fn connect(
    _identity: &Identity,
    _expected: &PublicKey,
    _params: &Params,
) -> Result<Tls, TlsError> {
    todo!()
}

/// The initial keys for `nonce` (RFC 9001, section 5.2).
pub(crate) fn initial_keys(_nonce: &[u8; 16], _is_agent: bool) -> DirectionalPair {
    todo!()
}

/// Keys to seal with (local) and to open with (remote).
pub(crate) struct DirectionalPair {
    pub(crate) local: Box<dyn rustls::quic::PacketKey>,
    pub(crate) remote: Box<dyn rustls::quic::PacketKey>,
}

/// A handshake under way.
pub(crate) struct Tls {}

impl Tls {
    /// Takes the peer's bytes of the present level, in order.
    pub(crate) fn read(&mut self, _bytes: &[u8]) -> Result<(), TlsError> {
        todo!()
    }
    /// Appends bytes to send under the present write level; a change of keys where
    /// what follows goes under new ones. Call until nothing comes.
    pub(crate) fn write(&mut self, _out: &mut Vec<u8>) -> Option<KeyChange> {
        todo!()
    }
    pub(crate) fn is_handshaking(&self) -> bool {
        todo!()
    }
    /// The peer's parameters, once they have come.
    pub(crate) fn peer_params(&self) -> Result<Option<Params>, TlsError> {
        todo!()
    }
    /// The peer's key, once it has been verified.
    pub(crate) fn peer_key(&self) -> Option<PublicKey> {
        todo!()
    }
    #[allow(dead_code, reason = "skeleton")]
    fn unused(_: DirectionalKeys) {}
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsError {
    /// The peer's key is not the one expected: it is this.
    WrongKey(PublicKey),
    /// The peer's key is not among the trusted (agent's side): it is this.
    NotAuthorized(PublicKey),
    /// Anything else: the alert to send, and words for people.
    Failed { alert: u8, what: String },
}
