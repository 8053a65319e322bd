//! The frames inside of a packet of version 2, and transport parameters.

use bmstools_proto::v2::fuzzing;

/// Reads the bytes as a packet's plaintext and as transport parameters.
///
/// # Panics
///
/// Where what was read is not written and read again as the same.
pub fn run(bytes: &[u8]) {
    let _ = fuzzing::frames(bytes);
    fuzzing::params(bytes);
}
