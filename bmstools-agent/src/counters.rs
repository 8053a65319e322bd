//! What happened so far, for people and programs.

use bmstools_common::counters::Counter;
use bmstools_link::Port;
use bmstools_proto::v2::message::status;
use bmstools_proto::{Stats, v2};
use serde_json::{Map, Value};
use tracing::info;

/// Everything that is counted.
pub(crate) struct Counted {
    /// Open sessions of version 1.
    pub(crate) sessions_v1: usize,
    /// Open sessions of version 2.
    pub(crate) sessions_v2: usize,
    /// By name, for the whole agent. Every name is used once, here and in a port's,
    /// so that a reader can do without the structure.
    pub(crate) agent: Vec<(&'static str, u64)>,
    /// Each port.
    pub(crate) ports: Vec<CountedPort>,
}

/// What is counted at a port.
pub(crate) struct CountedPort {
    link: status::Link,
    counters: Vec<(&'static str, u64)>,
}

impl Counted {
    /// What the two endpoints and the ports have counted; `ignored` frames were of a
    /// version that is not spoken.
    pub(crate) fn new(
        v1: (usize, &Stats),
        v2: Option<(usize, v2::Stats)>,
        ignored: u64,
        ports: &[Box<dyn Port>],
    ) -> Self {
        let (sessions_v1, stats) = v1;
        let (sessions_v2, v2) = v2.unwrap_or_default();
        let agent = vec![
            ("sessions_opened", stats.opened),
            ("opens_refused", stats.opens_refused),
            ("auth_failures", stats.auth_failures),
            ("received", stats.received),
            ("refused", stats.refused),
            ("duplicates", stats.duplicates),
            ("sent", stats.sent),
            ("retransmitted", stats.retransmitted),
            ("ignored", ignored),
            ("v2_received", v2.received),
            ("v2_refused", v2.refused),
            ("v2_unsealed", v2.unsealed),
            ("v2_replayed", v2.replayed),
            ("v2_cookies_asked", v2.cookies_asked),
            ("v2_opens_refused", v2.opens_refused),
            ("v2_handshakes", v2.handshakes),
            ("v2_handshakes_failed", v2.handshakes_failed),
            ("v2_established", v2.established),
            ("v2_sent", v2.sent),
            ("v2_lost", v2.lost),
            ("v2_key_updates", v2.key_updates),
        ];
        let ports = ports.iter().map(|port| CountedPort::new(port.as_ref())).collect();
        Self { sessions_v1, sessions_v2, agent, ports }
    }

    /// Logs it as one line of JSON, under the target `counters`.
    pub(crate) fn log(&self) {
        info!(target: "counters", "{}", self.line());
    }

    /// Puts it into what a status tells.
    pub(crate) fn tell(self, status: &mut status::Status) {
        status.sessions_v1 = self.sessions_v1.try_into().unwrap_or(u32::MAX);
        status.sessions_v2 = self.sessions_v2.try_into().unwrap_or(u32::MAX);
        status.counters = told(&self.agent);
        let link = |port: CountedPort| status::Link { counters: told(&port.counters), ..port.link };
        status.links = self.ports.into_iter().map(link).collect();
    }

    fn line(&self) -> Value {
        let mut line = fields(&self.agent);
        line.insert("sessions_open".into(), self.sessions_v1.into());
        line.insert("v2_sessions_open".into(), self.sessions_v2.into());
        line.insert("ports".into(), self.ports.iter().map(CountedPort::line).collect());
        Value::Object(line)
    }
}

impl CountedPort {
    fn new(port: &dyn Port) -> Self {
        let info = port.info();
        let link = status::Link {
            interface: info.interface.clone(),
            mac: info.mac.to_string(),
            mtu: info.mtu.try_into().unwrap_or(u32::MAX),
            mode: info.mode.clone(),
            counters: Vec::new(),
        };
        let counters = port.counters();
        let verdicts = Counter::ALL.iter().map(|counter| counter.name()).zip(counters.verdicts);
        let own = [
            ("transmitted", counters.sent),
            ("transmit_errors", counters.send_errors),
            ("socket_drops", counters.socket_drops),
        ];
        Self { link, counters: own.into_iter().chain(verdicts).collect() }
    }

    fn line(&self) -> Value {
        let (own, verdicts) = self.counters.split_at(3.min(self.counters.len()));
        let mut line = fields(own);
        line.insert("interface".into(), self.link.interface.as_str().into());
        line.insert("mac".into(), self.link.mac.as_str().into());
        line.insert("mode".into(), self.link.mode.as_str().into());
        line.insert("verdicts".into(), fields(verdicts).into());
        Value::Object(line)
    }
}

fn fields(counters: &[(&'static str, u64)]) -> Map<String, Value> {
    counters.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

fn told(counters: &[(&'static str, u64)]) -> Vec<status::Counter> {
    let counter = |(name, value): &(&'static str, u64)| status::Counter {
        name: (*name).to_owned(),
        value: *value,
    };
    counters.iter().map(counter).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bmstools_common::Mac;
    use bmstools_link::memory::pair;
    use serde_json::json;

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

    fn counted() -> Counted {
        let (port, _other) = pair(Mac([2; 6]), Mac([4; 6]), 1500).unwrap();
        let ports: Vec<Box<dyn Port>> = vec![Box::new(port)];
        let v2 = v2::Stats { unsealed: 9, ..v2::Stats::default() };
        Counted::new((3, &Stats { sent: 7, ..Stats::default() }), Some((2, v2)), 5, &ports)
    }

    #[test]
    fn every_counter_is_in_one_line_under_a_name_of_its_own() {
        let line = counted().line();
        assert_eq!((&line["sent"], &line["sessions_open"]), (&json!(7), &json!(3)));
        assert_eq!((&line["v2_unsealed"], &line["v2_sessions_open"]), (&json!(9), &json!(2)));
        assert_eq!(line["ignored"], 5);
        let mut found = Vec::new();
        names(&line, &mut found);
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "{found:?}");
        assert!(Counter::ALL.iter().all(|counter| found.contains(&counter.name().to_owned())));
        assert!(!line.to_string().contains('\n'));
    }

    #[test]
    fn a_status_tells_the_same() {
        let mut status = status::Status::default();
        counted().tell(&mut status);
        assert_eq!((status.sessions_v1, status.sessions_v2), (3, 2));
        let unsealed = status.counters.iter().find(|counter| counter.name == "v2_unsealed");
        assert_eq!(unsealed.unwrap().value, 9);
        let [link] = &status.links[..] else { panic!("one port") };
        assert_eq!((&link.mac[..], link.mtu), ("02:02:02:02:02:02", 1500));
        assert_eq!(link.counters.len(), 3 + Counter::COUNT);
    }
}
