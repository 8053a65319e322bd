//! Every limit and delay of the protocol, each with its reason.

use std::time::Duration;

/// Limits and delays of an endpoint.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes behind the Ethernet header that a frame sent carries at most. v1 has
    /// no way to ask what the other end can take, so this stays at Ethernet's own
    /// 1500 even where the interface here could send more. No buffer that is sent
    /// from may be smaller, and it is at least
    /// [`MIN_MTU`](bmstools_common::ethernet::MIN_MTU).
    pub mtu: usize,

    /// Sessions at once. One costs about 1 kB idle and a message at most when
    /// busy.
    pub max_sessions: usize,
    /// Sessions at once that have not authenticated: what a stranger can hold.
    pub max_unauthenticated: usize,
    /// Sessions at once from one address, so that one operator host cannot take
    /// all. Many operators may share a jump host.
    pub max_sessions_per_peer: usize,
    /// Bytes of a message. Peers send at most 900,000 bytes of file data in one;
    /// command lines are limited to 128 KiB by Linux.
    pub max_message: usize,
    /// Bytes of an answer that an operator takes: the output of a command, which
    /// JSON makes up to six times longer.
    pub max_response: usize,
    /// Bytes of a message before authentication: an MD5 in hexadecimal.
    pub max_unauthenticated_message: usize,
    /// Sessions that may be in the middle of a message at once. The fragments of
    /// others are not acknowledged, so they come again: this bounds memory without
    /// losing anything.
    pub max_reassemblies: usize,
    /// Challenges that one session may ask for: one for every authorised key.
    pub max_challenges: usize,
    /// Acknowledgements that wait to be sent in one session. Past that, they are
    /// forgotten, and the fragments come again.
    pub max_acks: usize,

    /// Answers that wait behind the one being sent in one session. Past that, its
    /// requests are not acknowledged: an operator that takes each answer before the
    /// next request never gets there, and one that takes none must not fill the
    /// memory.
    pub max_queued: usize,

    /// Frames in flight at most. veth's ring holds 256 and overruns at about 90
    /// (measured); 64 frames fill 1 Gb/s up to a round-trip time of 0.7 ms.
    pub window: usize,
    /// Frames in flight at the start.
    pub initial_window: usize,
    /// Frames in flight however much is lost: random loss must not bring a push
    /// to a standstill.
    pub min_window: usize,
    /// Frames in flight to a deployed peer, which has an ordinary socket buffer.
    pub deployed_window: usize,

    /// Retransmission timeout before a round trip was measured. RFC 6298 says 1 s
    /// for the internet; a layer-2 network answers in well under 1 ms, and a frame
    /// sent too often does no harm.
    pub initial_retransmission_timeout: Duration,
    /// What the retransmission timeout exceeds the round trip by at least (the G of
    /// RFC 6298): a busy peer's scheduling delay. Short, since the loss of a
    /// message's last fragment is noticed by nothing else.
    pub retransmission_leeway: Duration,
    /// Most that the timeout doubles to.
    pub max_retransmission_timeout: Duration,
    /// Time without an acknowledgement after which the peer counts as gone.
    pub give_up: Duration,
    /// What deployed peers wait before each repetition. A deployed agent spoils
    /// its message where something is repeated needlessly.
    pub deployed_retries: [Duration; 4],
    /// Time within which an open must be answered.
    pub open_timeout: Duration,

    /// Time within which a deployed agent must answer anything but a command. It
    /// cannot be asked whether it is still there.
    pub deployed_response_timeout: Duration,

    /// Time that a session has to authenticate: longer than a deployed operator's
    /// retries take.
    pub auth_timeout: Duration,
    /// Time without a frame or a request under way after which a session ends.
    pub idle_timeout: Duration,
    /// Silence after which a peer that owes an answer is asked whether it is there
    /// (documented dialect only; deployed peers cannot take it).
    pub probe_interval: Duration,
    /// Questions without an answer after which it counts as gone.
    pub probes: u32,
    /// Time that the peer has to acknowledge the end of a session.
    pub linger: Duration,
    /// How long an agent holds answers back from a deployed operator, which throws
    /// away what comes before it has begun to wait.
    pub deployed_answer_delay: Duration,
}

impl Config {
    /// Silence after which a deployed peer counts as gone: all its retries.
    pub(crate) fn deployed_give_up(&self) -> Duration {
        self.deployed_retries.iter().sum()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1500,
            max_sessions: 1024,
            max_unauthenticated: 256,
            max_sessions_per_peer: 512,
            max_message: 1 << 20,
            max_response: 8 << 20,
            max_unauthenticated_message: 1024,
            max_reassemblies: 64,
            max_challenges: 64,
            max_acks: 512,
            max_queued: 1,
            window: 64,
            initial_window: 16,
            min_window: 8,
            deployed_window: 32,
            initial_retransmission_timeout: Duration::from_millis(200),
            retransmission_leeway: Duration::from_millis(5),
            max_retransmission_timeout: Duration::from_secs(2),
            give_up: Duration::from_secs(15),
            deployed_retries: [3, 6, 9, 15].map(Duration::from_secs),
            open_timeout: Duration::from_secs(10),
            deployed_response_timeout: Duration::from_secs(60),
            auth_timeout: Duration::from_secs(40),
            idle_timeout: Duration::from_secs(300),
            probe_interval: Duration::from_secs(5),
            probes: 3,
            linger: Duration::from_secs(3),
            deployed_answer_delay: Duration::from_millis(10),
        }
    }
}
