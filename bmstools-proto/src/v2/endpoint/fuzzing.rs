//! An endpoint's door for the fuzz targets.

use std::time::Instant;

use super::{Endpoint, SessionId};

impl Endpoint {
    /// Seals any plaintext as the session's next packet: of the initial level (0), the
    /// handshake's (1) or the session's own (2). `None` where it has no such keys.
    #[doc(hidden)]
    pub fn seal_any(
        &mut self,
        now: Instant,
        session: SessionId,
        level: usize,
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let key = self.keys.get(&session)?;
        self.sessions.get_mut(key)?.seal_any(now, level, plaintext)
    }
}
