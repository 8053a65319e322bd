//! Both directions of a stream, and what of it is in which queue.

use super::super::frame::Frame;
use super::super::recovery::Content;
use super::StreamId;
use super::recv::Recv;
use super::send::Send;
use super::transmit::Packet;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) send: Send,
    pub(super) recv: Recv,
    pub(super) priority: u8,
    /// In the schedule.
    pub(super) scheduled: bool,
    /// In the list of those that wait for MAX_DATA.
    pub(super) blocked: bool,
    /// In the queue for control frames.
    pub(super) controlled: bool,
    /// Control frames that are due.
    pub(super) max_due: bool,
    pub(super) reset_due: bool,
    pub(super) stop_due: Option<u32>,
    /// The code that the peer was asked to stop with.
    pub(super) stop_code: u32,
}

impl Stream {
    pub(super) const fn new(peer_max: u64, window: u64) -> Self {
        Self {
            send: Send::new(peer_max),
            recv: Recv::new(window),
            priority: 128,
            scheduled: false,
            blocked: false,
            controlled: false,
            max_due: false,
            reset_due: false,
            stop_due: None,
            stop_code: 0,
        }
    }

    pub(super) const fn has_control(&self) -> bool {
        self.max_due || self.reset_due || self.stop_due.is_some()
    }

    /// Finds control frames that are due, and forgets those of no use any more.
    pub(super) fn check_control(&mut self) {
        self.max_due = (self.max_due || self.recv.max_is_due()) && self.recv.wants_more();
        self.reset_due &= self.send.reset_frame().is_some();
        if self.stop_due.is_some() && !self.recv.is_stopped() {
            self.stop_due = None;
        }
    }

    /// Whether there is data to send; `credit`: whether MAX_DATA allows more.
    pub(super) fn is_sendable(&self, credit: bool) -> bool {
        if credit { self.send.is_ready() } else { self.send.is_urgent() }
    }

    /// Writes the control frames that are due; `None` where one had no room.
    pub(super) fn emit_control(&mut self, id: StreamId, out: &mut Packet<'_>) -> Option<()> {
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
