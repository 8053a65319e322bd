//! What tasks want.

use std::sync::Arc;
use std::time::Instant;

use bmstools_proto::v2::{CloseReason, SessionId, StreamError, StreamId};

use super::entry::{Entry, Stream};
use super::{Hub, Stopping, code};
use crate::command::{Command, ConnectReply, SessionCommand, StreamCommand};
use crate::error::SessionError;
use crate::handle::Target;
use crate::stream::{Halves, StreamCore, cost};

impl Hub {
    /// Does what waits. What is urgent and comes meanwhile has woken the loop again.
    pub(super) fn take_commands(&mut self, now: Instant) {
        let mut commands = std::mem::take(&mut self.commands);
        self.common.queue.take(&mut commands);
        for command in commands.drain(..) {
            self.command(now, command);
        }
        // A burst's memory is not kept.
        if commands.capacity() <= KEPT_COMMANDS {
            self.commands = commands;
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Accept(identity) if self.stopping.is_none() => self.endpoint.accept(identity),
            Command::Accept(_) => {}
            Command::Connect { target, attempt, reply } => {
                self.connect(now, *target, attempt, reply);
            }
            Command::Abandon(attempt) => self.abandon(now, attempt),
            Command::Stats(reply) => {
                let _ = reply.send(self.endpoint.stats());
            }
            Command::ShutDown { code, reason, within, done } => {
                let until = now.checked_add(within);
                self.shut_down(now, Stopping { code, reason, until, waiting: vec![done] });
            }
            Command::Session(id, command) => self.session_command(now, id, command),
            Command::Stream(id, stream, command) => self.stream_command(now, id, stream, command),
        }
    }

    fn connect(&mut self, now: Instant, target: Target, attempt: u64, reply: ConnectReply) {
        if self.stopping.is_some() {
            let _ = reply.send(Err(CloseReason::Local));
            return;
        }
        let entry = Entry::new(target.peer, Some((attempt, reply)));
        let id = self.endpoint.connect(now, target.into());
        self.sessions.insert(id, entry);
    }

    fn abandon(&mut self, now: Instant, attempt: u64) {
        let awaited = |entry: &Entry| entry.awaited.as_ref().is_some_and(|(at, _)| *at == attempt);
        let found = self.sessions.iter().find(|(_, entry)| awaited(entry)).map(|(id, _)| *id);
        if let Some(id) = found {
            self.endpoint.close(now, id, code::DONE, "");
        }
    }

    fn shut_down(&mut self, now: Instant, mut stopping: Stopping) {
        self.common.refuse();
        self.endpoint.accept(None);
        for id in self.sessions.keys() {
            self.endpoint.close(now, *id, stopping.code, stopping.reason);
        }
        if let Some(before) = self.stopping.take() {
            // The most impatient decides.
            stopping.until = [before.until, stopping.until].into_iter().flatten().min();
            stopping.waiting.extend(before.waiting);
        }
        self.stopping = Some(stopping);
    }

    fn session_command(&mut self, now: Instant, id: SessionId, command: SessionCommand) {
        match command {
            SessionCommand::Open(reply) => {
                if let Some(live) = self.live(id) {
                    live.wanted.push_back(reply);
                    self.open_wanted(id);
                }
            }
            SessionCommand::Credit => self.credit_all(now, id),
            SessionCommand::Rate(rate) => self.endpoint.set_rate(id, rate),
            SessionCommand::Stats(reply) => {
                if self.live(id).is_some()
                    && let Some(stats) = self.endpoint.session_stats(id)
                {
                    let _ = reply.send(stats);
                }
            }
            SessionCommand::Close { code, reason } => self.endpoint.close(now, id, code, &reason),
        }
    }

    /// Opens the streams that are waited for, as many as the peer allows.
    pub(super) fn open_wanted(&mut self, id: SessionId) {
        let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else { return };
        while let Some(reply) = live.wanted.pop_front() {
            if reply.is_closed() {
                continue;
            }
            match self.endpoint.open_stream(id) {
                Ok(stream) => {
                    let queue = self.common.queue.clone();
                    let consumed = live.consumed.clone();
                    let core = StreamCore::new(queue, id, stream, consumed, &self.config);
                    let core = Arc::new(core);
                    live.streams.insert(stream, Stream::new(core.clone()));
                    let _ = reply.send(Halves::new(core));
                }
                // Until the peer allows it, or the session's end is told.
                Err(_) => {
                    live.wanted.push_front(reply);
                    return;
                }
            }
        }
    }

