//! Several messages in one write.

use bmstools_proto::v2::message::MAX_MESSAGE;
use bmstools_session::SessionError;
use bytes::Bytes;
use minicbor::Encode;

/// Messages that go out together.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<u8>);

impl Batch {
    /// Adds one.
    ///
    /// # Errors
    ///
    /// Where it is longer than a message may be.
    pub(crate) fn push(&mut self, message: &impl Encode<()>) -> Result<(), SessionError> {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        let encoded = minicbor::encode(message, &mut self.0);
        let len = self.0.len() - at - 4;
        if encoded.is_err() || len > MAX_MESSAGE {
            self.0.truncate(at);
            return Err(SessionError::Malformed(format!("a message of {len} bytes")));
        }
        self.0[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        Ok(())
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes to write; the batch is empty then.
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

/// One message as bytes.
///
/// # Errors
///
/// As [`Batch::push`].
pub(crate) fn one(message: &impl Encode<()>) -> Result<Bytes, SessionError> {
    let mut batch = Batch::default();
    batch.push(message)?;
    Ok(batch.take())
}
