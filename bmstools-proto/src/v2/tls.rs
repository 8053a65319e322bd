//! The handshake: rustls' `quic` side, with raw public keys on both sides (RFC 7250).
//!
//! Key exchange and signatures take their randomness from the system, through rustls:
//! nothing else here comes from anything but the endpoint's seed.

mod verify;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::{AlwaysResolvesClientRawPublicKeys, ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::quic::{ClientConnection, Connection, KeyChange, PacketKey, ServerConnection, Version};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{AlertDescription, Side};

use super::cookie::NONCE_LEN;
use super::identity::{Identity, PublicKey};
use super::params::Params;
use verify::Trust;

/// Answers handshakes: identity and trusted keys. Made once per change of either.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    config: Result<Arc<ServerConfig>, TlsError>,
}

impl Acceptor {
    pub(crate) fn new(identity: &Identity, authorized: Arc<[PublicKey]>) -> Self {
        let builder = ServerConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoClock));
        let config = builder.with_protocol_versions(&[&TLS13]).map(|builder| {
            let keys = AlwaysResolvesServerRawPublicKeys::new(identity.certified());
            let mut config = builder
                .with_client_cert_verifier(Arc::new(Trust::new(authorized)))
                .with_cert_resolver(Arc::new(keys));
            config.alpn_protocols = vec![ALPN.to_vec()];
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Arc::new(config)
        });
        Self { config: config.map_err(|error| TlsError::local(&error)) }
    }

    /// A handshake as the agent.
    ///
    /// # Errors
    ///
    /// Where the identity cannot be used.
    pub(crate) fn accept(&self, params: &Params) -> Result<Tls, TlsError> {
        let connection = ServerConnection::new(self.config.clone()?, Version::V1, params.emit());
        connection.map(Tls::new).map_err(|error| TlsError::local(&error))
    }
}

/// Begins a handshake as `identity` with the agent that has `expected`.
///
/// # Errors
///
/// Where the identity cannot be used.
pub(crate) fn connect(
    identity: &Identity,
    expected: &PublicKey,
    params: &Params,
) -> Result<Tls, TlsError> {
    let keys = AlwaysResolvesClientRawPublicKeys::new(identity.certified());
    let trust = Trust::new(Arc::new([expected.clone()]));
    let begin = || {
        let mut config = ClientConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust))
            .with_client_cert_resolver(Arc::new(keys));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        // Never sent, but rustls wants one.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        ClientConnection::new(Arc::new(config), Version::V1, name, params.emit())
    };
    begin().map(Tls::new).map_err(|error| TlsError::local(&error))
}

/// The initial keys for `nonce` (RFC 9001, section 5.2).
pub(crate) fn initial_keys(nonce: &[u8; NONCE_LEN], is_agent: bool) -> DirectionalPair {
    let side = if is_agent { Side::Server } else { Side::Client };
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .expect("the provider has this suite for QUIC");
    DirectionalPair::from(suite.keys(nonce, side, Version::V1))
}

/// Keys to seal with (local) and to open with (remote).
pub(crate) struct DirectionalPair {
    pub(crate) local: Box<dyn PacketKey>,
    pub(crate) remote: Box<dyn PacketKey>,
}

impl From<rustls::quic::Keys> for DirectionalPair {
    /// Header protection is not used.
    fn from(keys: rustls::quic::Keys) -> Self {
        Self { local: keys.local.packet, remote: keys.remote.packet }
    }
}

impl fmt::Debug for DirectionalPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectionalPair")
    }
}

/// A handshake under way.
pub(crate) struct Tls {
    connection: Connection,
    /// Bytes of the peer's that may still come.
    room: usize,
    failed: Option<TlsError>,
}

impl Tls {
    fn new(connection: impl Into<Connection>) -> Self {
        Self { connection: connection.into(), room: MAX_HANDSHAKE, failed: None }
    }

    /// Takes the peer's bytes of the present level, in order; never those of two levels
    /// at once.
    ///
    /// # Errors
    ///
    /// Where the handshake has failed: the peer must be told, and every further call
    /// says the same.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = match self.room.checked_sub(bytes.len()) {
            None => Err(TlsError::Failed {
                alert: AlertDescription::DecodeError.into(),
                what: format!("it takes more than {MAX_HANDSHAKE} bytes"),
            }),
            Some(room) => {
                self.room = room;
                self.connection.read_hs(bytes).map_err(|error| self.explain(&error))
            }
        };
        self.failed = result.clone().err();
        result
    }

    /// Appends bytes to send under the present write level; a change of keys where
    /// what follows goes under new ones. Call until nothing comes.
    ///
    /// The agent has the session's keys before the operator has proven who it is, which
    /// it has when [`is_handshaking`](Self::is_handshaking) says no more.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) -> Option<KeyChange> {
        self.connection.write_hs(out)
    }

    /// Whether the peer's Finished is still to be verified.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The peer's parameters, once they have come. They are not authentic before the
    /// handshake is over.
    ///
    /// # Errors
    ///
    /// Where they break the protocol.
    pub(crate) fn peer_params(&self) -> Result<Option<Params>, TlsError> {
        let Some(bytes) = self.connection.quic_transport_parameters() else { return Ok(None) };
        match Params::parse(bytes) {
            Some(params) => Ok(Some(params)),
            None => Err(TlsError::Failed {
                alert: AlertDescription::IllegalParameter.into(),
                what: "the peer's transport parameters break the protocol".into(),
            }),
        }
    }

    /// The peer's key, once it has been verified.
    pub(crate) fn peer_key(&self) -> Option<PublicKey> {
        let chain = self.connection.peer_certificates()?;
        chain.first().map(|key| PublicKey::from_spki(key))
    }

    fn explain(&self, error: &rustls::Error) -> TlsError {
        match (verify::refused(error), &self.connection) {
            (Some(key), Connection::Client(_)) => TlsError::WrongKey(key),
            (Some(key), Connection::Server(_)) => TlsError::NotAuthorized(key),
            (None, connection) => {
                let alert = connection.alert().unwrap_or(AlertDescription::InternalError);
                TlsError::Failed { alert: alert.into(), what: error.to_string() }
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("failed", &self.failed).finish_non_exhaustive()
    }
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

impl TlsError {
    fn local(error: &rustls::Error) -> Self {
        Self::Failed { alert: AlertDescription::InternalError.into(), what: error.to_string() }
    }
}

/// Raw public keys have no dates.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

const ALPN: &[u8] = b"bmstools/2";
/// Most bytes of a peer's whole handshake. With RSA of 8192 bits it sends about 2.5 kB.
const MAX_HANDSHAKE: usize = 8 << 10;

/// Fastest first. No post-quantum key exchange: its hello would fill five frames.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    const GROUPS: [&dyn SupportedKxGroup; 2] = [kx_group::X25519, kx_group::SECP256R1];
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: GROUPS.to_vec(),
        ..default_provider()
    })
});
