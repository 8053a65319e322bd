use rustls::quic::{Keys, Secrets};

use super::*;
use crate::v2::Config;
use crate::v2::identity::{KeyType, generate};
use crate::v2::packet;

/// What a finished handshake leaves at one side.
pub(crate) struct Side {
    pub(crate) tls: Tls,
    pub(crate) handshake: Option<DirectionalPair>,
    pub(crate) session: Option<(Keys, Secrets)>,
}

impl Side {
    fn new(tls: Tls) -> Self {
        Self { tls, handshake: None, session: None }
    }

    /// All that this side has to say, a flight a level.
    fn flights(&mut self) -> Vec<Vec<u8>> {
        let mut flights = Vec::new();
        loop {
            let mut flight = Vec::new();
            let change = self.tls.write(&mut flight);
            let done = flight.is_empty() && change.is_none();
            if !flight.is_empty() {
                flights.push(flight);
            }
            match change {
                Some(KeyChange::Handshake { keys }) => {
                    assert!(self.handshake.replace(keys.into()).is_none());
                }
                Some(KeyChange::OneRtt { keys, next }) => {
                    assert!(self.session.replace((keys, next)).is_none());
                }
                None => {}
            }
            if done {
                return flights;
            }
        }
    }
}

/// Steps both sides until neither has anything to say, `piece` bytes at a time.
fn drive(operator: Tls, agent: Tls, piece: usize) -> Result<(Side, Side), TlsError> {
    let (mut operator, mut agent) = (Side::new(operator), Side::new(agent));
    loop {
        let mut quiet = true;
        for flight in operator.flights() {
            quiet = false;
            flight.chunks(piece).try_for_each(|bytes| agent.tls.read(bytes))?;
        }
        for flight in agent.flights() {
            quiet = false;
            flight.chunks(piece).try_for_each(|bytes| operator.tls.read(bytes))?;
        }
        if quiet {
            return Ok((operator, agent));
        }
    }
}

fn identity(kind: KeyType) -> Identity {
    Identity::from_pem(&generate(kind).unwrap()).unwrap()
}

fn params() -> Params {
    Params::of(&Config::default(), 1500)
}

fn accept(identity: &Identity, authorized: &[PublicKey]) -> Tls {
    Acceptor::new(identity, authorized.into()).accept(&params()).unwrap()
}

/// Both sides after a handshake with Ed25519 keys.
pub(crate) fn established() -> (Side, Side) {
    let key = identity(KeyType::Ed25519);
    let operator = connect(&key, &key.public_key(), &params()).unwrap();
    drive(operator, accept(&key, &[key.public_key()]), usize::MAX).unwrap()
}

fn seals_for(from: &dyn PacketKey, to: &dyn PacketKey) -> bool {
    let mut frame = [7; 64];
    let len = packet::seal(from, 5, 14, 20, &mut frame);
    assert_eq!(len, 14 + 20 + packet::TAG_LEN);
    packet::open(to, 5, 14, &mut frame[..len]).is_some_and(|text| text == [7; 20])
}

#[test]
fn every_kind_of_key_proves_itself_to_every_other() {
    let rsa_pkcs1 = generate(KeyType::Rsa(2048)).unwrap();
    let rsa_pkcs8 = {
        use rsa::pkcs1::DecodeRsaPrivateKey;
        use rsa::pkcs8::EncodePrivateKey;
        let key = rsa::RsaPrivateKey::from_pkcs1_pem(&rsa_pkcs1).unwrap();
        key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap()
    };
    let identities = [
        Identity::from_pem(&rsa_pkcs1).unwrap(),
        Identity::from_pem(&rsa_pkcs8).unwrap(),
        identity(KeyType::Ed25519),
        identity(KeyType::P256),
    ];
    for agent in &identities {
        for operator in &identities {
            let others = [agent.public_key(), operator.public_key()];
            let begun = connect(operator, &agent.public_key(), &params()).unwrap();
            let (mut left, mut right) = drive(begun, accept(agent, &others), 200).unwrap();
            assert!(!left.tls.is_handshaking() && !right.tls.is_handshaking());
            assert_eq!(left.tls.peer_key(), Some(agent.public_key()));
            assert_eq!(right.tls.peer_key(), Some(operator.public_key()));
            assert_eq!(left.tls.peer_params(), Ok(Some(params())));
            assert_eq!(right.tls.peer_params(), Ok(Some(params())));
            let (a, b) = (left.handshake.take().unwrap(), right.handshake.take().unwrap());
            assert!(seals_for(a.local.as_ref(), b.remote.as_ref()));
            assert!(seals_for(b.local.as_ref(), a.remote.as_ref()));
            assert!(!seals_for(a.local.as_ref(), a.remote.as_ref()));
            let ((c, _), (d, _)) = (left.session.take().unwrap(), right.session.take().unwrap());
            assert!(seals_for(c.local.packet.as_ref(), d.remote.packet.as_ref()));
            assert!(seals_for(d.local.packet.as_ref(), c.remote.packet.as_ref()));
            assert!(!seals_for(c.local.packet.as_ref(), b.remote.as_ref()));
        }
    }
}

