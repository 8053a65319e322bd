use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Send { level: u8, eliciting: bool, contents: usize },
    SizeProbe,
    Ack(Vec<(u64, u64)>),
    Wait(u64),
    TimeOut,
    Forget(u8),
    Credit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..3, any::<bool>(), 0usize..5)
            .prop_map(|(level, eliciting, contents)| Step::Send { level, eliciting, contents }),
        1 => Just(Step::SizeProbe),
        // Distances downwards from the latest packet.
        4 => prop::collection::vec((0u64..12, 1u64..12), 1..5).prop_map(Step::Ack),
        3 => (0u64..20_000).prop_map(Step::Wait),
        2 => Just(Step::TimeOut),
        1 => (0u8..2).prop_map(Step::Forget),
        1 => (0u32..100).prop_map(Step::Credit),
    ]
}

/// What must hold of whatever is reported.
#[derive(Default)]
struct Model {
    /// Every content's packet.
    contents: BTreeMap<u64, u64>,
    reported: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    forgotten: BTreeSet<u64>,
    levels: BTreeMap<u64, u8>,
}

impl Model {
    fn report(&mut self, side: &mut Side) {
        for content in side.outcome.acknowledged.drain(..) {
            let id = id(content);
            assert!(self.reported.insert(id), "content {id} was reported twice");
            assert!(self.acknowledged.contains(&self.contents[&id]));
        }
        for content in side.outcome.lost.drain(..) {
            let id = id(content);
            assert!(self.reported.insert(id), "content {id} was reported twice");
            assert!(!self.acknowledged.contains(&self.contents[&id]));
        }
    }
}

fn id(content: Content) -> u64 {
    match content {
        Content::Stream { offset, .. } => offset,
        Content::SizeProbe { size } => 1 << 40 | u64::from(size),
        other => panic!("{other:?} was never sent"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn everything_sent_is_accounted_for(steps in prop::collection::vec(step(), 1..200)) {
        let mut side = Side::new();
        let mut model = Model::default();
        let mut next_id = 0;
        for step in steps {
            match step {
                Step::Send { level, eliciting, contents } => {
                    let mut sent = Contents::default();
                    for _ in 0..contents {
                        sent.push(stream(next_id));
                        model.contents.insert(next_id, side.next);
                        next_id += 1;
                    }
                    model.levels.insert(side.next, level);
                    side.send_with(level, eliciting || contents > 0, sent);
                }
                Step::SizeProbe => {
                    let size = (side.next % 60_000) as u16;
                    model.contents.insert(1 << 40 | u64::from(size), side.next);
                    model.levels.insert(side.next, 2);
                    side.send_with(2, true, contents(Content::SizeProbe { size }));
                }
                Step::Ack(distances) => {
                    let mut ranges = Vec::new();
                    let mut top = side.next;
                    for (gap, length) in distances {
                        let Some(high) = top.checked_sub(gap + 1) else { break };
                        let low = high.saturating_sub(length - 1);
                        ranges.push((low, high));
                        model.acknowledged.extend(
                            (low..=high).filter(|number| !model.forgotten.contains(number)),
                        );
                        top = low.saturating_sub(1);
                    }
                    // What was found lost before stays so.
                    let result = side.ack(&ranges);
                    prop_assert_eq!(result.is_ok(), !ranges.is_empty());
                    model.report(&mut side);
                }
                Step::Wait(micros) => side.wait(Duration::from_micros(micros)),
                Step::TimeOut => {
                    if side.recovery.timeout().is_some() {
                        side.time_out();
                        model.report(&mut side);
                    }
                }
                Step::Forget(level) => {
                    side.recovery.forget_level(level);
                    let of_level = model.levels.iter().filter(|(_, l)| **l == level);
                    model.forgotten.extend(of_level.map(|(number, _)| *number));
                }
                Step::Credit(frames) => side.recovery.set_credit(frames),
            }
            let mut open = InFlight::default();
            side.recovery.packets.for_each_open(|_, entry, _| {
                open.add(entry);
                true
            });
            prop_assert_eq!(side.recovery.in_flight(), (open.frames, open.bytes));
            prop_assert_eq!(side.recovery.in_flight.size_probes, open.size_probes);
            let (frames, _) = side.recovery.in_flight();
            prop_assert_eq!(side.recovery.timeout().is_some(), frames > 0);
            prop_assert!(side.recovery.window() >= 16 * 1500);
        }
        if side.next > 0 {
            let last = side.next - 1;
            model.acknowledged.extend(0..=last);
            side.ack(&[(0, last)]).unwrap();
            model.report(&mut side);
            prop_assert_eq!(side.recovery.in_flight(), (0, 0));
            prop_assert_eq!(side.recovery.packets.len(), 0);
        }
        for (id, number) in &model.contents {
            prop_assert!(model.reported.contains(id) || model.forgotten.contains(number));
        }
    }
}
