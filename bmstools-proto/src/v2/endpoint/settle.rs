//! What follows from whatever happened to a session: events, turns to send, timers.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Endpoint, Event, SessionId};
use crate::v2::connection::Happened;
use crate::v2::streams::StreamEvent;

impl Endpoint {
    /// Settles the session whose frames came last.
    pub(super) fn settle_received(&mut self) {
        if let Some((key, at)) = self.unsettled.take() {
            self.settle(at, key);
        }
    }

    /// Brings events, queues and timers up to date with a session.
    pub(super) fn settle(&mut self, now: Instant, key: u16) {
        self.settle_with(now, key, true);
    }

    pub(super) fn settle_with(&mut self, now: Instant, key: u16, queue: bool) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let id = session.id;
        let mut closed = None;
        match session.take_happened() {
            None => {}
            Some(Happened::Established { peer_key, peer_software }) => {
                self.stats.established += 1;
                self.handshakes.remove(&id);
                self.events.push_back(Event::Established { session: id, peer_key, peer_software });
            }
            Some(Happened::Closed(reason)) => {
                let stats = session.stats();
                self.stats.lost += stats.lost;
                self.stats.key_updates += stats.key_updates;
                if self.handshakes.contains(&id) {
                    self.stats.handshakes_failed += 1;
                }
                closed = Some(Event::Closed { session: id, reason });
            }
        }
        if (session.is_established() || closed.is_some())
            && let Some(streams) = session.arrived()
        {
            while let Some(event) = streams.poll_event() {
                self.events.push_back(stream_event(id, event));
            }
        }
        self.events.extend(closed);
        if session.is_drained() {
            return self.forget(key);
        }
        // Its old port may never be asked again.
        if session.queued && session.queued_port != session.port {
            session.queued = false;
            if let Some(ready) = self.ready.get_mut(session.queued_port) {
                ready.retain(|&other| other != key);
            }
        }
        if queue && !session.queued && session.wants_transmit(now) {
            session.queued = true;
            session.queued_port = session.port;
            session.turn = 0;
            if self.ready.len() <= session.port {
                self.ready.resize_with(session.port + 1, VecDeque::new);
            }
            self.ready[session.port].push_back(key);
        }
        // A timer that fires early only looks again: moving it with every frame would
        // cost more.
        if let Some(wanted) = session.timeout(now)
            && session.timer.is_none_or(|timer| wanted < timer)
        {
            if let Some(timer) = session.timer.replace(wanted) {
                self.timers.remove(&(timer, key));
            }
            self.timers.insert((wanted, key));
        }
    }

    fn forget(&mut self, key: u16) {
        let Some(session) = self.sessions.remove(&key) else { return };
        self.keys.remove(&session.id);
        self.handshakes.remove(&session.id);
        if session.is_agent() {
            self.by_open.remove(&(session.peer, session.remote_key, session.nonce));
        }
        if let Some(timer) = session.timer {
            self.timers.remove(&(timer, key));
        }
        if session.queued
            && let Some(ready) = self.ready.get_mut(session.queued_port)
        {
            ready.retain(|&other| other != key);
        }
        self.events.push_back(Event::Drained {
            session: session.id,
            key: session.session_key(),
            port: session.opened_port,
        });
    }
}

fn stream_event(session: SessionId, event: StreamEvent) -> Event {
    match event {
        StreamEvent::Opened(stream) => Event::StreamOpened { session, stream },
        StreamEvent::Readable(stream) => Event::Readable { session, stream },
        StreamEvent::Writable(stream) => Event::Writable { session, stream },
        StreamEvent::Finished(stream) => Event::Finished { session, stream },
        StreamEvent::Stopped(stream, code) => Event::Stopped { session, stream, code },
        StreamEvent::Available => Event::StreamsAvailable { session },
    }
}
