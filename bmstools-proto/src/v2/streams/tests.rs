use bytes::Bytes;

use super::super::Config;
use super::super::frame::{Frame, Frames};
use super::super::recovery::{Content, Contents};
use super::*;

mod hostile;
mod model;
mod rules;

/// Two sides of a session, and the packets between them.
struct Pair {
    sides: [Streams; 2],
}

/// A packet under way.
struct Packet {
    bytes: Vec<u8>,
    contents: Vec<Content>,
}

fn config() -> Config {
    Config { max_data: 1 << 20, max_stream_data: 1 << 19, max_streams: 8, ..Config::default() }
}

fn limits(config: &Config) -> PeerLimits {
    PeerLimits {
        max_data: config.max_data,
        max_stream_data: config.max_stream_data,
        max_streams: config.max_streams,
    }
}

impl Pair {
    fn new(config: &Config) -> Self {
        let mut sides = [Streams::new(0, config), Streams::new(1, config)];
        for side in &mut sides {
            side.set_peer_limits(limits(config));
        }
        Self { sides }
    }

    /// The next packet of a side, of up to `size` bytes.
    fn take(&mut self, side: usize, size: usize) -> Option<Packet> {
        let wanted = self.sides[side].wants_transmit();
        let mut bytes = vec![0xaa; size];
        let mut contents = Contents::default();
        let length = self.sides[side].emit(&mut bytes, &mut contents);
        assert_eq!(wanted, length > 0, "it wants to send what it does not");
        bytes.truncate(length);
        (length > 0).then(|| Packet { bytes, contents: contents.iter().collect() })
    }

    fn deliver(&mut self, to: usize, packet: &Packet) {
        for frame in Frames::new(&packet.bytes) {
            self.sides[to].receive(&frame.unwrap()).unwrap();
        }
    }

    fn acknowledge(&mut self, side: usize, packet: &Packet) {
        for content in &packet.contents {
            self.sides[side].acknowledged(*content);
        }
    }

    fn lose(&mut self, side: usize, packet: &Packet) {
        for content in &packet.contents {
            self.sides[side].lost(*content);
        }
    }

    /// Carries everything across until nothing is left to send.
    fn exchange(&mut self) {
        loop {
            let mut quiet = true;
            for side in 0..2 {
                while let Some(packet) = self.take(side, 1450) {
                    quiet = false;
                    self.deliver(1 - side, &packet);
                    self.acknowledge(side, &packet);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn events(&mut self, side: usize) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.sides[side].poll_event()).collect()
    }

    /// All streams are over, everything was credited, and nothing is left anywhere.
    fn assert_drained(&mut self, side: usize) {
        let sent = self.sides[1 - side].session.sent();
        let streams = &mut self.sides[side];
        assert_eq!(streams.count(), 0, "streams are left");
        assert!(!streams.wants_transmit());
        assert!(streams.session.schedule.is_empty());
        assert!(streams.session.blocked.is_empty());
        streams.session.incoming.assert_drained(sent);
    }

    /// Reads what there is, and says that it is done with it.
    fn read(&mut self, side: usize, stream: StreamId) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        while let Some(chunk) = self.sides[side].read(stream) {
            if let Chunk::Data { data, .. } = &chunk {
                self.sides[side].consumed(stream, data.len() as u64);
            }
            chunks.push(chunk);
        }
        chunks
    }
}

fn data(offset: u64, data: &'static [u8]) -> Chunk {
    Chunk::Data { offset, data: Bytes::from_static(data) }
}
