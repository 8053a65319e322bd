//! Frames of the peer.

use super::super::frame::Frame;
use super::{StreamEvent, StreamId, Streams, Violation};

impl Streams {
    /// Takes a STREAM, PLACED, PLACED_END, MAX_*, RESET_STREAM or STOP_SENDING frame;
    /// others are none of its business.
    pub(crate) fn receive(&mut self, frame: &Frame<'_>) -> Result<(), Violation> {
        match *frame {
            Frame::Stream { stream, offset, end, data } => {
                let Some(id) = self.find(stream)? else { return Ok(()) };
                self.with(id, |stream, session| stream.recv.ordered(offset, data, end, session))
                    .unwrap_or(Ok(()))
            }
            Frame::Placed { stream, offset, data } => {
                let Some(id) = self.find(stream)? else { return Ok(()) };
                self.with(id, |stream, session| stream.recv.placed(offset, data, session))
                    .unwrap_or(Ok(()))
            }
            Frame::PlacedEnd { stream, total } => {
                let Some(id) = self.find(stream)? else { return Ok(()) };
                self.with(id, |stream, session| stream.recv.placed_end(total, session))
                    .unwrap_or(Ok(()))
            }
            Frame::ResetStream { stream, code, total } => {
                let Some(id) = self.find(stream)? else { return Ok(()) };
                self.with(id, |stream, session| stream.recv.reset(code, total, session))
                    .unwrap_or(Ok(()))
            }
            Frame::StopSending { stream, code } => {
                let Some(id) = self.find(stream)? else { return Ok(()) };
                let stopped = self.with(id, |stream, _| {
                    let stopped = stream.send.stop(code);
                    if stopped {
                        stream.reset_due |= stream.send.reset(code);
                    }
                    stopped
                });
                if stopped == Some(true) {
                    self.events.push_back(StreamEvent::Stopped(id, code));
                }
                Ok(())
            }
            Frame::MaxData(max) => {
                self.raise_max_data(max);
                Ok(())
            }
            Frame::MaxStreamData { stream, max } => {
                let Some(id) = self.find(stream)? else { return Ok(()) };
                self.with(id, |stream, _| stream.send.raise_max(max));
                Ok(())
            }
            Frame::MaxStreams(max) => {
                self.raise_max_streams(max);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The stream of this name, opened if need be; `None` where it is over.
    fn find(&mut self, stream: u32) -> Result<Option<StreamId>, Violation> {
        let id = StreamId(stream);
        let number = stream >> 1;
        if stream & 1 == self.initiator {
            if number >= self.opened {
                return Err(Violation("a frame for a stream that never was"));
            }
        } else if number >= self.opened_by_peer {
            if number >= self.max_streams {
                return Err(Violation("a stream beyond MAX_STREAMS"));
            }
            while self.opened_by_peer <= number {
                let id = StreamId(self.opened_by_peer << 1 | (stream & 1));
                self.opened_by_peer += 1;
                self.insert(id);
                self.events.push_back(StreamEvent::Opened(id));
            }
            self.check_max_streams();
        }
        Ok(self.streams.contains_key(&id).then_some(id))
    }

    pub(super) fn raise_max_data(&mut self, max: u64) {
        if max <= self.peer_max_data {
            return;
        }
        self.peer_max_data = max;
        for id in std::mem::take(&mut self.blocked) {
            self.with(id, |stream, _| stream.blocked = false);
        }
    }

    pub(super) fn raise_max_streams(&mut self, max: u32) {
        self.peer_max_streams = self.peer_max_streams.max(max);
        if self.wants_stream && self.opened < self.peer_max_streams {
            self.wants_stream = false;
            self.events.push_back(StreamEvent::Available);
        }
    }
}
