//! Whole sessions in random weather, with everything that applications do at random.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bmstools_proto::v2::{Config, SessionId, StreamId};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::*;

/// What one side has done to its direction of a stream.
#[derive(Default, Debug)]
struct Wrote {
    placed: bool,
    /// Bytes written: of a placed direction in blocks, from the last to the first.
    data: Vec<u8>,
    blocks: u64,
    finished: bool,
    reset: bool,
    /// The other side does not want it.
    stopped: bool,
}

struct Run {
    world: World,
    rng: StdRng,
    /// The session as the agent and the operator call it.
    sessions: [SessionId; 2],
    wrote: BTreeMap<(usize, StreamId), Wrote>,
    opened: Vec<StreamId>,
}

const BLOCKS: u64 = 40;
const BLOCK: u64 = 7_000;

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let weather = Weather {
            loss: [0.0, 0.01, 0.1, 0.3][rng.gen_range(0..4)],
            duplication: rng.gen_range(0.0..0.1),
            corruption: rng.gen_range(0.0..0.05),
            reordering: rng.gen_range(0.0..0.3),
            delay: Duration::from_micros([20, 300, 5_000, 50_000][rng.gen_range(0..4)]),
            mtu: [256, 600, 1400, 9000][rng.gen_range(0..4)],
        };
        let mut config = || Config {
            mtu: [600, 1500, 3498][rng.gen_range(0..3)],
            max_data: [3_000, 100_000, 16 << 20][rng.gen_range(0..3)],
            max_stream_data: [200, 1_000, 30_000, 8 << 20][rng.gen_range(0..4)],
            max_streams: [1, 3, 256][rng.gen_range(0..3)],
            max_frames_in_flight: [16, 64, 2048][rng.gen_range(0..3)],
            key_update_after: [50, 1 << 22][rng.gen_range(0..2)],
            handshake_timeout: Duration::from_secs(60),
            give_up: Duration::from_secs(60),
            ..Config::default()
        };
        let (agent, operator) = (config(), config());
        let mut world = World::with(agent, operator, weather, seed);
        let (of_operator, of_agent) = world.established();
        let sessions = [of_agent, of_operator];
        Self { world, rng, sessions, wrote: BTreeMap::new(), opened: Vec::new() }
    }

    fn act(&mut self) {
        let now = self.world.now;
        let side = self.rng.gen_range(0..2);
        let session = self.sessions[side];
        let endpoint = &mut self.world.nodes[side].endpoint;
        if self.rng.gen_bool(0.2) {
            if let Ok(stream) = endpoint.open_stream(session) {
                self.opened.push(stream);
                for side in 0..2 {
                    let placed = self.rng.gen_bool(0.3);
                    self.wrote.insert((side, stream), Wrote { placed, ..Wrote::default() });
                }
            }
            return;
        }
        if self.opened.is_empty() {
            return;
        }
        let stream = self.opened[self.rng.gen_range(0..self.opened.len())];
        let is_known = stream.0 as usize & 1 != side
            || self.world.nodes[side].arrived.contains_key(&(session, stream));
        if !is_known {
            return;
        }
        let endpoint = &mut self.world.nodes[side].endpoint;
        let wrote = self.wrote.get_mut(&(side, stream)).unwrap();
        match self.rng.gen_range(0..100) {
            0..70 if wrote.placed && wrote.blocks < BLOCKS => {
                let len = self.rng.gen_range(1..=BLOCK);
                let offset = (BLOCKS - 1 - wrote.blocks) * BLOCK;
                let data = Bytes::from(random(len as usize, offset + 1));
                if endpoint.write_at(now, session, stream, offset, data).is_ok() {
                    wrote.blocks += 1;
                    wrote.data.extend(len.to_be_bytes());
                }
            }
            0..70 if !wrote.placed => {
                let data = random(self.rng.gen_range(0..20_000), u64::from(stream.0));
                if endpoint.write(now, session, stream, data.clone().into()).is_ok() {
                    wrote.data.extend(data);
                }
            }
            70..85 => wrote.finished |= endpoint.finish(now, session, stream).is_ok(),
            85..87 => {
                endpoint.reset(now, session, stream, 5);
                wrote.reset = true;
            }
            87..89 => {
                endpoint.stop(now, session, stream, 6);
                self.wrote.get_mut(&(1 - side, stream)).unwrap().stopped = true;
            }
            89..92 => endpoint.set_priority(session, stream, self.rng.r#gen()),
            _ => {}
        }
    }

    /// Ends every direction that is still open.
    fn finish(&mut self) {
        let now = self.world.now;
        for side in 0..2 {
            for (&(_, stream), wrote) in self.wrote.range_mut((side, StreamId(0))..) {
                let session = self.sessions[side];
                let node = &mut self.world.nodes[side];
                let is_known =
                    stream.0 as usize & 1 != side || node.arrived.contains_key(&(session, stream));
                if is_known && !wrote.finished && !wrote.reset {
                    wrote.finished |= node.endpoint.finish(now, session, stream).is_ok();
                }
            }
        }
    }

    /// Whether everything has arrived that was to.
    fn is_done(&self) -> bool {
        self.wrote.iter().all(|(&(side, stream), wrote)| {
            let key = (self.sessions[1 - side], stream);
            let Some(arrived) = self.world.nodes[1 - side].arrived.get(&key) else {
                return wrote.data.is_empty() || wrote.reset || wrote.stopped;
            };
            arrived.ended || wrote.reset || wrote.stopped || !wrote.finished
        })
    }

    /// What arrived is what was written, and nothing is missing.
    fn check(&self, seed: u64) {
        for (&(side, stream), wrote) in &self.wrote {
            let key = (self.sessions[1 - side], stream);
            let Some(arrived) = self.world.nodes[1 - side].arrived.get(&key) else { continue };
            let what = format!("seed {seed}, side {side}, {stream:?}");
            if wrote.placed {
                let mut count = 0;
                for (&offset, data) in &arrived.placed {
                    let mut at = offset;
                    while at < offset + data.len() as u64 {
                        let block = at / BLOCK * BLOCK;
                        let whole = random(BLOCK as usize, block + 1);
                        let end = (offset + data.len() as u64).min(block + BLOCK);
                        let got = &data[(at - offset) as usize..(end - offset) as usize];
                        let from = (at - block) as usize;
                        assert!(got == &whole[from..from + got.len()], "{what}");
                        at = end;
                    }
                    count += data.len() as u64;
                }
                if arrived.ended {
                    let lengths = wrote.data.as_chunks::<8>().0.iter();
                    let sum: u64 = lengths.map(|length| u64::from_be_bytes(*length)).sum();
                    assert_eq!(count, sum, "{what}");
                }
            } else {
                assert!(wrote.data.starts_with(&arrived.ordered), "{what}");
                if arrived.ended {
                    assert_eq!(arrived.ordered.len(), wrote.data.len(), "{what}");
                }
            }
        }
    }
}

