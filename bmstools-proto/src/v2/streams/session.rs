//! What the streams of a session share.

use std::collections::VecDeque;

use super::super::Config;
use super::flow::Incoming;
use super::schedule::Schedule;
use super::stream::Stream;
use super::{StreamEvent, StreamId};

/// Limits, queues and events of a session's streams.
#[derive(Debug)]
pub(super) struct Session {
    /// Lowest bit of the streams that this side opens.
    initiator: u32,
    /// How many this side and the peer have opened.
    opened: u32,
    opened_by_peer: u32,
    /// How many of the peer's are over.
    ended_by_peer: u32,
    /// MAX_STREAMS of the peer, and what the peer was told.
    peer_max_streams: u32,
    max_streams: u32,
    /// How many the peer may have open at once.
    streams_at_once: u32,
    /// `open` found the limit reached.
    wants_stream: bool,
    /// MAX_STREAM_DATA that the peer begins with.
    pub(super) peer_stream_data: u64,
    /// And that it is given.
    stream_data: u64,
    /// Bytes that the application may have under way in one stream.
    pub(super) send_buffer: u64,
    /// The peer's MAX_DATA, and what was sent of it.
    peer_max_data: u64,
    sent: u64,
    /// Bytes sent more than once.
    pub(super) retransmitted: u64,
    pub(super) incoming: Incoming,
    pub(super) max_data_due: bool,
    pub(super) max_streams_due: bool,
    /// Streams with control frames to send.
    pub(super) control: VecDeque<StreamId>,
    pub(super) schedule: Schedule,
    /// Streams that wait for the peer's MAX_DATA.
    pub(super) blocked: Vec<StreamId>,
    pub(super) events: VecDeque<StreamEvent>,
}

/// What a stream's name says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Named {
    /// It is there, or is over.
    Known,
    /// The peer opens it, and all below.
    New,
    /// It would be ours, and we have not opened it.
    Never,
    /// It is beyond MAX_STREAMS.
    Beyond,
}

impl Session {
    pub(super) fn new(initiator: u32, config: &Config) -> Self {
        let streams_at_once = config.max_streams.min(MAX_STREAMS);
        Self {
            initiator: initiator & 1,
            opened: 0,
            opened_by_peer: 0,
            ended_by_peer: 0,
            peer_max_streams: 0,
            max_streams: streams_at_once,
            streams_at_once,
            wants_stream: false,
            peer_stream_data: 0,
            stream_data: config.max_stream_data,
            send_buffer: config.send_buffer as u64,
            peer_max_data: 0,
            sent: 0,
            retransmitted: 0,
            incoming: Incoming::new(config.max_data),
            max_data_due: false,
            max_streams_due: false,
            control: VecDeque::new(),
            schedule: Schedule::default(),
            blocked: Vec::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) const fn new_stream(&self) -> Stream {
        Stream::new(self.peer_stream_data, self.stream_data)
    }

    /// Counts one more stream of ours, if the peer allows it.
    pub(super) fn open(&mut self) -> Option<StreamId> {
        if self.opened >= self.peer_max_streams.min(MAX_STREAMS) {
            self.wants_stream = true;
            return None;
        }
        let id = StreamId(self.opened << 1 | self.initiator);
        self.opened += 1;
        Some(id)
    }

    pub(super) const fn named(&self, id: StreamId) -> Named {
        let number = id.0 >> 1;
        if id.0 & 1 == self.initiator {
            return if number < self.opened { Named::Known } else { Named::Never };
        }
        if number < self.opened_by_peer {
            Named::Known
        } else if number < self.max_streams {
            Named::New
        } else {
            Named::Beyond
        }
    }

    /// Counts the next stream of the peer's, up to and including `last`.
    pub(super) fn open_by_peer(&mut self, last: StreamId) -> Option<StreamId> {
        if self.opened_by_peer > last.0 >> 1 {
            self.check_max_streams();
            return None;
        }
        let id = StreamId(self.opened_by_peer << 1 | (last.0 & 1));
        self.opened_by_peer += 1;
        self.events.push_back(StreamEvent::Opened(id));
        Some(id)
    }

    pub(super) fn raise_max_streams(&mut self, max: u32) {
        self.peer_max_streams = self.peer_max_streams.max(max);
        if self.wants_stream && self.opened < self.peer_max_streams {
            self.wants_stream = false;
            self.events.push_back(StreamEvent::Available);
        }
    }

    /// Takes the peer's MAX_DATA; whether it allows more than before.
    pub(super) const fn raise_max_data(&mut self, max: u64) -> bool {
        let more = max > self.peer_max_data;
        if more {
            self.peer_max_data = max;
        }
        more
    }

    /// What the peer's MAX_DATA leaves to send.
    pub(super) const fn credit(&self) -> u64 {
        self.peer_max_data.saturating_sub(self.sent)
    }

    /// Counts what was sent for the first time, and again.
    pub(super) const fn note_sent(&mut self, fresh: u64, again: u64) {
        self.sent += fresh;
        self.retransmitted += again;
    }

    #[cfg(test)]
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn consumed(&mut self, bytes: u64) {
        self.incoming.consume(bytes);
        self.max_data_due |= self.incoming.window.is_due();
    }

    /// Brings queues and events in line with a stream's state; whether it is over and
    /// must be forgotten.
    pub(super) fn settle(&mut self, id: StreamId, stream: &mut Stream) -> bool {
        self.max_data_due |= self.incoming.window.is_due();
        if stream.recv.take_readable() {
            self.events.push_back(StreamEvent::Readable(id));
        }
        stream.check_control();
        if stream.has_control() != stream.controlled {
            stream.controlled = !stream.controlled;
            if stream.controlled {
                self.control.push_back(id);
            } else {
                self.control.retain(|other| *other != id);
            }
        }
        let sendable = stream.is_sendable(self.credit() > 0);
        if sendable != stream.scheduled {
            stream.scheduled = sendable;
            if sendable {
                self.schedule.push(id, stream.priority);
            } else {
                self.schedule.remove(id, stream.priority);
            }
        }
        if !sendable && !stream.blocked && stream.send.is_ready() {
            stream.blocked = true;
            self.blocked.push(id);
        }
        let over = stream.send.is_over() && stream.recv.is_over();
        if over {
            if stream.blocked {
                self.blocked.retain(|other| *other != id);
            }
            if id.0 & 1 != self.initiator {
                self.ended_by_peer += 1;
                self.check_max_streams();
            }
        }
        over
    }

    /// MAX_STREAMS is due once half of what the peer may open is used and more is free.
    fn check_max_streams(&mut self) {
        let left = self.max_streams - self.opened_by_peer;
        let more = self.next_max_streams() > self.max_streams;
        self.max_streams_due |= more && left <= self.streams_at_once / 2;
    }

    fn next_max_streams(&self) -> u32 {
        self.ended_by_peer.saturating_add(self.streams_at_once).min(MAX_STREAMS)
    }

    /// The highest limit there is, which the caller announces.
    pub(super) fn announce_max_streams(&mut self) -> u32 {
        self.max_streams = self.max_streams.max(self.next_max_streams());
        self.max_streams
    }
}

/// Streams that one side can name.
const MAX_STREAMS: u32 = 1 << 31;
