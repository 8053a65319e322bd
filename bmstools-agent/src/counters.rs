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

/// Every name is used once, so that a reader can do without the structure.
fn line(stats: &Stats, sessions: usize, ports: &[Box<dyn Port>]) -> Value {
    json!({
        "sessions_open": sessions,
        "sessions_opened": stats.opened,
        "opens_refused": stats.opens_refused,
        "auth_failures": stats.auth_failures,
        "received": stats.received,
        "refused": stats.refused,
        "duplicates": stats.duplicates,
        "sent": stats.sent,
        "retransmitted": stats.retransmitted,
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
        "transmitted": counters.sent,
        "transmit_errors": counters.send_errors,
        "socket_drops": counters.socket_drops,
        "verdicts": verdicts,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bmstools_common::Mac;
    use bmstools_link::memory::pair;

    use super::*;

    fn names(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    found.push(name.clone());
                    names(value, found);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_counter_is_in_one_line_under_a_name_of_its_own() {
        let (port, _other) = pair(Mac([2; 6]), Mac([4; 6]), 1500).unwrap();
        let ports: Vec<Box<dyn Port>> = vec![Box::new(port)];
        let line = line(&Stats { sent: 7, ..Stats::default() }, 3, &ports);
        assert_eq!((&line["sent"], &line["sessions_open"]), (&json!(7), &json!(3)));
        let mut found = Vec::new();
        names(&line, &mut found);
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "{found:?}");
        assert!(Counter::ALL.iter().all(|counter| found.contains(&counter.name().to_owned())));
        assert!(!line.to_string().contains('\n'));
    }
}
