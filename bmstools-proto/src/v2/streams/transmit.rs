//! Frames for the peer, and what became of them.

use super::super::frame::Frame;
use super::super::recovery::{Content, Contents};
use super::{MAX_STREAMS, Stream, StreamEvent, StreamId, Streams};

impl Streams {
    /// Whether there is a frame to send within the peer's limits.
    pub(crate) fn wants_transmit(&self) -> bool {
        self.max_data_due
            || self.max_streams_due
            || !self.control.is_empty()
            || !self.schedule.is_empty()
    }

    /// Writes as many frames as fit into `buffer`, control frames first, then the data
    /// of the streams by priority, retransmissions before new data; notes each in
    /// `contents`. Returns the bytes written. Whoever has 100 bytes of room is never
    /// sent away with none.
    pub(crate) fn emit(&mut self, buffer: &mut [u8], contents: &mut Contents) -> usize {
        let mut out = Packet { buffer, at: 0, contents };
        if self.emit_limits(&mut out).is_some() && self.emit_control(&mut out).is_some() {
            self.emit_data(&mut out);
        }
        out.at
    }

    fn emit_limits(&mut self, out: &mut Packet<'_>) -> Option<()> {
        if self.max_data_due {
            out.room(&Frame::MaxData(0))?;
            out.push(&Frame::MaxData(self.incoming.window.announce()), Content::MaxData);
            self.max_data_due = false;
        }
        if self.max_streams_due {
            out.room(&Frame::MaxStreams(0))?;
            let new = self.ended_by_peer.saturating_add(self.streams_at_once).min(MAX_STREAMS);
            self.max_streams = self.max_streams.max(new);
            out.push(&Frame::MaxStreams(self.max_streams), Content::MaxStreams);
            self.max_streams_due = false;
        }
        Some(())
    }

    fn emit_control(&mut self, out: &mut Packet<'_>) -> Option<()> {
        while let Some(&id) = self.control.front() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.emit_control(id, out)?;
                stream.controlled = false;
            }
            self.control.pop_front();
        }
        Some(())
    }

    fn emit_data(&mut self, out: &mut Packet<'_>) {
        while let Some((id, _)) = self.schedule.front() {
            let Some(stream) = self.streams.get_mut(&id) else {
                self.schedule.pop();
                continue;
            };
            let credit = self.peer_max_data.saturating_sub(self.sent);
            let Some(frame) = stream.send.emit(id, credit, &mut out.buffer[out.at..]) else {
                break;
            };
            out.at += frame.length;
            out.contents.push(frame.content);
            self.sent += frame.fresh;
            self.retransmitted += frame.again;
            if stream.is_sendable(self.sent < self.peer_max_data) {
                self.schedule.sent();
            } else {
                self.settle(id);
            }
            if frame.fresh > 0 && frame.fresh == credit {
                self.block();
            }
        }
    }

    /// Takes streams that MAX_DATA holds up out of the schedule.
    fn block(&mut self) {
        let Self { schedule, streams, blocked, .. } = self;
        schedule.retain(|id| {
            let Some(stream) = streams.get_mut(&id) else { return false };
            if stream.send.is_urgent() {
                return true;
            }
            stream.scheduled = false;
            if !stream.blocked {
                stream.blocked = true;
                blocked.push(id);
            }
            false
        });
    }

    /// A packet with this content was acknowledged.
    pub(crate) fn acknowledged(&mut self, content: Content) {
        let Some(id) = stream_of(content) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match content {
            Content::ResetStream { .. } => stream.send.reset_acknowledged(),
            Content::Stream { .. } | Content::Placed { .. } | Content::PlacedEnd { .. } => {
                if stream.send.acknowledge(content) {
                    self.events.push_back(StreamEvent::Finished(id));
                } else {
                    if stream.send.take_writable(self.send_buffer) {
                        self.events.push_back(StreamEvent::Writable(id));
                    }
                    // What was to be sent again may have arrived after all.
                    if !stream.scheduled {
                        return;
                    }
                }
            }
            _ => return,
        }
        self.settle(id);
    }

    /// A packet with this content was lost.
    pub(crate) fn lost(&mut self, content: Content) {
        match content {
            Content::MaxData => self.max_data_due = true,
            Content::MaxStreams => self.max_streams_due = true,
            _ => (),
        }
        let Some(id) = stream_of(content) else { return };
        self.with(id, |stream, _| match content {
            Content::MaxStreamData { .. } => stream.max_due |= stream.recv.wants_more(),
            Content::ResetStream { .. } => stream.reset_due |= stream.send.reset_frame().is_some(),
            Content::StopSending { .. } if stream.recv.is_stopped() => {
                stream.stop_due = Some(stream.stop_code);
            }
            _ => stream.send.lose(content),
        });
    }
}

impl Stream {
    /// Writes the control frames that are due; `None` where one had no room.
    fn emit_control(&mut self, id: StreamId, out: &mut Packet<'_>) -> Option<()> {
        let stream = id.0;
        if self.max_due {
            out.room(&Frame::MaxStreamData { stream, max: 0 })?;
            let frame = Frame::MaxStreamData { stream, max: self.recv.announce_max() };
            out.push(&frame, Content::MaxStreamData { stream: id });
            self.max_due = false;
        }
        if self.reset_due {
            if let Some((code, total)) = self.send.reset_frame() {
                let frame = Frame::ResetStream { stream, code, total };
                out.room(&frame)?;
                out.push(&frame, Content::ResetStream { stream: id });
            }
            self.reset_due = false;
        }
        if let Some(code) = self.stop_due {
            let frame = Frame::StopSending { stream, code };
            out.room(&frame)?;
            out.push(&frame, Content::StopSending { stream: id });
            self.stop_due = None;
        }
        Some(())
    }
}

/// The packet that is being filled.
struct Packet<'a> {
    buffer: &'a mut [u8],
    at: usize,
    contents: &'a mut Contents,
}

impl Packet<'_> {
    fn room(&self, frame: &Frame<'_>) -> Option<()> {
        (self.buffer.len() - self.at >= frame.len()).then_some(())
    }

    fn push(&mut self, frame: &Frame<'_>, content: Content) {
        self.at += frame.emit(&mut self.buffer[self.at..]);
        self.contents.push(content);
    }
}

const fn stream_of(content: Content) -> Option<StreamId> {
    match content {
        Content::Stream { stream, .. }
        | Content::Placed { stream, .. }
        | Content::PlacedEnd { stream }
        | Content::MaxStreamData { stream }
        | Content::ResetStream { stream }
        | Content::StopSending { stream } => Some(stream),
        _ => None,
    }
}