#[test]
fn an_operator_refuses_a_key_that_it_did_not_expect() {
    let (operator, agent) = (identity(KeyType::Ed25519), identity(KeyType::P256));
    let expected = identity(KeyType::P256).public_key();
    let begun = connect(&operator, &expected, &params()).unwrap();
    let error = drive(begun, accept(&agent, &[operator.public_key()]), 64).err();
    assert_eq!(error, Some(TlsError::WrongKey(agent.public_key())));
}

#[test]
fn an_agent_refuses_an_operator_that_it_does_not_trust() {
    let (operator, agent) = (identity(KeyType::Rsa(2048)), identity(KeyType::Ed25519));
    let begun = connect(&operator, &agent.public_key(), &params()).unwrap();
    let error = drive(begun, accept(&agent, &[agent.public_key()]), 64).err().unwrap();
    assert_eq!(error, TlsError::NotAuthorized(operator.public_key()));

    let begun = connect(&operator, &agent.public_key(), &params()).unwrap();
    let nobody = drive(begun, accept(&agent, &[]), 64).err().unwrap();
    assert_eq!(nobody, TlsError::NotAuthorized(operator.public_key()));
}

#[test]
fn a_public_key_without_its_private_half_proves_nothing() {
    // Presents the trusted key, and signs with its own.
    let (trusted, thief) = (identity(KeyType::Ed25519), identity(KeyType::Ed25519));
    let agent = identity(KeyType::Ed25519);
    let forged = trusted.presented_by(&thief);
    let begun = connect(&forged, &agent.public_key(), &params()).unwrap();
    let error = drive(begun, accept(&agent, &[trusted.public_key()]), 500).err().unwrap();
    assert!(matches!(error, TlsError::Failed { alert: 51, .. }), "{error:?}");

    let begun = connect(&agent, &trusted.public_key(), &params()).unwrap();
    let error = drive(begun, accept(&forged, &[agent.public_key()]), 500).err().unwrap();
    assert!(matches!(error, TlsError::Failed { alert: 51, .. }), "{error:?}");
}

/// A handshake whose byte `at`, counted over all that both sides send, is damaged: the
/// bytes sent, and whether the agent takes the operator for proven.
fn damaged(acceptor: &Acceptor, key: &Identity, at: usize) -> (usize, bool) {
    let mut sides = [
        Side::new(connect(key, &key.public_key(), &params()).unwrap()),
        Side::new(acceptor.accept(&params()).unwrap()),
    ];
    let mut sent = 0;
    for turn in 0..3 {
        for mut flight in sides[turn % 2].flights() {
            if let Some(byte) = at.checked_sub(sent).and_then(|at| flight.get_mut(at)) {
                *byte ^= 1 << (at % 8);
            }
            sent += flight.len();
            if sides[(turn + 1) % 2].tls.read(&flight).is_err() {
                return (sent, false);
            }
        }
    }
    (sent, !sides[1].tls.is_handshaking())
}

#[test]
fn no_byte_of_a_handshake_can_be_changed() {
    let key = identity(KeyType::Ed25519);
    let acceptor = Acceptor::new(&key, [key.public_key()].into());
    let (whole, proven) = damaged(&acceptor, &key, usize::MAX);
    assert!(proven && whole > 600);
    for at in 0..whole {
        assert!(!damaged(&acceptor, &key, at).1, "byte {at}");
    }
}

