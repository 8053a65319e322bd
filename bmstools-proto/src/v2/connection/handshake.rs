//! TLS' part of a session: bytes in and out, keys, and what both sides learn.

use std::time::{Duration, Instant};

use rustls::quic::KeyChange;

use super::super::identity::PublicKey;
use super::super::packet::SessionKeys;
use super::super::recovery::Content;
use super::super::streams::PeerLimits;
use super::super::tls::{DirectionalPair, TlsError};
use super::{CloseReason, Connection, DATA, Fault, HANDSHAKE, Happened, Side, State};

impl Connection {
    /// Takes CRYPTO bytes of `level`.
    pub(super) fn receive_crypto(
        &mut self,
        now: Instant,
        level: usize,
        offset: u32,
        data: &[u8],
    ) -> Result<(), Fault> {
        let Some(crypto) = self.crypto.get_mut(level) else {
            return Err(Fault::Violation("CRYPTO in a data packet"));
        };
        let Some(bytes) = crypto.receive(offset, data)? else { return Ok(()) };
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let read = tls.read(&bytes);
        // Even a failed handshake may have written an alert's keys.
        self.write_tls();
        read.map_err(|error| self.fault(error))?;
        self.maybe_complete(now)
    }

    /// Takes over what TLS has to say and the keys that it gives.
    pub(super) fn write_tls(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        loop {
            let mut bytes = Vec::new();
            let change = tls.write(&mut bytes);
            let idle = bytes.is_empty() && change.is_none();
            if let Some(crypto) = self.crypto.get_mut(self.write_level) {
                crypto.write(&bytes);
            }
            match change {
                Some(KeyChange::Handshake { keys }) => {
                    let pair =
                        DirectionalPair { local: keys.local.packet, remote: keys.remote.packet };
                    self.levels[HANDSHAKE] = Some(pair);
                    self.write_level = HANDSHAKE;
                }
                Some(KeyChange::OneRtt { keys, next }) => {
                    let after = self.config.key_update_after;
                    self.keys = Some(SessionKeys::new(keys, next, after));
                    self.write_level = DATA;
                }
                None => {}
            }
            if idle {
                return;
            }
        }
    }

    /// Goes on where TLS is done. An agent's session is established then, an
    /// operator's with HANDSHAKE_DONE.
    fn maybe_complete(&mut self, now: Instant) -> Result<(), Fault> {
        let done = self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        if !done || self.side == Side::Operator || self.state != State::Handshaking {
            return Ok(());
        }
        self.done_due = true;
        self.establish(now)
    }

    /// HANDSHAKE_DONE came.
    pub(super) fn receive_done(&mut self, now: Instant) -> Result<(), Fault> {
        if self.side == Side::Agent {
            return Err(Fault::Violation("HANDSHAKE_DONE from an operator"));
        }
        match self.state {
            State::Handshaking => self.establish(now),
            _ => Ok(()),
        }
    }

    fn establish(&mut self, now: Instant) -> Result<(), Fault> {
        let Some(tls) = self.tls.take() else { return Ok(()) };
        let params = tls.peer_params().map_err(|error| self.fault(error))?;
        let (Some(params), Some(peer_key)) = (params, tls.peer_key()) else {
            return Err(Fault::Violation("a handshake without parameters or key"));
        };
        self.levels = [None, None];
        self.recovery.forget_level(0);
        self.recovery.forget_level(1);
        self.recovery.set_max_ack_delay(params.max_ack_delay.min(LONGEST_ACK_DELAY));
        self.recovery.set_credit(params.credit);
        self.streams.set_peer_limits(PeerLimits {
            max_data: params.max_data,
            max_stream_data: params.max_stream_data,
            max_streams: params.max_streams,
        });
        self.idle_timeout = self.config.idle_timeout.min(params.idle_timeout).max(SHORTEST_IDLE);
        self.sizing.begin(self.frame_room(usize::from(params.mtu), usize::MAX));
        self.rumour = None;
        self.state = State::Established;
        self.last_ping = now;
        let peer_software = params.software;
        self.happened = Some(Happened::Established { peer_key, peer_software });
        Ok(())
    }

    fn fault(&self, error: TlsError) -> Fault {
        match error {
            TlsError::WrongKey(actual) => {
                let why = CloseReason::WrongKey {
                    actual: actual.fingerprint(),
                    expected: self
                        .expected
                        .as_ref()
                        .map_or_else(String::new, PublicKey::fingerprint),
                };
                Fault::Close(why, ALERT + BAD_CERTIFICATE, "not the key that was expected".into())
            }
            TlsError::NotAuthorized(key) => {
                let fingerprint = key.fingerprint();
                let reason = format!("the key {fingerprint} is not authorised");
                Fault::Close(CloseReason::NotAuthorized(fingerprint), 5, reason)
            }
            TlsError::Failed { alert, what } => {
                let code = ALERT + u32::from(alert);
                Fault::Close(CloseReason::Handshake(what.clone()), code, what)
            }
        }
    }

    /// What the peer's CLOSE means to this side.
    pub(super) fn reason_of(&self, code: u32, reason: &str) -> CloseReason {
        // For people's terminals, and not always from whom it seems.
        let reason = reason.replace(char::is_control, "\u{fffd}");
        match code {
            5 => CloseReason::NotAuthorized(reason),
            ALERT.. if self.is_handshaking() => {
                CloseReason::Handshake(format!("the peer says: {reason}"))
            }
            _ => CloseReason::Peer { code, reason },
        }
    }

    /// What a packet of the handshake holds, to be sent again where it is lost.
    pub(super) fn crypto_content(level: usize, offset: u32, len: usize) -> Content {
        // Both fit: there are three levels, and a frame is shorter than 64 KiB.
        Content::Crypto { level: level as u8, offset, len: len as u16 }
    }
}

/// Codes of TLS alerts begin here.
const ALERT: u32 = 256;
/// RFC 8446, section 6.
const BAD_CERTIFICATE: u32 = 42;
/// What is believed of a peer's announced delay.
const LONGEST_ACK_DELAY: Duration = Duration::from_millis(100);
/// Shorter idle timeouts would end sessions that only lost a frame.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);
