//! Frames of version 1, in both dialects.

use bmstools_proto::Dialect;
use bmstools_proto::wire::Frame;

/// Reads a frame and requires that it is written and read again as the same.
///
/// # Panics
///
/// Where it is not.
pub fn run(bytes: &[u8]) {
    for dialect in [Dialect::V1, Dialect::V1Deployed] {
        let Ok(frame) = Frame::parse(bytes, dialect) else { continue };
        if frame.data.len() > usize::from(u16::MAX) {
            continue;
        }
        let mut buffer = vec![0; frame.len(dialect)];
        assert_eq!(frame.emit(dialect, &mut buffer), buffer.len());
        assert_eq!(Frame::parse(&buffer, dialect), Ok(frame));
        let ack = frame.ack();
        let mut buffer = vec![0; ack.len(dialect)];
        ack.emit(dialect, &mut buffer);
        assert_eq!(Frame::parse(&buffer, dialect), Ok(ack));
    }
}
