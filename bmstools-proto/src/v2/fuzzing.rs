//! What the fuzz targets reach beside the endpoint.

use super::cookie::NONCE_LEN;
use super::frame::{Frame, Frames};
use super::packet::{self, MIN_PLAINTEXT, TAG_LEN};
use super::params::Params;
use super::tls;

/// Reads a packet's frames up to the first that is malformed; how many there were.
///
/// # Panics
///
/// Where a frame that was read is not written and read again as the same, or an
/// acknowledgement's ranges do not go down.
#[must_use]
pub fn frames(plaintext: &[u8]) -> usize {
    let mut count = 0;
    for frame in Frames::new(plaintext).map_while(Result::ok) {
        count += 1;
        let mut buffer = vec![0; frame.len()];
        assert_eq!(frame.emit(&mut buffer), buffer.len());
        let mut again = Frames::new(&buffer);
        assert_eq!(again.next(), Some(Ok(frame)));
        assert_eq!(again.next(), None);
        if let Frame::Ack(ack) = frame {
            let mut below = u64::MAX;
            for (index, range) in ack.iter().enumerate() {
                assert!(range.start() <= range.end(), "{ack:?}");
                assert!(index == 0 || *range.end() < below, "{ack:?}");
                below = *range.start();
            }
        }
    }
    count
}

/// Reads transport parameters, and requires that what was read is read again.
///
/// # Panics
///
/// Where it is not.
pub fn params(bytes: &[u8]) {
    if let Some(params) = Params::parse(bytes) {
        assert_eq!(Params::parse(&params.emit()), Some(params));
    }
}

/// Seals any plaintext behind `front` with the initial keys, as whoever has seen the
/// open's nonce can.
#[must_use]
pub fn seal_initial(
    nonce: &[u8; NONCE_LEN],
    as_agent: bool,
    number: u64,
    front: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let keys = tls::initial_keys(nonce, as_agent);
    let mut frame = [front, plaintext].concat();
    frame.resize(front.len() + plaintext.len().max(MIN_PLAINTEXT) + TAG_LEN, 0);
    let len = packet::seal(&*keys.local, number, front.len(), plaintext.len(), &mut frame);
    frame.truncate(len);
    frame
}

/// The plaintext of a packet that is sealed with the initial keys from `front` bytes
/// on; `None` where it does not open.
#[must_use]
pub fn open_initial(
    nonce: &[u8; NONCE_LEN],
    from_agent: bool,
    number: u64,
    front: usize,
    frame: &[u8],
) -> Option<Vec<u8>> {
    let keys = tls::initial_keys(nonce, !from_agent);
    let mut copy = frame.to_vec();
    packet::open(&*keys.remote, number, front, &mut copy).map(<[u8]>::to_vec)
}
