//! Sections as tables, and what they say in sentences.

use super::results::{CEILING, FORK, NOISE, Row, Section};
use super::verdict;

/// A table of texts; the first line is its head.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// The rows of a section.
    pub(crate) fn of(section: &Section) -> Self {
        let memory = section.rows.iter().any(|row| row.count(MEMORY).is_some());
        let unit = section.unit.symbol();
        let mut head = vec![
            String::new(),
            format!("median {unit}"),
            "min–max".to_owned(),
            "runs".to_owned(),
            "of ceiling".to_owned(),
            format!("vs {}", title_of(&section.reference)),
            if section.unit.is_rate() { "CPU s/GiB (snd + rcv)" } else { "CPU s (snd + rcv)" }
                .to_owned(),
        ];
        if memory {
            head.push("agent's memory".to_owned());
        }
        head.push("note".to_owned());
        let mut lines = vec![head];
        for row in &section.rows {
            let mut line = vec![row.label()];
            line.extend(figures(section, row));
            if memory {
                let mib = row.count(MEMORY).map(|bytes| bytes / f64::from(1 << 20));
                line.push(mib.map_or_else(nothing, |mib| format!("{mib:.1} MiB")));
            }
            line.push(note(row));
            lines.push(line);
        }
        drop_empty(&mut lines);
        Self(lines)
    }

    /// For a terminal.
    pub(crate) fn plain(&self) -> String {
        let widths: Vec<usize> = (0..self.0.first().map_or(0, Vec::len))
            .map(|column| self.0.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        let last = widths.len().saturating_sub(1);
        let mut text = String::new();
        for line in &self.0 {
            let cells =
                line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ if column == last => cell.clone(),
                    _ => format!("{cell:>width$}"),
                });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// For a document.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (number, line) in self.0.iter().enumerate() {
            text += &format!("| {} |\n", line.join(" | "));
            if number == 0 {
                let last = line.len() - 1;
                let rules = (0..line.len())
                    .map(|column| if column == 0 || column == last { "---" } else { "--:" });
                text += &format!("|{}|\n", rules.collect::<Vec<_>>().join("|"));
            }
        }
        text
    }
}

fn figures(section: &Section, row: &Row) -> [String; 6] {
    let Some(summary) = row.summary() else {
        return [const { String::new() }; 6].map(|_| nothing());
    };
    let spread = summary.count > 1 && summary.spread() > NOISE;
    let median = number(summary.median);
    [
        if spread { format!("{median} ±") } else { median },
        format!("{}–{}", number(summary.min), number(summary.max)),
        summary.count.to_string(),
        match section.against_ceiling(row) {
            Some(share) if row.name != CEILING => format!("{:.0} %", share * 100.0),
            _ => nothing(),
        },
        match section.against_reference(row) {
            Some(ratio)
                if ![section.reference.as_str(), CEILING, FORK].contains(&row.name.as_str()) =>
            {
                format!("{ratio:.2}×")
            }
            _ => nothing(),
        },
        cpu(section, row)
            .map_or_else(nothing, |[sender, receiver]| format!("{sender:.2} + {receiver:.2}")),
    ]
}

/// For each GiB where rates are compared, else for the whole run.
fn cpu(section: &Section, row: &Row) -> Option<[f64; 2]> {
    if section.unit.is_rate() { row.cpu_per_gib() } else { row.cpu() }
}

fn note(row: &Row) -> String {
    let mut parts = Vec::new();
    if let Some(problem) = &row.problem {
        parts.push(problem.clone());
    }
    if !row.note.is_empty() {
        parts.push(row.note.clone());
    }
    if let Some(frames) = row.count("frames_per_second") {
        parts.push(format!("{:.2} million frames/s", frames / 1e6));
    }
    if let Some(again) = row.count("retransmitted").filter(|&again| again > 0.0) {
        parts.push(format!("{again:.0} frames sent again"));
    }
    parts.join("; ").replace('|', "\\|")
}

/// Takes away columns without any figure.
fn drop_empty(lines: &mut [Vec<String>]) {
    let columns = lines.first().map_or(0, Vec::len);
    for column in (1..columns).rev() {
        let says_nothing = |line: &Vec<String>| line[column].is_empty() || line[column] == NOTHING;
        if lines.iter().skip(1).all(says_nothing) {
            for line in lines.iter_mut() {
                line.remove(column);
            }
        }
    }
}

