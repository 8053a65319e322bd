//! `bmstools status`: what an agent says of itself.

use std::fmt::Write as _;

use bmstools_proto::v2::SessionStats;
use bmstools_proto::v2::message::Request;
use bmstools_proto::v2::message::status::{Counter, Link, Status, StatusRequest};
use clap::Args;
use serde_json::{Map, Value, json};

use super::ask::{answer, ask};
use crate::output::{Failure, one_line};
use crate::v2::Host;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {}

/// Asks the agent and shows its answer.
///
/// # Errors
///
/// Where the session fails.
pub(crate) async fn run(host: &Host, _args: &StatusArgs) -> Result<u8, Failure> {
    let (mut send, mut recv) = ask(host.session(), &Request::Status(StatusRequest {})).await?;
    send.finish();
    let status = answer::<Status>(&mut recv).await?;
    let key = host.session().peer_key();
    let own = Own {
        key: format!("{}, {}", key.kind(), key.fingerprint()),
        stats: host.session().stats().await.unwrap_or_default(),
        link: host.link().to_owned(),
    };
    host.result(own.json(&status), &own.text(&status))?;
    Ok(0)
}

/// What this side knows.
struct Own {
    key: String,
    stats: SessionStats,
    link: String,
}

impl Own {
    fn text(&self, status: &Status) -> String {
        let mut text = format!(
            "agent     {}, up {}\nkey       {}\nhost      {}, up {}\nkernel    {}\n",
            one_line(&status.version),
            uptime(status.uptime_ms),
            self.key,
            one_line(&status.host),
            uptime(status.host_uptime_ms),
            one_line(&status.kernel),
        );
        for link in &status.links {
            let Link { interface, mac, mtu, mode, .. } = link;
            let line = one_line(&format!("{interface}, {mac}, MTU {mtu}, {mode}"));
            let _ = writeln!(text, "link      {line}");
        }
        let _ = write!(
            text,
            "sessions  {} of v2, {} of v1\njobs      {}\nhere      {}, frames of {} bytes\n",
            status.sessions_v2, status.sessions_v1, status.jobs, self.link, self.stats.frame_size,
        );
        let ports = status.links.iter().flat_map(|link| &link.counters);
        let counted: Vec<_> = (status.counters.iter().chain(ports))
            .filter(|counter| counter.value > 0)
            .map(|counter| format!("{} {}", one_line(&counter.name), counter.value))
            .collect();
        let _ = write!(text, "counted   {}", counted.join(", "));
        text
    }

    fn json(&self, status: &Status) -> Value {
        let links = status.links.iter().map(|link| {
            json!({
                "interface": link.interface,
                "mac": link.mac,
                "mtu": link.mtu,
                "mode": link.mode,
                "counters": object(&link.counters),
            })
        });
        json!({
            "version": status.version,
            "uptime_ms": status.uptime_ms,
            "key": self.key,
            "hostname": status.host,
            "host_uptime_ms": status.host_uptime_ms,
            "kernel": status.kernel,
            "links": links.collect::<Vec<_>>(),
            "sessions": { "v1": status.sessions_v1, "v2": status.sessions_v2 },
            "jobs": status.jobs,
            "counters": object(&status.counters),
            "here": { "link": self.link, "frame_size": self.stats.frame_size },
        })
    }
}

fn object(counters: &[Counter]) -> Map<String, Value> {
    counters.iter().map(|counter| (counter.name.clone(), counter.value.into())).collect()
}

/// As in `3 d 04:05:06`.
fn uptime(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days} d {clock}") } else { clock }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str, value: u64) -> Counter {
        Counter { name: name.into(), value }
    }

    fn status() -> Status {
        let link = Link {
            interface: "eth0".into(),
            mac: "52:54:00:aa:bb:01".into(),
            mtu: 1500,
            mode: "native XDP".into(),
            counters: vec![counter("malformed", 2)],
        };
        Status {
            version: "2.0.0".into(),
            uptime_ms: 3_723_000,
            host: "server\u{1b}[2J".into(),
            host_uptime_ms: 90_061_000,
            links: vec![link],
            sessions_v2: 1,
            counters: vec![counter("received", 7), counter("refused", 0)],
            ..Status::default()
        }
    }

    fn own() -> Own {
        Own { key: "Ed25519".into(), stats: SessionStats::default(), link: "AF_PACKET".into() }
    }

    #[test]
    fn people_see_what_counts_and_nothing_that_a_terminal_would_obey() {
        let text = own().text(&status());
        for wanted in ["2.0.0, up 01:02:03", "up 1 d 01:01:01", "native XDP", "1 of v2, 0 of v1"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(text.ends_with("counted   received 7, malformed 2"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn programs_get_everything() {
        let json = own().json(&status());
        assert_eq!(json["links"][0]["counters"]["malformed"], 2);
        assert_eq!(json["counters"]["refused"], 0);
        assert_eq!(json["sessions"]["v2"], 1);
    }
}
