//! An operator that takes one step at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bmstools_common::ethernet::Peer;
use bmstools_common::header::{Dialect, V1Header, ptype};
use bmstools_link::KeyClaim;
use serde_json::Value;

use crate::keys::KeyPair;
use crate::nic::End;
use crate::wire::{Frame, Keys, Tap, control, ctype};

/// How the operator behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which header it writes.
    pub dialect: Dialect,
    /// Its session key.
    pub key: u16,
    /// Throws away, once acknowledged, what comes sooner than this after its last
    /// message left, as deployed operators do.
    pub deaf_for: Duration,
    /// Bytes of data in a frame at most.
    pub fragment: usize,
}

impl Options {
    /// The documented dialect over an MTU of 1500.
    pub fn documented(key: u16) -> Self {
        Self { dialect: Dialect::V1, key, deaf_for: Duration::ZERO, fragment: 1486 }
    }

    /// A deployed operator.
    pub fn deployed(key: u16) -> Self {
        let deaf_for = Duration::from_millis(5);
        Self { dialect: Dialect::V1Deployed, key, deaf_for, fragment: 300 }
    }
}

/// A message from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its packet type.
    pub ptype: u8,
    /// Its bytes, in the documented dialect perhaps with padding.
    pub data: Vec<u8>,
}

/// An operator with one session.
#[derive(Debug)]
pub struct HandOperator {
    tap: Tap,
    agent: Peer,
    options: Options,
    agent_key: u16,
    sequence: u32,
    sent_at: Instant,
    acknowledged: BTreeSet<(u32, u16)>,
    assembling: BTreeMap<u32, BTreeMap<u16, Vec<u8>>>,
    complete: BTreeSet<u32>,
    inbox: VecDeque<Message>,
    /// Keeps real operators off its key; a second of its own may share it.
    _claim: Option<KeyClaim>,
}

impl HandOperator {
    /// Opens a session with `agent`.
    ///
    /// # Errors
    ///
    /// Where the agent does not acknowledge and answer the open.
    pub fn open(from: End<'_>, agent: Peer, options: Options) -> Result<Self> {
        let claim = from.namespace.enter(|| KeyClaim::on(from.mac, options.key))??;
        let mut operator = Self {
            // It sees what the other sessions of its host receive, and must not lose
            // its own frames for that.
            tap: Tap::promiscuous(from)?,
            agent,
            options,
            agent_key: 0,
            sequence: 0,
            sent_at: Instant::now(),
            acknowledged: BTreeSet::new(),
            assembling: BTreeMap::new(),
            complete: BTreeSet::new(),
            inbox: VecDeque::new(),
            _claim: claim,
        };
        operator.send(ptype::OPEN, &[]).context("the open")?;
        operator.expect(ptype::OPEN).context("the open")?;
        Ok(operator)
    }

    /// The keys that its frames carry.
    pub fn keys(&self) -> Keys {
        Keys { own: self.options.key, peer: self.agent_key }
    }

    /// Sends a message and waits until every fragment is acknowledged.
    ///
    /// # Errors
    ///
    /// Where one is not.
    pub fn send(&mut self, ptype: u8, data: &[u8]) -> Result<()> {
        let sequence = self.sequence;
        self.sequence += 1;
        self.send_as(sequence, ptype, data)
    }

