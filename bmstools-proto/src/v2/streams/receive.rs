//! Frames of the peer.

use super::super::frame::Frame;
use super::flow::Incoming;
use super::session::Named;
use super::stream::Stream;
use super::{StreamEvent, StreamId, Streams, Violation};

impl Streams {
    /// Takes a STREAM, PLACED, PLACED_END, MAX_*, RESET_STREAM or STOP_SENDING frame;
    /// others are none of its business. Frames of streams that are over are ignored.
    ///
    /// # Errors
    ///
    /// Where the frame breaks a rule.
    pub(crate) fn receive(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        match *frame {
            Frame::Stream { stream, offset, end, data } => {
                self.of(stream, |stream, session| stream.recv.ordered(offset, data, end, session))
            }
            Frame::Placed { stream, offset, data } => {
                self.of(stream, |stream, session| stream.recv.placed(offset, data, session))
            }
            Frame::PlacedEnd { stream, total } => {
                self.of(stream, |stream, session| stream.recv.placed_end(total, session))
            }
            Frame::ResetStream { stream, code, total } => {
                self.of(stream, |stream, session| stream.recv.reset(code, total, session))
            }
            Frame::StopSending { stream, code } => {
                let mut stopped = false;
                self.of(stream, |stream, _| {
                    stopped = stream.send.stop(code);
                    if stopped {
                        stream.reset_due |= stream.send.reset(code);
                    }
                    Ok(())
                })?;
                if stopped {
                    self.session.events.push_back(StreamEvent::Stopped(StreamId(stream), code));
                }
                Ok(())
            }
            Frame::MaxStreamData { stream, max } => self.of(stream, |stream, _| {
                stream.send.raise_max(max);
                Ok(())
            }),
            Frame::MaxData(max) => {
                self.raise_max_data(max);
                Ok(())
            }
            Frame::MaxStreams(max) => {
                self.session.raise_max_streams(max);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Changes the stream of this name, opened if need be.
    fn of(
        &mut self,
        stream: u32,
        change: impl FnOnce(&mut Stream, &mut Incoming) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let id = StreamId(stream);
        match self.session.named(id) {
            Named::Known => (),
            Named::New => {
                while let Some(id) = self.session.open_by_peer(id) {
                    self.insert(id);
                }
            }
            Named::Never => return Err(Violation("a frame for a stream that never was")),
            Named::Beyond => return Err(Violation("a stream beyond MAX_STREAMS")),
        }
        self.with(id, change).unwrap_or(Ok(()))
    }
}
