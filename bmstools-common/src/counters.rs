//! One counter for every outcome of a frame. Their sum is the number of frames
//! that arrived.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What became of a frame: the index of its per-CPU counter.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// All counters, in the order of their index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name in output and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

counters! {
    /// Another protocol's frame, passed on untouched.
    Passed = "passed",
    /// A frame of a live session, to its queue's AF_XDP socket (or to the
    /// userspace link's owner where there is no XDP).
    Session = "session",
    /// A frame of a live session whose queue has no socket, to the ring buffer.
    SessionViaRing = "session_via_ring",
    /// An open, to the ring buffer.
    Open = "open",
    /// Dropped: another host's destination address, or a group source address.
    NotAddressed = "drop_not_addressed",
    /// Dropped: the frame ends inside its header.
    Truncated = "drop_truncated",
    /// Dropped: unknown version.
    Version = "drop_version",
    /// Dropped: unknown packet type.
    PacketType = "drop_packet_type",
    /// Dropped: a message of no fragments.
    CountZero = "drop_count_zero",
    /// Dropped: a fragment at or past the count.
    OffsetPastCount = "drop_offset_past_count",
    /// Dropped: data length past the end of the frame.
    DataLength = "drop_data_length",
    /// Dropped: no live session has this key, peer and VLAN.
    NoSession = "drop_no_session",
    /// Dropped: the source opens sessions faster than it may.
    OpenRateSource = "drop_open_rate_source",
    /// Dropped: all sources together open sessions faster than they may.
    OpenRateGlobal = "drop_open_rate_global",
    /// Dropped: the ring buffer had no room.
    RingFull = "drop_ring_full",
    /// Dropped: longer than a ring buffer record.
    TooLong = "drop_too_long",
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl From<crate::header::HeaderError> for Counter {
    #[inline(always)]
    fn from(error: crate::header::HeaderError) -> Self {
        use crate::header::HeaderError;
        match error {
            HeaderError::Truncated => Self::Truncated,
            HeaderError::Version => Self::Version,
            HeaderError::PacketType => Self::PacketType,
            HeaderError::CountZero => Self::CountZero,
            HeaderError::OffsetPastCount => Self::OffsetPastCount,
            HeaderError::DataLength => Self::DataLength,
        }
    }
}
