//! What happened so far, in numbers.

/// What happened at an endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames taken.
    pub received: u64,
    /// Frames refused: not parsed, or not fitting their session.
    pub refused: u64,
    /// Frames that came before.
    pub duplicates: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames sent again.
    pub retransmitted: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Opens turned away because a limit was reached.
    pub opens_refused: u64,
    /// Authentications that failed.
    pub auth_failures: u64,
}
