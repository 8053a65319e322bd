//! What happened at the endpoint.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bmstools_common::header::Framing;
use bmstools_common::maps::SessionKey;
use bmstools_link::{LinkError, Port};
use bmstools_proto::v2::identity::PublicKey;
use bmstools_proto::v2::{Chunk, CloseReason, Event, SessionId, StreamId};
use tracing::{debug, warn};

use super::entry::{Entry, Live, Stream};
use super::{Hub, code};
use crate::error::SessionError;
use crate::flow::Consumed;
use crate::session::{Established, Session, Shared};
use crate::stream::{End, Halves, StreamCore};

impl Hub {
    pub(super) fn take_events(&mut self, now: Instant, ports: &mut [Box<dyn Port>]) {
        let mut happened = false;
        while let Some(event) = self.endpoint.poll_event() {
            happened = true;
            self.event(now, event, ports);
        }
        if happened {
            self.common.set_session_count(self.endpoint.session_count());
        }
    }

    fn event(&mut self, now: Instant, event: Event, ports: &mut [Box<dyn Port>]) {
        match event {
            Event::Begun { session, key, peer, port, accepted } => {
                if accepted {
                    self.sessions.insert(session, Entry::new(peer, None));
                }
                if let Some(entry) = self.sessions.get_mut(&session) {
                    entry.has_begun = true;
                }
                debug!(?session, %peer, accepted, "a session begins");
                if let Err(error) = self.let_through(port, key, ports) {
                    warn!(%peer, %error, "a session was refused");
                    if let Some(entry) = self.sessions.get_mut(&session) {
                        entry.failure = Some(CloseReason::Link(error.to_string()));
                    }
                    self.endpoint.close(now, session, code::LIMIT, "too many sessions");
                } else if let Some(stopping) = &self.stopping {
                    self.endpoint.close(now, session, stopping.code, stopping.reason);
                }
            }
            Event::Established { session, peer_key, peer_software } => {
                self.established(session, peer_key, peer_software);
            }
            Event::StreamOpened { session, stream } => self.stream_opened(session, stream),
            Event::Readable { session, stream } => {
                self.used(session, stream);
                self.readable(now, session, stream);
            }
            Event::Writable { session, stream } => self.touch(session, stream),
            Event::Finished { session, stream } => {
                if let Some(stream) = self.stream(session, stream) {
                    stream.core.set_acknowledged();
                }
            }
            Event::Stopped { session, stream, code } => {
                self.used(session, stream);
                if let Some(stream) = self.stream(session, stream) {
                    stream.core.fail_sending(SessionError::Stopped(code));
                }
            }
            Event::StreamsAvailable { session } => self.open_wanted(session),
            Event::Closed { session, reason } => {
                let Some(entry) = self.sessions.get_mut(&session) else { return };
                let reason = entry.failure.take().unwrap_or(reason);
                debug!(?session, peer = %entry.peer, %reason, "a session ended");
                entry.end(&reason);
                if !entry.has_begun {
                    // Nothing of it is left to be drained.
                    self.sessions.remove(&session);
                }
            }
            Event::Drained { session, key, port } => {
                for port in ports.get_mut(self.group(port)).unwrap_or_default() {
                    port.remove_session(key);
                }
                if let Some(entry) = self.sessions.remove(&session) {
                    entry.drained();
                }
            }
            _ => {}
        }
    }

    /// Lets a session's frames through at every port of its interface.
    fn let_through(
        &self,
        port: usize,
        key: SessionKey,
        ports: &mut [Box<dyn Port>],
    ) -> Result<(), LinkError> {
        let group = ports.get_mut(self.group(port)).unwrap_or_default();
        for at in 0..group.len() {
            if let Err(error) = group[at].insert_session(key, Framing::V2) {
                for port in &mut group[..at] {
                    port.remove_session(key);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn established(&mut self, id: SessionId, peer_key: PublicKey, peer_software: String) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        debug!(session = ?id, peer = %entry.peer, key = peer_key.fingerprint(), "established");
        let is_accepted = entry.is_accepted;
        let about = Established { id, peer: entry.peer, peer_key, peer_software, is_accepted };
        let shared = Arc::new(Shared::new(self.common.queue.clone(), about));
        entry.live = Some(Live {
            shared: shared.clone(),
            consumed: Arc::new(Consumed::of_session(&self.config)),
            streams: HashMap::new(),
            wanted: VecDeque::new(),
        });
        // A session that nobody waits for any more closes as it is dropped.
        let session = Session::new(shared);
        match entry.awaited.take() {
            Some((_, reply)) => drop(reply.send(Ok(session))),
            None => self.common.arrived(session),
        }
    }

    fn stream_opened(&mut self, id: SessionId, at: StreamId) {
        let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else { return };
        let queue = self.common.queue.clone();
        let core = StreamCore::new(queue, id, at, live.consumed.clone(), &self.config);
        let core = Arc::new(core);
        live.streams.insert(at, Stream::new(core.clone()));
        live.shared.stream_opened(at.0, Halves::new(core));
    }

    /// The peer has used a stream: only then can it be accepted.
    fn used(&mut self, id: SessionId, at: StreamId) {
        let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else { return };
        let Some(stream) = live.streams.get_mut(&at) else { return };
        if !stream.is_used {
            stream.is_used = true;
            live.shared.stream_used(at.0);
        }
    }

    /// Reads a stream dry. What is read is within what flow control let the peer send.
    fn readable(&mut self, now: Instant, id: SessionId, at: StreamId) {
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut end = None;
        let mut read = 0;
        while let Some(chunk) = self.endpoint.read(id, at) {
            match chunk {
                Chunk::Data { data, .. } if data.is_empty() => {}
                Chunk::Data { offset, data } => {
                    read += data.len() as u64;
                    chunks.push((offset, data));
                }
                Chunk::End => end = Some(End::Clean),
                Chunk::Reset { code } => end = Some(End::Failed(SessionError::Reset(code))),
            }
            if end.is_some() {
                break;
            }
        }
        match self.stream(id, at) {
            Some(stream) if stream.is_wanted => {
                stream.is_ended |= end.is_some();
                stream.unconsumed += read;
                stream.core.deliver(&mut chunks, end);
            }
            _ => {
                chunks.clear();
                self.endpoint.consumed(now, id, at, read);
            }
        }
        self.chunks = chunks;
    }

    pub(super) fn stream(&mut self, id: SessionId, at: StreamId) -> Option<&mut Stream> {
        self.live(id)?.streams.get_mut(&at)
    }

    pub(super) fn live(&mut self, id: SessionId) -> Option<&mut Live> {
        self.sessions.get_mut(&id)?.live()
    }
}
