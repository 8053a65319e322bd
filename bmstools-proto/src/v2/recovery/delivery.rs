//! How much was delivered, and whether the path was what bounded it.

/// What was delivered so far.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    delivered: u64,
    /// Something other than the path is the bound until this much was delivered.
    limited_until: u64,
}

/// The state when a packet left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) delivered: u64,
    pub(super) limited: bool,
}

impl Delivery {
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { delivered: self.delivered, limited: self.limited_until > self.delivered }
    }

    /// The application or the peer's credit holds back while `in_flight` bytes are under
    /// way.
    pub(super) fn limited(&mut self, in_flight: u64) {
        self.limited_until = self.delivered.saturating_add(in_flight).saturating_add(1);
    }

    pub(super) fn acknowledged(&mut self, bytes: u64) {
        self.delivered = self.delivered.saturating_add(bytes);
    }
}
