//! Every limit and delay of the protocol, each with its reason.

use std::time::Duration;

/// Limits and delays of an endpoint.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes behind the Ethernet header that a frame sent carries at most.
    pub mtu: usize,
    /// Sessions at once. Each costs a few kB idle.
    pub max_sessions: usize,
    /// Time without a frame or a request under way after which a session ends.
    pub idle_timeout: Duration,
    /// How long an agent holds answers back from a deployed operator, which throws
    /// away what comes before it has begun to wait.
    pub deployed_answer_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1500,
            max_sessions: 1024,
            idle_timeout: Duration::from_secs(300),
            deployed_answer_delay: Duration::from_millis(10),
        }
    }
}
