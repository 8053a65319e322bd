//! v1 frames, both dialects, from the bmstools header on.

use bmstools_common::header::{DeployedFields, Dialect, HeaderError, V1_LEN, V1Header, ptype};

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Opens a session.
    Open,
    /// A fragment of file data or of a response.
    Data,
    /// Acknowledges one fragment.
    Ack,
    /// A fragment of a control message.
    Control,
    /// Ends a session.
    End,
}

impl Kind {
    /// The packet type on the wire.
    pub const fn ptype(self) -> u8 {
        match self {
            Self::Open => ptype::OPEN,
            Self::Data => ptype::DATA,
            Self::Ack => ptype::ACK,
            Self::Control => ptype::CONTROL,
            Self::End => ptype::END,
        }
    }

    const fn from_ptype(ptype: u8) -> Option<Self> {
        match ptype {
            ptype::OPEN => Some(Self::Open),
            ptype::DATA => Some(Self::Data),
            ptype::ACK => Some(Self::Ack),
            ptype::CONTROL => Some(Self::Control),
            ptype::END => Some(Self::End),
            _ => None,
        }
    }

    /// Whether frames of this kind carry data.
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Data | Self::Control)
    }
}

/// One frame.
///
/// In the documented dialect, `data` of a parsed frame ends with the link's
/// padding, if it added any: that dialect has no length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// The sender's session key.
    pub srckey: u16,
    /// The receiver's session key, 0 while unknown.
    pub dstkey: u16,
    /// The message's number within its direction.
    pub sequence: u32,
    /// How many fragments the message has, at least 1.
    pub count: u16,
    /// Which fragment this is, below `count`.
    pub offset: u16,
    /// The deployed dialect's VLAN field; 0 in the documented one.
    pub vlan: u32,
    /// The fragment. Empty in kinds without data.
    pub data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame of `dialect` from its bmstools header on.
    ///
    /// # Errors
    ///
    /// Where the header is refused.
    pub fn parse(bytes: &'a [u8], dialect: Dialect) -> Result<Self, HeaderError> {
        let header = V1Header::parse(bytes, 0)?;
        let kind = Kind::from_ptype(header.ptype).ok_or(HeaderError::PacketType)?;
        let (vlan, data) = match dialect {
            Dialect::V1 => (0, bytes.get(V1_LEN..).unwrap_or_default()),
            Dialect::V1Deployed => {
                let fields = DeployedFields::parse(bytes, 0)?;
                let data = bytes
                    .get(dialect.header_len()..)
                    .and_then(|rest| rest.get(..usize::from(fields.data_len)))
                    .ok_or(HeaderError::DataLength)?;
                (fields.vlan, data)
            }
        };
        let V1Header { srckey, dstkey, sequence, count, offset, .. } = header;
        let data = if kind.has_data() { data } else { &[] };
        Ok(Self { kind, srckey, dstkey, sequence, count, offset, vlan, data })
    }

    /// Bytes that [`emit`](Self::emit) writes.
    pub const fn len(&self, dialect: Dialect) -> usize {
        dialect.header_len() + self.data.len()
    }

    /// Writes the frame to the first [`len`](Self::len) bytes of `buffer`, and
    /// returns how many.
    ///
    /// # Panics
    ///
    /// Where `buffer` is shorter, or `data` longer than its 16-bit length says.
    pub fn emit(&self, dialect: Dialect, buffer: &mut [u8]) -> usize {
        let header = V1Header {
            ptype: self.kind.ptype(),
            srckey: self.srckey,
            dstkey: self.dstkey,
            sequence: self.sequence,
            count: self.count,
            offset: self.offset,
        };
        buffer[..V1_LEN].copy_from_slice(&header.emit());
        let data_at = dialect.header_len();
        if dialect == Dialect::V1Deployed {
            let data_len = u16::try_from(self.data.len()).expect("a fragment under 64 KiB");
            let fields = DeployedFields { vlan: self.vlan, data_len };
            buffer[V1_LEN..data_at].copy_from_slice(&fields.emit());
        }
        let end = data_at + self.data.len();
        buffer[data_at..end].copy_from_slice(self.data);
        end
    }

    /// The frame that acknowledges this one: keys swapped, nothing else changed.
    pub const fn ack(&self) -> Frame<'static> {
        Frame {
            kind: Kind::Ack,
            srckey: self.dstkey,
            dstkey: self.srckey,
            sequence: self.sequence,
            count: self.count,
            offset: self.offset,
            vlan: self.vlan,
            data: &[],
        }
    }
}
