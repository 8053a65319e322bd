//! What each side tells the other of its limits (docs/protocol-v2.md, "Transport
//! parameters").

use std::time::Duration;

use super::rtt::Rtt;
use super::{Config, credit};

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
            credit: credit::of(config, mtu, &Rtt::new()),
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
        (params.mtu >= MIN_MTU && params.credit >= credit::LEAST).then_some(params)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params() -> Params {
        Params::of(&Config::default(), 1500)
    }

    /// The encoding with parameter `id` replaced by `with`, which may be none or many.
    fn replaced(id: u8, with: &[u8]) -> Vec<u8> {
        let whole = params().emit();
        let (mut out, mut rest) = (Vec::new(), &whole[..]);
        while let [this, length, ..] = *rest {
            let (one, tail) = rest.split_at(2 + usize::from(length));
            out.extend_from_slice(if this == id { with } else { one });
            rest = tail;
        }
        out
    }

    prop_compose! {
        fn any_params()(
            mtu in 256u16..,
            max_data: u64,
            max_stream_data: u64,
            max_streams: u32,
            credit in 16u32..,
            idle_ms: u32,
            delay_us: u32,
            software in "[^\\p{Cc}]{0,16}",
        ) -> Params {
            Params {
                mtu, max_data, max_stream_data, max_streams, credit, software,
                idle_timeout: Duration::from_millis(idle_ms.into()),
                max_ack_delay: Duration::from_micros(delay_us.into()),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(params in any_params()) {
            prop_assert_eq!(Params::parse(&params.emit()), Some(params));
        }

        #[test]
        fn unknown_parameters_are_ignored_wherever_they_stand(
            params in any_params(),
            id in 9u8..,
            value in prop::collection::vec(any::<u8>(), 0..256),
            front: bool,
        ) {
            let mut unknown = vec![id, value.len() as u8];
            unknown.extend(value);
            let known = params.emit();
            let both = if front { [unknown, known].concat() } else { [known, unknown].concat() };
            prop_assert_eq!(Params::parse(&both), Some(params));
        }

        #[test]
        fn anything_may_come_and_what_passes_keeps_the_rules(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0usize..100,
            with: u8,
        ) {
            let mut changed = params().emit();
            let at = at % changed.len();
            changed[at] = with;
            for bytes in [bytes, changed] {
                if let Some(params) = Params::parse(&bytes) {
                    prop_assert!(params.mtu >= 256 && params.credit >= 16);
                    prop_assert!(params.software.len() <= 64);
                    prop_assert_eq!(Params::parse(&params.emit()), Some(params));
                }
            }
        }
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let params = Params {
            mtu: 0x0102,
            max_data: 3,
            max_stream_data: 4,
            max_streams: 5,
            credit: 16,
            idle_timeout: Duration::from_secs(60),
            max_ack_delay: Duration::from_micros(500),
            software: "x 1".into(),
        };
        let expected = [
            &[1, 2, 1, 2][..],
            &[2, 8, 0, 0, 0, 0, 0, 0, 0, 3],
            &[3, 8, 0, 0, 0, 0, 0, 0, 0, 4],
            &[4, 4, 0, 0, 0, 5],
            &[5, 4, 0, 0, 0, 16],
            &[6, 4, 0, 0, 0xea, 0x60],
            &[7, 4, 0, 0, 1, 0xf4],
            &[8, 3, b'x', b' ', b'1'],
        ]
        .concat();
        assert_eq!(params.emit(), expected);
    }

    #[test]
    fn seven_are_required_and_the_eighth_is_not() {
        for id in 1..=7 {
            assert_eq!(Params::parse(&replaced(id, &[])), None, "{id}");
        }
        let nameless = Params::parse(&replaced(8, &[])).unwrap();
        assert_eq!(nameless, Params { software: String::new(), ..params() });
    }

    #[test]
    fn none_may_come_twice_not_even_an_unknown_one() {
        let whole = params().emit();
        assert_eq!(Params::parse(&[&whole[..], &whole[..4]].concat()), None);
        assert_eq!(Params::parse(&[&whole[..], &[200, 0, 200, 0]].concat()), None);
    }

    #[test]
    fn lengths_and_values_that_cannot_be_are_refused() {
        for (id, bad) in [
            (1, &[1, 2, 0, 255][..]),
            (1, &[1, 1, 255]),
            (1, &[1, 3, 0, 1, 0]),
            (2, &[2, 4, 0, 0, 0, 1]),
            (4, &[4, 2, 0, 1]),
            (5, &[5, 4, 0, 0, 0, 15]),
            (8, &[8, 1, 0xff]),
            (8, &[8, 1, 0x1b]),
            (8, &[8, 0, 9]),
            (8, &[8, 200, b'x']),
        ] {
            assert_eq!(Params::parse(&replaced(id, bad)), None, "{bad:?}");
        }
        let long = [&[8, 65][..], &[b'x'; 65]].concat();
        assert_eq!(Params::parse(&replaced(8, &long)), None);
        let whole = params().emit();
        for len in 0..replaced(8, &[]).len() {
            assert_eq!(Params::parse(&whole[..len]), None, "{len}");
        }
    }

    #[test]
    fn odd_configurations_are_brought_within_bounds() {
        let config = Config {
            mtu: 100,
            max_frames_in_flight: 1,
            idle_timeout: Duration::MAX,
            max_ack_delay: Duration::MAX,
            ..Config::default()
        };
        let params = Params::of(&config, 9000);
        assert_eq!((params.mtu, params.credit), (256, 16));
        assert_eq!(Params::parse(&params.emit()), Some(params));
        let large = Params::of(&Config { mtu: 1 << 20, ..Config::default() }, 1 << 20);
        assert_eq!(large.mtu, u16::MAX);
        assert_eq!(Params::of(&Config::default(), 1400).mtu, 1400);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let params = Params { software: "ä".repeat(40) + "x", ..params() };
        let parsed = Params::parse(&params.emit()).unwrap();
        assert_eq!(parsed.software, "ä".repeat(32));
        let params = Params { software: "x".to_owned() + &"ä".repeat(40), ..params };
        assert_eq!(Params::parse(&params.emit()).unwrap().software.len(), 63);
    }
}
