//! The XDP program's verdicts in software, for ports without one.

mod buckets;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use bmstools_common::classify::{Verdict, check_framing, classify};
use bmstools_common::counters::Counter;
use bmstools_common::ethernet::Peer;
use bmstools_common::header::Framing;
use bmstools_common::maps::{Config, SESSIONS_CAPACITY, SessionKey};
use bmstools_common::rate;

use self::buckets::Buckets;
use crate::port::LinkError;

/// Decides on frames as the XDP program does, and counts the same.
pub(crate) struct Filter {
    config: Config,
    sessions: HashMap<SessionKey, Framing>,
    per_source: Buckets,
    global: u64,
    /// Where the buckets' clock begins.
    epoch: Instant,
    counters: [u64; Counter::COUNT],
}

impl Filter {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            sessions: HashMap::new(),
            per_source: Buckets::default(),
            global: 0,
            epoch: Instant::now(),
            counters: [0; Counter::COUNT],
        }
    }

    /// Nanoseconds on this filter's clock.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Decides on a frame that came at `now_ns`, counts it, and returns its sender
    /// and where its bmstools header begins if it goes up.
    pub(crate) fn admit(&mut self, frame: &[u8], now_ns: u64) -> Option<(Peer, usize)> {
        let (counter, admitted) = self.verdict(frame, now_ns);
        self.count(counter);
        admitted
    }

    /// Counts a frame that was decided on elsewhere.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.counters[counter as usize] += 1;
    }

    fn verdict(&mut self, packet: &[u8], now_ns: u64) -> (Counter, Option<(Peer, usize)>) {
        let frame = match classify(packet, self.config.local) {
            Verdict::NotOurs => return (Counter::Passed, None),
            Verdict::NotAddressed => return (Counter::NotAddressed, None),
            Verdict::Malformed(reason) => return (reason.into(), None),
            Verdict::Ours(frame) => frame,
        };
        let admitted = Some((frame.peer, frame.header_at));
        let Some(key) = frame.session else {
            return match self.take_open(frame.peer, now_ns) {
                Counter::Open => (Counter::Open, admitted),
                refused => (refused, None),
            };
        };
        let Some(&framing) = self.sessions.get(&key) else {
            return (Counter::NoSession, None);
        };
        match check_framing(packet, &frame, framing) {
            Ok(()) => (Counter::Session, admitted),
            Err(reason) => (reason.into(), None),
        }
    }

    /// Takes a token for an open: the source's own, then one of all sources.
    fn take_open(&mut self, peer: Peer, now_ns: u64) -> Counter {
        let source = self.per_source.state(peer.mac);
        let Some(after) = rate::take(*source, now_ns, self.config.per_source) else {
            return Counter::OpenRateSource;
        };
        *source = after;
        let Some(after) = rate::take(self.global, now_ns, self.config.global) else {
            return Counter::OpenRateGlobal;
        };
        self.global = after;
        Counter::Open
    }

    pub(crate) fn insert_session(
        &mut self,
        key: SessionKey,
        framing: Framing,
    ) -> Result<(), LinkError> {
        let full = self.sessions.len() >= SESSIONS_CAPACITY as usize;
        if full && !self.sessions.contains_key(&key) {
            return Err(LinkError::SessionsFull(SESSIONS_CAPACITY));
        }
        self.sessions.insert(key, framing);
        Ok(())
    }

    pub(crate) fn remove_session(&mut self, key: SessionKey) {
        self.sessions.remove(&key);
    }

    /// The keys that frames of the sessions name.
    pub(crate) fn keys(&self) -> BTreeSet<u16> {
        self.sessions.keys().map(|session| session.local_key()).collect()
    }

    pub(crate) fn counters(&self) -> [u64; Counter::COUNT] {
        self.counters
    }
}

#[cfg(test)]
mod tests;
