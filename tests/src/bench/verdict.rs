//! What a section says about version 2, in figures: its shares and ratios.

use super::results::{BESIDE, CEILING, FORK, Row, SEALED, Section};

/// The figures of a section in one sentence, where it has any.
pub(crate) fn sentence(section: &Section) -> Option<String> {
    let figures = match section.id.as_str() {
        id if id.starts_with("push-") => push(section),
        "latency" => latency(section),
        "loss" => loss(section),
        "shared" => shared(section),
        "size" => size(section),
        "sessions" => sessions(section),
        "agent-memory" => memory(section),
        _ => Vec::new(),
    };
    (!figures.is_empty()).then(|| format!("**In figures:** {}.", figures.join("; ")))
}

fn push(section: &Section) -> Vec<String> {
    let mut figures = Vec::new();
    let Some(rate) = median(section, "v2-xdp", "") else { return figures };
    if let Some(ceiling) = section.ceiling() {
        figures.push(format!("v2-xdp is {:.2} of the ceiling", rate / ceiling));
    }
    if let Some(sealed) = median(section, SEALED, "") {
        figures.push(format!("{:.2} of the sealed ceiling", rate / sealed));
    }
    let scp = section.rows.iter().filter(|row| row.name.starts_with("scp"));
    if let Some((row, fastest)) = best(scp.clone(), f64::max, value) {
        figures.push(format!("{:.2}× the fastest scp ({})", rate / fastest, row.name));
    }
    for name in ["rsync-daemon", "nc", "mbuffer", "iperf3"] {
        if let Some(other) = median(section, name, "") {
            figures.push(format!("{:.2}× {name} (plaintext)", rate / other));
        }
    }
    if let Some(pull) = median(section, "v2-pull-xdp", "") {
        figures.push(format!("a pull is {:.2} of a push", pull / rate));
    }
    let receiver = |row: &Row| row.cpu_per_gib().map(|[_, receiver]| receiver);
    if let Some(ours) = section.row("v2-xdp", "").and_then(receiver)
        && let Some((row, least)) = best(scp, f64::min, receiver)
    {
        figures.push(format!(
            "its receiver's CPU is {:.2} of the least of any sshd ({})",
            ours / least,
            row.name
        ));
    }
    figures
}

fn latency(section: &Section) -> Vec<String> {
    let Some(fork) = median(section, FORK, "") else { return Vec::new() };
    let rows = section.rows.iter().filter(|row| row.name != FORK);
    let over = rows.filter_map(|row| {
        Some(format!("{} {:.2} ms ({} runs)", row.name, value(row)? - fork, row.runs.len()))
    });
    let over: Vec<_> = over.collect();
    if over.is_empty() {
        return over;
    }
    vec![format!("over the fork itself ({fork:.2} ms): {}", over.join(", "))]
}

fn loss(section: &Section) -> Vec<String> {
    let names = ["v2-xdp", "v2-packet", "v1-xdp", "v1-packet", "scp"];
    let shares = names.into_iter().filter_map(|name| {
        let share = median(section, name, "2 % loss")? / median(section, name, "0 % loss")?;
        Some(format!("{name} keeps {share:.2} of its rate at 2 % loss"))
    });
    shares.collect()
}

fn shared(section: &Section) -> Vec<String> {
    let ours = section.rows.iter().filter(|row| row.name == "v2-beside-tcp");
    let shares = ours.filter_map(|row| {
        let ours = value(row)?;
        let all = ours + median(section, "tcp-beside-v2", &row.point)?;
        let (ours, theirs) = (ours / all, 1.0 - ours / all);
        Some(format!("of what both get, v2 gets {ours:.2} and TCP ({}) {theirs:.2}", row.point))
    });
    shares.collect()
}

fn size(section: &Section) -> Vec<String> {
    let largest = section.rows.iter().filter(|row| row.name == "v2-xdp" && row.summary().is_some());
    let Some(row) = largest.max_by(|a, b| a.x.unwrap_or(0.0).total_cmp(&b.x.unwrap_or(0.0))) else {
        return Vec::new();
    };
    let mut figures = Vec::new();
    if let (Some(large), Some(one)) = (value(row), median(section, BESIDE, "1 GiB")) {
        figures.push(format!(
            "v2-xdp at {} has {:.2} of its rate at 1 GiB",
            row.point,
            large / one
        ));
    }
    if let Some(memory) = row.count(super::table::MEMORY) {
        let mib = memory / f64::from(1 << 20);
        figures.push(format!("its agent at {} has {mib:.1} MiB resident at most", row.point));
    }
    figures
}

