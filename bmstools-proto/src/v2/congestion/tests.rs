use std::time::Duration;

use super::cubic::{BETA, Cubic};
use super::simulation::{FRAME, Link, Simulation};
use super::{Controller, new};

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn tcp() -> Box<dyn Controller> {
    Box::new(Cubic::new(FRAME, BETA))
}

/// Megabits a second and frames of queue.
const LINKS: [(u64, u64); 5] =
    [(100, 100), (1000, 256), (1000, 1000), (10_000, 256), (10_000, 1024)];

/// The part of what the link allows that one flow gets, and the simulation.
fn alone(link: Link) -> (f64, Simulation) {
    let mut simulation = Simulation::new(link, 7);
    simulation.add(new(FRAME), u64::MAX);
    // The window is found before the rate is measured.
    simulation.run(link.rtt * 20 + ms(20));
    let before = simulation.goodput(0);
    let time = link.rtt * 50 + ms(100);
    simulation.run(time);
    // As much as the credit allows where acknowledgements take their time.
    let credit = super::rate(u64::from(link.credit) * FRAME, link.rtt + us(500));
    let rate = super::rate(simulation.goodput(0) - before, time);
    (rate as f64 / link.rate.min(credit) as f64, simulation)
}

fn each_link(rtts: &[Duration], mut each: impl FnMut(Link)) {
    for (megabits, queue) in LINKS {
        for &rtt in rtts {
            let link = Link::new(megabits, queue, rtt);
            each(Link { hiccup: ms(2), ..link });
        }
    }
}

#[test]
fn a_clean_link_is_filled() {
    each_link(&[us(50), ms(1), ms(10), ms(50)], |link| {
        let (part, _) = alone(link);
        assert!(part > 0.85, "{part:.2} of {link:?}");
    });
}

#[test]
fn two_lost_in_a_hundred_leave_most_of_the_rate() {
    each_link(&[us(50), ms(1), ms(10), ms(50)], |link| {
        let (part, _) = alone(Link { loss: 0.02, ..link });
        assert!(part > 0.65, "{part:.2} of {link:?}");
    });
}

#[test]
fn a_transfer_completes_with_three_in_ten_lost_each_way() {
    each_link(&[us(50), ms(10)], |link| {
        let mut simulation = Simulation::new(Link { loss: 0.3, ..link }, 3);
        simulation.add(new(FRAME), 14_000);
        simulation.run(Duration::from_secs(60));
        let flow = &simulation.flows[0];
        assert_eq!((flow.delivered, flow.recovery.in_flight()), (14_000, (0, 0)), "{link:?}");
        let sent = flow.sent as f64 / 14_000.0;
        assert!(sent < 1.7, "{sent:.2} times as much sent as needed, {link:?}");
    });
}

#[test]
fn reordering_costs_less_than_half() {
    each_link(&[us(50), ms(1), ms(10)], |link| {
        for late_by in [us(20), us(300), link.rtt / 4] {
            let (part, simulation) = alone(Link { late: 0.1, late_by, ..link });
            assert!(part > 0.6, "{part:.2} of {link:?}, late by {late_by:?}");
            let flow = &simulation.flows[0];
            let twice = flow.duplicates as f64 / flow.sent as f64;
            assert!(twice < 0.1, "{twice:.2} sent twice, {link:?}, late by {late_by:?}");
        }
    });
}

/// The parts of the link's rate that two flows get, the second of which begins later.
fn shared(link: Link, first: Box<dyn Controller>, second: Box<dyn Controller>) -> [f64; 2] {
    let mut simulation = Simulation::new(link, 7);
    simulation.add(first, u64::MAX);
    simulation.run(ms(500));
    simulation.add(second, u64::MAX);
    simulation.run(ms(2500));
    let before = [0, 1].map(|flow| simulation.goodput(flow));
    let time = Duration::from_secs(8);
    simulation.run(time);
    [0, 1].map(|flow| {
        let rate = super::rate(simulation.goodput(flow) - before[flow], time);
        rate as f64 / link.rate as f64
    })
}

#[test]
fn neither_tcp_nor_we_starve_beside_each_other() {
    for (megabits, queue) in [(100, 30), (100, 100), (100, 400), (400, 256)] {
        for rtt in [us(100), ms(1), ms(10)] {
            let link = Link::new(megabits, queue, rtt);
            for parts in [shared(link, new(FRAME), tcp()), shared(link, tcp(), new(FRAME))] {
                assert!(parts[0].min(parts[1]) > 0.25, "{parts:.2?} of {link:?}");
            }
        }
    }
}

#[test]
fn two_flows_of_ours_share() {
    for rtt in [us(100), ms(1), ms(10)] {
        let link = Link { loss: 0.01, ..Link::new(400, 256, rtt) };
        let parts = shared(link, new(FRAME), new(FRAME));
        assert!(parts[0].min(parts[1]) > 0.25, "{parts:.2?} of {link:?}");
    }
}

#[test]
fn damage_is_what_tcp_does_not_bear_and_we_do() {
    let link = Link { loss: 0.02, ..Link::new(1000, 256, ms(10)) };
    let mut simulation = Simulation::new(link, 7);
    simulation.add(tcp(), u64::MAX);
    simulation.run(ms(1000));
    let (part, _) = alone(link);
    let tcp = simulation.goodput(0) as f64 / link.rate as f64;
    assert!(part > 5.0 * tcp, "{part:.2} and {tcp:.2}");
}