    /// Sends a message with a number of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_as(&mut self, sequence: u32, ptype: u8, data: &[u8]) -> Result<()> {
        let mut fragments: Vec<_> = data.chunks(self.options.fragment).collect();
        if fragments.is_empty() {
            fragments.push(&[]);
        }
        let count = u16::try_from(fragments.len())?;
        let Keys { own: srckey, peer: dstkey } = self.keys();
        for (offset, data) in (0..).zip(fragments) {
            let header = V1Header { ptype, srckey, dstkey, sequence, count, offset };
            self.acknowledged.remove(&(sequence, offset));
            self.send_frame(&Frame { header, data: data.to_vec() })?;
            let deadline = Instant::now() + ACK_LIMIT;
            while !self.acknowledged.contains(&(sequence, offset)) {
                if !self.step(deadline)? {
                    bail!("fragment {offset} of message {sequence} was not acknowledged");
                }
            }
        }
        Ok(())
    }

    /// Sends one frame and waits for nothing.
    ///
    /// # Errors
    ///
    /// Where the interface is gone.
    pub fn send_frame(&mut self, frame: &Frame) -> Result<()> {
        // Before the frame leaves: this thread may be kept waiting after that, and
        // an answer is not early for it.
        self.sent_at = Instant::now();
        self.tap.send(frame, self.agent, self.options.dialect)
    }

    /// Sends these bytes as a frame and waits for nothing.
    ///
    /// # Errors
    ///
    /// Where the interface is gone.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.tap.send_bytes(bytes)
    }

    /// The next message of the agent; `None` where none comes within `limit`.
    ///
    /// # Errors
    ///
    /// Where the interface is gone.
    pub fn receive(&mut self, limit: Duration) -> Result<Option<Message>> {
        let deadline = Instant::now() + limit;
        while self.inbox.is_empty() && self.step(deadline)? {}
        Ok(self.inbox.pop_front())
    }

    /// Asks for a challenge: base64 of an encrypted text.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub fn challenge(&mut self) -> Result<Vec<u8>> {
        self.send(ptype::CONTROL, &control(ctype::AUTH, &[]))?;
        let data = self.expect(ptype::CONTROL).context("the challenge")?;
        let (head, rest) = data.split_first_chunk::<5>().context("a short challenge")?;
        let [kind, length @ ..] = *head;
        if kind != ctype::AUTH {
            bail!("a challenge of control type {kind}");
        }
        let length = usize::try_from(u32::from_be_bytes(length))?;
        Ok(rest.get(..length).context("a challenge shorter than it says")?.to_vec())
    }

    /// Answers a challenge. The agent's response.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub fn answer(&mut self, answer: &str) -> Result<Value> {
        self.request(ptype::CONTROL, &control(ctype::AUTH, answer.as_bytes()))
    }

    /// Authenticates with these keys.
    ///
    /// # Errors
    ///
    /// Where the agent does not accept them.
    pub fn authenticate(&mut self, keys: &KeyPair) -> Result<()> {
        let challenge = self.challenge()?;
        let response = self.answer(&keys.answer(&challenge)?)?;
        if response["code"] != "Success" {
            bail!("authentication refused: {response}");
        }
        Ok(())
    }

    /// Runs a command line. The agent's response.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub fn exec(&mut self, command: &str) -> Result<Value> {
        self.request(ptype::CONTROL, &control(ctype::EXEC, command.as_bytes()))
    }

    /// Begins a file. The agent's response.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub fn file(&mut self, path: &str) -> Result<Value> {
        self.request(ptype::CONTROL, &control(ctype::FILE, path.as_bytes()))
    }

    /// Appends to the file. The agent's response.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub fn data(&mut self, data: &[u8]) -> Result<Value> {
        self.request(ptype::DATA, data)
    }

    /// Sends a message and waits for the JSON response.
    ///
    /// # Errors
    ///
    /// Where none comes.
    pub fn request(&mut self, ptype: u8, data: &[u8]) -> Result<Value> {
        self.send(ptype, data)?;
        self.response()
    }

    /// Waits for a JSON response.
    ///
    /// # Errors
    ///
    /// Where none comes, or it is not JSON.
    pub fn response(&mut self) -> Result<Value> {
        let data = self.expect(ptype::DATA)?;
        let end = data.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        serde_json::from_slice(&data[..end])
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&data)))
    }

    /// Ends the session.
    ///
    /// # Errors
    ///
    /// Where the agent does not confirm it.
    pub fn end(&mut self) -> Result<()> {
        self.send(ptype::END, &[]).context("the end")?;
        self.expect(ptype::END).context("the end").map(drop)
    }

    fn expect(&mut self, ptype: u8) -> Result<Vec<u8>> {
        match self.receive(ANSWER_LIMIT)? {
            Some(message) if message.ptype == ptype => Ok(message.data),
            Some(message) => bail!("a message of type {} came, not {ptype}", message.ptype),
            None => bail!("nothing came within {ANSWER_LIMIT:?}: the session stalled"),
        }
    }

    /// Takes one frame. False where none came before `deadline`.
    fn step(&mut self, deadline: Instant) -> Result<bool> {
        let Some((peer, frame)) = self.tap.receive(self.options.dialect, deadline)? else {
            return Ok(false);
        };
        let Frame { header, data } = &frame;
        if peer != self.agent || header.dstkey != self.options.key {
            return Ok(true);
        }
        if header.ptype == ptype::ACK {
            self.acknowledged.insert((header.sequence, header.offset));
            return Ok(true);
        }
        if header.ptype == ptype::OPEN {
            self.agent_key = header.srckey;
        }
        self.tap.send(&frame.ack(self.options.key), self.agent, self.options.dialect)?;
        if self.complete.contains(&header.sequence) {
            return Ok(true);
        }
        let message = self.assembling.entry(header.sequence).or_default();
        message.insert(header.offset, data.clone());
        if message.len() == usize::from(header.count) {
            self.complete.insert(header.sequence);
            let fragments = self.assembling.remove(&header.sequence).unwrap_or_default();
            if self.sent_at.elapsed() >= self.options.deaf_for {
                let data = fragments.into_values().flatten().collect();
                self.inbox.push_back(Message { ptype: header.ptype, data });
            }
        }
        Ok(true)
    }
}

/// An agent acknowledges at once.
const ACK_LIMIT: Duration = Duration::from_secs(2);
/// Under the 3 s of a deployed peer's first retry: a stall is a failure.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);
