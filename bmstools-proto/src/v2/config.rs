//! Every limit and delay of version 2, each with its reason.

use std::time::Duration;

/// Limits and delays of an endpoint.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes behind the Ethernet header that a frame carries at most, each way: what
    /// the port takes. At least 256.
    pub mtu: usize,
    /// Sessions at once that this side answers. One costs about 10 kB idle.
    pub max_sessions: usize,
    /// Sessions at once in the middle of their handshake: what those can hold who
    /// prove their address and no more.
    pub max_handshakes: usize,
    /// Sessions at once from one address.
    pub max_sessions_per_peer: usize,
    /// Time that a handshake may take.
    pub handshake_timeout: Duration,
    /// Time without a frame of the peer after which a session is forgotten.
    pub idle_timeout: Duration,
    /// Whether PING is sent to keep sessions from being idle.
    pub keep_alive: bool,
    /// Bytes that may arrive in a session without having been consumed.
    pub max_data: u64,
    /// Bytes that may arrive in one stream without having been consumed.
    pub max_stream_data: u64,
    /// Streams at once that the peer may have opened.
    pub max_streams: u32,
    /// Bytes that may be under way to this side over a short path, whole frames: what
    /// passes a core's cache without being driven out by what follows.
    pub max_bytes_in_flight: u64,
    /// Frames that may be under way to this side, however long the path is: less than its
    /// receive ring holds.
    pub max_frames_in_flight: u32,
    /// The longest that an acknowledgement is delayed.
    pub max_ack_delay: Duration,
    /// Packets sealed with one key before it is updated; less than 2^22 in tests only.
    pub key_update_after: u64,
    /// Time without any acknowledgement after which the peer counts as gone.
    pub give_up: Duration,
    /// Bytes of the stream's data kept for sending in one stream before
    /// [`Endpoint::write`](super::Endpoint::write) takes no more.
    pub send_buffer: usize,
    /// How long a cookie is good.
    pub cookie_lifetime: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1500,
            max_sessions: 1024,
            max_handshakes: 128,
            max_sessions_per_peer: 512,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            keep_alive: false,
            max_data: 16 << 20,
            max_stream_data: 8 << 20,
            max_streams: 256,
            max_bytes_in_flight: 576 << 10,
            max_frames_in_flight: 2048,
            max_ack_delay: Duration::from_micros(500),
            key_update_after: 1 << 22,
            give_up: Duration::from_secs(15),
            send_buffer: 4 << 20,
            cookie_lifetime: Duration::from_secs(10),
        }
    }
}
