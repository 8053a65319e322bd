//! Frames for the peer, and what became of them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::frame::Frame;
use super::super::recovery::{Content, Contents};
use super::send::Send;
use super::session::Session;
use super::stream::Stream;
use super::{StreamEvent, StreamId, Streams};

impl Streams {
    /// Whether there is a frame to send within the peer's limits.
    pub(crate) fn wants_transmit(&self) -> bool {
        let session = &self.session;
        session.max_data_due
            || session.max_streams_due
            || !session.control.is_empty()
            || !session.schedule.is_empty()
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
        let session = &mut self.session;
        if session.max_data_due {
            out.room(&Frame::MaxData(0))?;
            out.push(&Frame::MaxData(session.incoming.window.announce()), Content::MaxData);
            session.max_data_due = false;
        }
        if session.max_streams_due {
            out.room(&Frame::MaxStreams(0))?;
            out.push(&Frame::MaxStreams(session.announce_max_streams()), Content::MaxStreams);
            session.max_streams_due = false;
        }
        Some(())
    }

    fn emit_control(&mut self, out: &mut Packet<'_>) -> Option<()> {
        while let Some(&id) = self.session.control.front() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.emit_control(id, out)?;
                stream.controlled = false;
            }
            self.session.control.pop_front();
        }
        Some(())
    }

    fn emit_data(&mut self, out: &mut Packet<'_>) {
        let Self { streams, session } = self;
        while let Some((id, _)) = session.schedule.front() {
            let Some(stream) = streams.get_mut(&id) else {
                session.schedule.pop();
                continue;
            };
            let credit = session.credit();
            let Some(frame) = stream.send.emit(id, credit, &mut out.buffer[out.at..]) else {
                break;
            };
            out.at += frame.length;
            out.contents.push(frame.content);
            session.note_sent(frame.fresh, frame.again);
            let left = credit - frame.fresh;
            if stream.is_sendable(left > 0) {
                session.schedule.sent();
            } else {
                session.settle(id, stream);
            }
            if frame.fresh > 0 && left == 0 {
                block(streams, session);
            }
        }
    }

    /// A packet with this content was acknowledged.
    pub(crate) fn acknowledged(&mut self, content: Content) {
        if let Content::Placed { stream, offset, len } = content {
            return self.placed_acknowledged(stream, offset..offset + u64::from(len));
        }
        let Some(id) = stream_of(content) else { return };
        self.note_acknowledged(id, |send| match content {
            Content::ResetStream { .. } => {
                send.reset_acknowledged();
                false
            }
            Content::Stream { .. } | Content::PlacedEnd { .. } => send.acknowledge(content),
            _ => false,
        });
    }

    /// All packets with placed data of this range were acknowledged.
    pub(crate) fn placed_acknowledged(&mut self, id: StreamId, range: Range<u64>) {
        self.note_acknowledged(id, |send| send.placed_acknowledged(range));
    }

    /// Something of a stream's was acknowledged, which `note` notes; it tells whether the
    /// direction came to its end with it.
    fn note_acknowledged(&mut self, id: StreamId, note: impl FnOnce(&mut Send) -> bool) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if note(&mut stream.send) {
            self.session.events.push_back(StreamEvent::Finished(id));
        } else if stream.send.take_writable(self.session.send_buffer) {
            self.session.events.push_back(StreamEvent::Writable(id));
        }
        if self.session.settle(id, stream) {
            self.streams.remove(&id);
        }
    }

    /// A packet with this content was lost.
    pub(crate) fn lost(&mut self, content: Content) {
        match content {
            Content::MaxData => self.session.max_data_due = true,
            Content::MaxStreams => self.session.max_streams_due = true,
            _ => (),
        }
        let Some(id) = stream_of(content) else { return };
        self.with(id, |stream, _| match content {
            Content::MaxStreamData { .. } => stream.max_due = true,
            Content::ResetStream { .. } => stream.reset_due = true,
            Content::StopSending { .. } => stream.stop_due = Some(stream.stop_code),
            _ => stream.send.lose(content),
        });
    }

    /// Takes the peer's MAX_DATA.
    pub(super) fn raise_max_data(&mut self, max: u64) {
        if self.session.raise_max_data(max) {
            for id in std::mem::take(&mut self.session.blocked) {
                self.with(id, |stream, _| stream.blocked = false);
            }
        }
    }
}

/// Takes streams that MAX_DATA holds up out of the schedule.
fn block(streams: &mut BTreeMap<StreamId, Box<Stream>>, session: &mut Session) {
    let Session { schedule, blocked, .. } = session;
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

/// The packet that is being filled.
pub(super) struct Packet<'a> {
    buffer: &'a mut [u8],
    at: usize,
    contents: &'a mut Contents,
}

impl Packet<'_> {
    /// `None` where the frame has no room.
    pub(super) fn room(&self, frame: &Frame<'_>) -> Option<()> {
        (self.buffer.len() - self.at >= frame.len()).then_some(())
    }

    pub(super) fn push(&mut self, frame: &Frame<'_>, content: Content) {
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
