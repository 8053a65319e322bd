//! Messages on streams: a length and CBOR.

use bmstools_proto::v2::message::MAX_MESSAGE;
use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode};

use crate::error::SessionError;
use crate::stream::{RecvStream, SendStream};

impl SendStream {
    /// One message: its length and its CBOR. Cancel-safe, as [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and where the message is longer than [`MAX_MESSAGE`].
    pub async fn send<M: Encode<()>>(&mut self, message: &M) -> Result<(), SessionError> {
        self.write(encode(message)?).await
    }

    /// One message, behind which nothing follows.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_last<M: Encode<()>>(&mut self, message: &M) -> Result<(), SessionError> {
        self.write_last(encode(message)?).await
    }
}

impl RecvStream {
    /// The next message; `None` where the stream ends in front of one. What follows it
    /// stays for the next call of this or of [`read`](Self::read). Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and where what came is no such message, longer than
    /// [`MAX_MESSAGE`], or ends in its middle.
    pub async fn receive<M: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<M>, SessionError> {
        loop {
            if self.partial.is_empty()
                && let Some(len) = whole(&self.rest)?
            {
                let message = self.advance(len);
                return decode(&message).map(Some);
            }
            let missing = self.partial.missing()?;
            if missing == 0 {
                let message = self.partial.take();
                return decode(&message).map(Some);
            }
            if !self.fill().await? {
                return if self.partial.is_empty() {
                    Ok(None)
                } else {
                    Err(SessionError::Truncated)
                };
            }
            let part = self.advance(missing);
            self.partial.0.extend_from_slice(&part);
        }
    }
}

/// The beginning of a message, its length included.
#[derive(Default)]
pub(crate) struct Partial(Vec<u8>);

impl Partial {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }

    /// Bytes until the next step: the whole length, then the whole message.
    fn missing(&self) -> Result<usize, SessionError> {
        let wanted = length(&self.0)?.unwrap_or(LENGTH);
        Ok(wanted.saturating_sub(self.0.len()))
    }
}

/// Bytes of the message that `bytes` begin with, where all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>, SessionError> {
    Ok(length(bytes)?.filter(|&len| len <= bytes.len()))
}

/// Bytes of the message that `bytes` begin with, its length included, where that is
/// there.
fn length(bytes: &[u8]) -> Result<Option<usize>, SessionError> {
    let Some(length) = bytes.first_chunk::<LENGTH>() else { return Ok(None) };
    let len = u32::from_be_bytes(*length) as usize;
    if len > MAX_MESSAGE {
        return Err(too_long(len));
    }
    Ok(Some(LENGTH + len))
}

fn encode<M: Encode<()>>(message: &M) -> Result<Bytes, SessionError> {
    let mut bytes = vec![0; LENGTH];
    minicbor::encode(message, &mut bytes).map_err(|error| malformed(&error))?;
    let len = bytes.len() - LENGTH;
    let length = u32::try_from(len).ok().filter(|_| len <= MAX_MESSAGE);
    let length = length.ok_or_else(|| too_long(len))?;
    bytes[..LENGTH].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.into())
}

/// Reads a message, its length in front of it.
fn decode<M: for<'b> Decode<'b, ()>>(message: &[u8]) -> Result<M, SessionError> {
    let body = message.get(LENGTH..).unwrap_or_default();
    let mut decoder = Decoder::new(body);
    let decoded = decoder.decode().map_err(|error| malformed(&error))?;
    match body.len().saturating_sub(decoder.position()) {
        0 => Ok(decoded),
        left => Err(SessionError::Malformed(format!("{left} bytes behind its end"))),
    }
}

fn malformed(error: &dyn std::error::Error) -> SessionError {
    SessionError::Malformed(error.to_string())
}

fn too_long(len: usize) -> SessionError {
    SessionError::Malformed(format!("{len} bytes long, and {MAX_MESSAGE} at most are allowed"))
}

/// Bytes of a message's length.
const LENGTH: usize = 4;