#[test]
fn whatever_is_done_in_whatever_weather_both_sides_agree() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for _ in 0..run.rng.gen_range(20..200) {
            run.act();
            let pause = Duration::from_micros(run.rng.gen_range(0..20_000));
            run.world.run_for(pause);
        }
        let end = run.world.now + Duration::from_secs(1_000);
        while !run.is_done() && run.world.now < end {
            run.finish();
            run.world.run_for(Duration::from_secs(1));
        }
        run.check(seed);
        let nodes = &run.world.nodes;
        let state = || {
            let stats = [0, 1].map(|it| nodes[it].endpoint.session_stats(run.sessions[it]));
            let open: Vec<_> = run
                .wrote
                .iter()
                .filter(|((side, stream), wrote)| {
                    let key = (run.sessions[1 - side], *stream);
                    let arrived = nodes[1 - side].arrived.get(&key);
                    wrote.finished && !arrived.is_some_and(|arrived| arrived.ended)
                })
                .map(|(key, wrote)| (key, wrote.data.len(), wrote.placed))
                .collect();
            format!(
                "{:?} {:?} {open:?} {stats:?} {:?}",
                nodes[0].closed, nodes[1].closed, run.world.weather
            )
        };
        assert!(run.is_done(), "seed {seed}: {}", state());
        assert!(nodes[0].closed.is_empty() && nodes[1].closed.is_empty(), "{seed}: {}", state());
        let now: Instant = run.world.now;
        run.world.nodes[OPERATOR].endpoint.close(now, run.sessions[OPERATOR], 0, "");
        run.world.run_for(Duration::from_secs(200));
        for node in &run.world.nodes {
            assert_eq!(node.endpoint.session_count(), 0, "seed {seed}");
            assert_eq!(node.endpoint.poll_timeout(), None, "seed {seed}");
        }
    }
}