    fn credit_all(&mut self, now: Instant, id: SessionId) {
        let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else { return };
        live.consumed.hear();
        for (at, stream) in &mut live.streams {
            let bytes = stream.take_consumed();
            if bytes > 0 {
                self.endpoint.consumed(now, id, *at, bytes);
            }
        }
    }

    fn stream_command(
        &mut self,
        now: Instant,
        id: SessionId,
        at: StreamId,
        command: StreamCommand,
    ) {
        let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else { return };
        let Some(stream) = live.streams.get_mut(&at) else { return };
        match command {
            StreamCommand::Write(data) => {
                stream.applied = stream.applied.saturating_add(cost(data.len()));
                let done = self.endpoint.write(now, id, at, data);
                self.written(now, id, at, done);
            }
            StreamCommand::Place(offset, data) => {
                stream.applied = stream.applied.saturating_add(cost(data.len()));
                let done = self.endpoint.write_at(now, id, at, offset, data);
                self.written(now, id, at, done);
            }
            StreamCommand::Last(data) => {
                self.stream_command(now, id, at, StreamCommand::Write(data));
                self.stream_command(now, id, at, StreamCommand::Finish);
            }
            StreamCommand::Finish => {
                let _ = self.endpoint.finish(now, id, at);
            }
            StreamCommand::Reset(code) => self.endpoint.reset(now, id, at, code),
            StreamCommand::Priority(priority) => self.endpoint.set_priority(id, at, priority),
            StreamCommand::Credit => {
                let bytes = stream.take_consumed();
                self.endpoint.consumed(now, id, at, bytes);
            }
            StreamCommand::Stop(code) => {
                if !stream.is_ended {
                    self.endpoint.stop(now, id, at, code);
                }
                let left = stream.give_up();
                self.endpoint.consumed(now, id, at, left);
            }
            StreamCommand::SendDropped => {
                stream.has_sender = false;
                if stream.is_orphan() {
                    live.streams.remove(&at);
                }
            }
            StreamCommand::RecvDropped => {
                stream.has_receiver = false;
                let left = stream.give_up();
                self.endpoint.consumed(now, id, at, left);
                if stream.is_orphan() {
                    live.streams.remove(&at);
                }
            }
        }
    }

    /// A write reached the endpoint. One that it cannot take ends the stream: nothing is
    /// left out of one without a word. Where the stream or its session is over, that has
    /// been or will be told as an event.
    fn written(
        &mut self,
        now: Instant,
        id: SessionId,
        at: StreamId,
        done: Result<(), StreamError>,
    ) {
        if let Err(error @ (StreamError::Kind | StreamError::Position)) = done
            && let Some(stream) = self.stream(id, at)
        {
            stream.core.fail_sending(SessionError::Unusable(error));
            self.endpoint.reset(now, id, at, 0);
        }
        self.touch(id, at);
    }

    /// Has the stream told of its room at the end of the turn.
    pub(super) fn touch(&mut self, id: SessionId, at: StreamId) {
        let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else { return };
        if let Some(stream) = live.streams.get_mut(&at)
            && !stream.is_touched
        {
            stream.is_touched = true;
            self.touched.push((id, at));
        }
    }

    /// Tells the touched streams of their room: once a turn, however many writes there
    /// were.
    pub(super) fn tell_room(&mut self) {
        for (id, at) in self.touched.drain(..) {
            let Some(live) = self.sessions.get_mut(&id).and_then(Entry::live) else {
                continue;
            };
            if let Some(stream) = live.streams.get_mut(&at) {
                stream.is_touched = false;
                let applied = std::mem::take(&mut stream.applied);
                stream.core.set_room(applied, self.endpoint.room(id, at));
            }
        }
    }
}

/// Commands whose memory is kept for the next turn: some 100 kB.
const KEPT_COMMANDS: usize = 1024;
