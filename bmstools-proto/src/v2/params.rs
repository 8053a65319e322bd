//! What each side tells the other of its limits (docs/protocol-v2.md, "Transport
//! parameters").

use std::time::Duration;

use super::Config;

/// Transport parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Params {
    /// Bytes behind the Ethernet header that a frame to the sender of this may have.
    pub(crate) mtu: u16,
    pub(crate) max_data: u64,
    pub(crate) max_stream_data: u64,
    pub(crate) max_streams: u32,
    /// Frames that may be under way to the sender of this.
    pub(crate) credit: u32,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_ack_delay: Duration,
    /// The software's name and version, at most [`MAX_SOFTWARE`] bytes.
    pub(crate) software: String,
}

impl Params {
    /// What `config` has to say through a port that carries `mtu` bytes.
    pub(crate) fn of(config: &Config, mtu: usize) -> Self {
        let mtu = mtu.min(config.mtu).max(usize::from(MIN_MTU));
        Self {
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            max_data: config.max_data,
            max_stream_data: config.max_stream_data,
            max_streams: config.max_streams,
            credit: config.max_frames_in_flight.max(MIN_CREDIT),
            idle_timeout: Duration::from_millis(saturate(config.idle_timeout.as_millis()).into()),
            max_ack_delay: Duration::from_micros(saturate(config.max_ack_delay.as_micros()).into()),
            software: concat!("bmstools ", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    /// `id u8 | length u8 | value` of each.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.software.len());
        put(&mut out, id::MTU, &self.mtu.to_be_bytes());
        put(&mut out, id::MAX_DATA, &self.max_data.to_be_bytes());
        put(&mut out, id::MAX_STREAM_DATA, &self.max_stream_data.to_be_bytes());
        put(&mut out, id::MAX_STREAMS, &self.max_streams.to_be_bytes());
        put(&mut out, id::CREDIT, &self.credit.to_be_bytes());
        let idle_ms = saturate(self.idle_timeout.as_millis());
        put(&mut out, id::IDLE_TIMEOUT, &idle_ms.to_be_bytes());
        let delay_us = saturate(self.max_ack_delay.as_micros());
        put(&mut out, id::MAX_ACK_DELAY, &delay_us.to_be_bytes());
        put(&mut out, id::SOFTWARE, cut(&self.software).as_bytes());
        out
    }

    /// `None` where one of 1 to 7 is missing, one is there twice, or one has a length
    /// or a value that it cannot have.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut found: [Option<&[u8]>; 256] = [None; 256];
        let mut rest = bytes;
        while let Some((&[id, length], tail)) = rest.split_first_chunk() {
            let (value, tail) = tail.split_at_checked(length.into())?;
            if found[usize::from(id)].replace(value).is_some() {
                return None;
            }
            rest = tail;
        }
        if !rest.is_empty() {
            return None;
        }
        let value = |id: u8| found[usize::from(id)];
        let u32_of = |id| Some(u32::from_be_bytes(value(id)?.try_into().ok()?));
        let u64_of = |id| Some(u64::from_be_bytes(value(id)?.try_into().ok()?));
        let params = Self {
            mtu: u16::from_be_bytes(value(id::MTU)?.try_into().ok()?),
            max_data: u64_of(id::MAX_DATA)?,
            max_stream_data: u64_of(id::MAX_STREAM_DATA)?,
            max_streams: u32_of(id::MAX_STREAMS)?,
            credit: u32_of(id::CREDIT)?,
            idle_timeout: Duration::from_millis(u32_of(id::IDLE_TIMEOUT)?.into()),
            max_ack_delay: Duration::from_micros(u32_of(id::MAX_ACK_DELAY)?.into()),
            software: software(value(id::SOFTWARE).unwrap_or_default())?,
        };
        (params.mtu >= MIN_MTU && params.credit >= MIN_CREDIT).then_some(params)
    }
}

/// Text that may be shown on a terminal as it is.
fn software(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= MAX_SOFTWARE && !text.chars().any(char::is_control)).then(|| text.into())
}

/// As many whole characters as fit [`MAX_SOFTWARE`].
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_SOFTWARE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn saturate(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// `value` is under 256 bytes.
fn put(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.extend([id, value.len() as u8]);
    out.extend_from_slice(value);
}

/// Fewest bytes behind the Ethernet header that a side must take.
const MIN_MTU: u16 = 256;
/// Fewest frames that a side must take at once.
const MIN_CREDIT: u32 = 16;
/// Most bytes of [`Params::software`].
const MAX_SOFTWARE: usize = 64;

mod id {
    pub(super) const MTU: u8 = 1;
    pub(super) const MAX_DATA: u8 = 2;
    pub(super) const MAX_STREAM_DATA: u8 = 3;
    pub(super) const MAX_STREAMS: u8 = 4;
    pub(super) const CREDIT: u8 = 5;
    pub(super) const IDLE_TIMEOUT: u8 = 6;
    pub(super) const MAX_ACK_DELAY: u8 = 7;
    pub(super) const SOFTWARE: u8 = 8;
}
