//! What happened so far, for people and programs.

use bmstools_common::counters::Counter;
use bmstools_link::Port;
use bmstools_proto::Stats;
use serde_json::{Map, Value, json};
use tracing::info;

/// Logs everything that is counted as one line of JSON, under the target
/// `counters`.
pub(crate) fn log(stats: &Stats, sessions: usize, ports: &[Box<dyn Port>]) {
    info!(target: "counters", "{}", line(stats, sessions, ports));
}

fn line(stats: &Stats, sessions: usize, ports: &[Box<dyn Port>]) -> Value {
    json!({
        "sessions": {
            "open": sessions,
            "opened": stats.opened,
            "opens_refused": stats.opens_refused,
            "auth_failures": stats.auth_failures,
        },
        "frames": {
            "received": stats.received,
            "refused": stats.refused,
            "duplicates": stats.duplicates,
            "sent": stats.sent,
            "retransmitted": stats.retransmitted,
        },
        "ports": ports.iter().map(|port| port_line(port.as_ref())).collect::<Vec<_>>(),
    })
}

fn port_line(port: &dyn Port) -> Value {
    let info = port.info();
    let counters = port.counters();
    let verdicts: Map<_, _> = Counter::ALL
        .iter()
        .zip(counters.verdicts)
        .map(|(counter, frames)| (counter.name().to_owned(), frames.into()))
        .collect();
    json!({
        "interface": info.interface,
        "mac": info.mac.to_string(),
        "mode": info.mode,
        "sent": counters.sent,
        "send_errors": counters.send_errors,
        "socket_drops": counters.socket_drops,
        "verdicts": verdicts,
    })
}