fn sessions(section: &Section) -> Vec<String> {
    let one = median(section, "v2-many", "1 session");
    let sixteen = median(section, "v2-many", "16 sessions");
    let (Some(one), Some(sixteen)) = (one, sixteen) else { return Vec::new() };
    vec![format!("16 pushes at once have {:.2} of the rate of one", sixteen / one)]
}

fn memory(section: &Section) -> Vec<String> {
    let row = section.row("v2-resident-sessions", "");
    let Some((sessions, with)) = row.and_then(|row| Some((row.count("sessions")?, value(row)?)))
    else {
        return Vec::new();
    };
    let without = median(section, "v2-resident-idle", "");
    let more = without
        .map(|without| format!("{sessions:.0} idle sessions take {:.1} MiB", with - without));
    more.into_iter().collect()
}

fn value(row: &Row) -> Option<f64> {
    row.summary().map(|summary| summary.median).filter(|value| *value > 0.0)
}

fn median(section: &Section, name: &str, point: &str) -> Option<f64> {
    section.row(name, point).filter(|row| row.name != CEILING).and_then(value)
}

/// The row with the best figure.
fn best<'a>(
    rows: impl Iterator<Item = &'a Row>,
    better: fn(f64, f64) -> f64,
    figure: impl Fn(&Row) -> Option<f64>,
) -> Option<(&'a Row, f64)> {
    let figures = rows.filter_map(|row| Some((row, figure(row)?)));
    figures.reduce(|a, b| if better(a.1, b.1).total_cmp(&a.1).is_eq() { a } else { b })
}

#[cfg(test)]
mod tests {
    use super::super::results::{Run, Unit};
    use super::*;

    fn row(name: &str, point: &str, value: f64, receiver: f64) -> Row {
        let run = Run { value, bytes: 1 << 30, cpu: Some([1.0, receiver]), ..Run::default() };
        Row {
            name: name.into(),
            point: point.into(),
            x: None,
            note: String::new(),
            runs: vec![run],
            problem: None,
        }
    }

    fn section(id: &str, rows: Vec<Row>) -> Section {
        let [title, explanation] = [const { String::new() }; 2];
        let (id, unit, reference) = (id.to_owned(), Unit::GbitPerSecond, "v2-xdp".to_owned());
        Section { id, title, explanation, unit, reference, rows }
    }

    #[test]
    fn a_push_is_told_beside_the_ceiling_the_fastest_scp_and_the_cheapest_sshd() {
        let rows = vec![
            row(CEILING, "", 10.0, 1.0),
            row(SEALED, "", 8.5, 1.0),
            row("v2-xdp", "", 8.0, 1.0),
            row("v2-pull-xdp", "", 7.2, 1.0),
            row("scp", "", 2.0, 2.0),
            row("scp-aes128-gcm", "", 4.0, 2.5),
            row("nc", "", 5.0, 1.0),
        ];
        let said = sentence(&section("push-threaded", rows)).unwrap();
        for wanted in [
            "0.80 of the ceiling",
            "0.94 of the sealed ceiling",
            "2.00× the fastest scp (scp-aes128-gcm)",
            "1.60× nc",
            "pull is 0.90 of a push",
            "0.50 of the least of any sshd (scp)",
        ] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
    }

    #[test]
    fn the_largest_is_compared_with_what_was_measured_beside_it() {
        let at = |name: &str, point: &str, mib: f64, value| Row {
            x: Some(mib),
            ..row(name, point, value, 1.0)
        };
        let rows = vec![
            at("v2-xdp", "1 GiB", 1024.0, 8.0),
            at("v2-xdp", "10 GiB", 10240.0, 4.5),
            at(BESIDE, "1 GiB", 1024.0, 5.0),
        ];
        let said = sentence(&section("size", rows)).unwrap();
        assert!(said.contains("v2-xdp at 10 GiB has 0.90 of its rate at 1 GiB"), "{said}");
    }

    #[test]
    fn shares_need_both_of_their_rows() {
        let ours = row("v2-beside-tcp", "BBR", 1.0, 1.0);
        assert_eq!(sentence(&section("shared", vec![ours.clone()])), None);
        let both = vec![ours, row("tcp-beside-v2", "BBR", 3.0, 1.0)];
        let said = sentence(&section("shared", both)).unwrap();
        assert!(said.contains("v2 gets 0.25 and TCP (BBR) 0.75"), "{said}");
    }
}