#[test]
fn a_private_key_with_a_wrong_bit_is_refused_or_harmless() {
    let pem = generate(KeyType::Rsa(2048)).unwrap();
    let body = pem.find("KEY-----").unwrap() + 9;
    let mut usable = 0;
    for at in (body..pem.len() - 40).step_by(13) {
        let mut bytes = pem.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let Ok(key) = Identity::from_pem(std::str::from_utf8(&bytes).unwrap()) else { continue };
        let operator = connect(&key, &key.public_key(), &params()).unwrap();
        let proven = drive(operator, accept(&key, &[key.public_key()]), 500);
        assert!(proven.is_ok(), "byte {at}: {:?}", proven.err());
        usable += 1;
    }
    assert!(usable < 20, "{usable}");
}

#[test]
fn an_operator_without_a_key_or_without_our_protocol_is_refused() {
    let key = identity(KeyType::Ed25519);
    let begin = |alpn: &[u8], shows_key: bool| {
        let trust = Trust::new([key.public_key()].into());
        let builder = ClientConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust));
        let mut config = if shows_key {
            let keys = AlwaysResolvesClientRawPublicKeys::new(key.certified());
            builder.with_client_cert_resolver(Arc::new(keys))
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let config = Arc::new(config);
        Tls::new(ClientConnection::new(config, Version::V1, name, params().emit()).unwrap())
    };
    let run = |operator| drive(operator, accept(&key, &[key.public_key()]), 500).map(|_| ());
    assert_eq!(run(begin(ALPN, true)), Ok(()));
    let nameless = run(begin(ALPN, false));
    assert!(matches!(nameless, Err(TlsError::Failed { .. })), "{nameless:?}");
    let other = run(begin(b"h3", true));
    assert!(matches!(other, Err(TlsError::Failed { alert: 120, .. })), "{other:?}");
}

#[test]
fn a_failed_handshake_stays_failed_and_garbage_is_told_by_an_alert() {
    let key = identity(KeyType::Ed25519);
    let mut agent = accept(&key, &[key.public_key()]);
    let error = agent.read(&[0xff; 40]).unwrap_err();
    assert!(matches!(error, TlsError::Failed { alert: 10.., .. }), "{error:?}");
    assert_eq!(agent.read(&[]), Err(error));
}

#[test]
fn a_peer_cannot_make_a_handshake_long() {
    let key = identity(KeyType::Ed25519);
    let mut agent = accept(&key, &[key.public_key()]);
    // The beginning of a ClientHello of 60,000 bytes.
    assert_eq!(agent.read(&[1, 0, 0xea, 0x60]), Ok(()));
    let mut taken = 0;
    while agent.read(&[0; 512]).is_ok() {
        taken += 512;
        assert!(taken <= MAX_HANDSHAKE);
    }
}

#[test]
fn parameters_that_break_the_protocol_are_told() {
    let key = identity(KeyType::Ed25519);
    let bad = Params { credit: 0, ..params() };
    let operator = connect(&key, &key.public_key(), &bad).unwrap();
    let (_, agent) = drive(operator, accept(&key, &[key.public_key()]), 256).unwrap();
    assert!(matches!(agent.tls.peer_params(), Err(TlsError::Failed { alert: 47, .. })));
}

#[test]
fn the_hello_fits_two_frames_and_nothing_follows_the_handshake() {
    let key = identity(KeyType::Rsa(2048));
    let mut operator = Side::new(connect(&key, &key.public_key(), &params()).unwrap());
    let hello = operator.flights().concat();
    assert!(hello.len() <= 320, "{}", hello.len());
    let (mut operator, mut agent) = established();
    let suite = agent.tls.connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert!(operator.flights().is_empty() && agent.flights().is_empty());
}

#[test]
fn initial_keys_are_those_of_the_nonce_and_the_direction() {
    let (operator, agent) = (initial_keys(&[1; 16], false), initial_keys(&[1; 16], true));
    assert!(seals_for(operator.local.as_ref(), agent.remote.as_ref()));
    assert!(seals_for(agent.local.as_ref(), operator.remote.as_ref()));
    assert!(!seals_for(operator.local.as_ref(), operator.remote.as_ref()));
    let other = initial_keys(&[2; 16], true);
    assert!(!seals_for(operator.local.as_ref(), other.remote.as_ref()));
}