/// What a section says in words: figures of its own, who wins, who loses, what to doubt.
pub(crate) fn sentences(section: &Section) -> Vec<String> {
    let mut sentences: Vec<_> = verdict::sentence(section).into_iter().collect();
    let (mut better, mut worse, mut even, mut own) = (vec![], vec![], vec![], vec![]);
    for row in &section.rows {
        let is_bound = row.name.starts_with(CEILING) || row.name == FORK;
        let other = row.name != section.reference && !is_bound;
        let Some(ratio) = section.against_reference(row).filter(|_| other) else { continue };
        let label = row.label();
        if is_ours(&row.name) {
            own.push(format!("{label} {ratio:.2}×"));
        } else if ratio > 1.0 + NOISE {
            better.push(format!("{label} ({ratio:.1}×)"));
        } else if ratio < 1.0 / (1.0 + NOISE) {
            worse.push(format!("{label} ({:.1}×)", 1.0 / ratio));
        } else {
            even.push(label);
        }
    }
    let reference = title_of(&section.reference);
    if !better.is_empty() {
        sentences.push(format!("**{reference} loses to** {}.", better.join(", ")));
    }
    if !worse.is_empty() {
        sentences.push(format!("**{reference} wins against** {}.", worse.join(", ")));
    }
    if !even.is_empty() {
        sentences.push(format!(
            "No difference that means anything (under {:.0} %): {}.",
            NOISE * 100.0,
            even.join(", ")
        ));
    }
    if !own.is_empty() {
        sentences.push(format!("bmstools' own beside {reference}: {}.", own.join(", ")));
    }
    let doubtful: Vec<_> = section
        .rows
        .iter()
        .filter_map(|row| {
            let spread = row.summary().filter(|summary| summary.count > 1)?.spread();
            (spread > NOISE).then(|| format!("{} ({:.0} %)", row.label(), spread * 100.0))
        })
        .collect();
    if !doubtful.is_empty() {
        sentences.push(format!(
            "Runs differ by more than {:.0} % (marked ±): {}.",
            NOISE * 100.0,
            doubtful.join(", ")
        ));
    }
    sentences
}

/// Whether a contestant is bmstools.
fn is_ours(name: &str) -> bool {
    name.starts_with("v1") || name.starts_with("v2")
}

/// A contestant's name in sentences.
fn title_of(name: &str) -> String {
    if is_ours(name) { format!("bmstools {name}") } else { name.to_owned() }
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn nothing() -> String {
    NOTHING.to_owned()
}

const NOTHING: &str = "–";
/// What runs count the agent's memory as.
pub(crate) const MEMORY: &str = "agent_memory";

#[cfg(test)]
mod tests {
    use super::super::results::{Run, Unit};
    use super::*;

    fn section() -> Section {
        let row = |name: &str, values: &[f64]| Row {
            name: name.into(),
            point: String::new(),
            x: None,
            note: String::new(),
            runs: values.iter().map(|&value| Run { value, ..Run::default() }).collect(),
            problem: values.is_empty().then(|| "absent: uftp is not installed".into()),
        };
        Section {
            id: "push".into(),
            title: "Push".into(),
            explanation: String::new(),
            unit: Unit::GbitPerSecond,
            reference: "v1-xdp".into(),
            rows: vec![
                row(CEILING, &[10.0]),
                row("v1-xdp", &[2.0, 2.1, 1.9]),
                row("nc", &[4.0, 6.0]),
                row("scp", &[1.0]),
                row("v1-packet", &[1.0]),
                row("uftp", &[]),
            ],
        }
    }

    #[test]
    fn a_table_shows_ratios_and_names_who_is_absent() {
        let text = Table::of(&section()).plain();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("nc").contains("5.00 ±") && line("nc").contains("2.50×"), "{text}");
        assert!(line("scp").contains("10 %") && line("scp").contains("0.50×"), "{text}");
        assert!(line("uftp").contains("absent"), "{text}");
        assert!(!text.contains("CPU") && !text.contains("memory"), "{text}");
    }

    #[test]
    fn defeats_are_told_as_plainly_as_victories() {
        let said = sentences(&section()).join("\n");
        assert!(said.contains("bmstools v1-xdp loses to** nc (2.5×)"), "{said}");
        assert!(said.contains("wins against** scp (2.0×)"), "{said}");
        assert!(said.contains("own beside bmstools v1-xdp: v1-packet 0.50×"), "{said}");
        assert!(said.contains("nc (40 %)"), "{said}");
    }

    #[test]
    fn a_markdown_table_has_as_many_rules_as_columns() {
        let text = Table::of(&section()).markdown();
        let bars = |line: &str| line.matches('|').count();
        let counts: Vec<_> = text.lines().map(bars).collect();
        assert!(counts.iter().all(|&count| count == counts[0]), "{text}");
    }
}
