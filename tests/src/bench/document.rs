//! The page that holds the latest run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::chart::{self, Chart};
use super::results::Report;
use super::select::SECTIONS;
use super::table::{Table, sentences};

/// Writes the page, its charts and its runs: `DIR/benchmarks.md` and
/// `DIR/benchmarks/`.
///
/// # Errors
///
/// Where a file cannot be written.
pub(crate) fn write(report: &Report, agreement: &str, directory: &Path) -> Result<()> {
    let beside = directory.join("benchmarks");
    fs::create_dir_all(&beside).with_context(|| format!("cannot make {}", beside.display()))?;
    remove_charts(&beside)?;
    let charts = chart::draw_all(report, &beside)?;
    fs::write(beside.join("runs.json"), serde_json::to_vec_pretty(report)?)?;
    let page = directory.join("benchmarks.md");
    fs::write(&page, text(report, agreement, &charts))
        .with_context(|| format!("cannot write {}", page.display()))
}

/// Charts of sections that were measured before and not this time.
fn remove_charts(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn text(report: &Report, agreement: &str, charts: &[Chart]) -> String {
    let environment = &report.environment;
    let setting = |name: &str| environment.settings.get(name).map_or("", String::as_str);
    let quick = if setting("kind of run") == "quick" { " --quick" } else { "" };
    let minutes = report.took_seconds / 60.0;
    [
        ("command", format!("cargo xtask bench{quick}")),
        ("date", environment.date.clone()),
        ("commit", environment.commit.clone()),
        ("took", format!("{minutes:.1} minutes")),
        ("short", short(report)),
        ("sections", sections(report, charts)),
        ("agreement", agreement.to_owned()),
        ("environment", facts(report)),
        ("names", SECTIONS.map(|name| format!("`{name}`")).join(", ")),
    ]
    .into_iter()
    .fold(TEMPLATE.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), &value)
    })
}

/// Victories and defeats of all sections.
fn short(report: &Report) -> String {
    let mut text = String::new();
    for section in &report.sections {
        let said = sentences(section);
        if let Some(rest) = section.id.strip_prefix("ceiling-") {
            let best = section
                .rows
                .iter()
                .filter_map(|row| Some(format!("{} {:.1} Gb/s", row.note, row.summary()?.median)));
            let best = best.collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "- The link itself, {rest} NAPI: {best}.");
        } else {
            let doubt = |sentence: &&String| !sentence.starts_with("Runs differ");
            let said: Vec<_> = said.iter().filter(doubt).map(String::as_str).collect();
            if !said.is_empty() {
                let _ = writeln!(text, "- {}: {}", section.title, said.join(" "));
            }
        }
    }
    text.trim_end().to_owned()
}

fn sections(report: &Report, charts: &[Chart]) -> String {
    let mut text = String::new();
    for section in &report.sections {
        let _ = write!(text, "\n### {}\n\n{}\n\n", section.title, section.explanation);
        for chart in charts.iter().filter(|chart| chart.section == section.id) {
            let _ = write!(text, "![{}](benchmarks/{})\n\n", chart.title, chart.file);
        }
        text += &Table::of(section).markdown();
        for sentence in sentences(section) {
            let _ = write!(text, "\n{sentence}\n");
        }
    }
    text
}

fn facts(report: &Report) -> String {
    let environment = &report.environment;
    let mut text = String::from("| what | value |\n|---|---|\n");
    let main = [
        ("kernel", &environment.kernel),
        ("processor", &environment.cpu),
        ("machine", &environment.machine),
    ];
    let main = main.into_iter().map(|(name, value)| (name.to_owned(), value));
    let rest = environment.settings.iter().chain(&environment.versions);
    for (name, value) in main.chain(rest.map(|(name, value)| (name.clone(), value))) {
        let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|"));
    }
    text.trim_end().to_owned()
}

const TEMPLATE: &str = include_str!("benchmarks.md");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::environment::Environment;
    use super::super::results::{Row, Run, Section, Unit};
    use super::*;

    #[test]
    fn the_page_holds_table_chart_and_environment_and_no_open_place() {
        let row = |name: &str, value| Row {
            name: name.into(),
            point: String::new(),
            x: None,
            note: String::new(),
            runs: vec![Run { value, ..Run::default() }],
            problem: None,
        };
        let section = Section {
            id: "push-default".into(),
            title: "A file".into(),
            explanation: "Why.".into(),
            unit: Unit::GbitPerSecond,
            reference: "v1-xdp".into(),
            rows: vec![row("v1-xdp", 2.0), row("nc", 4.0)],
        };
        let environment = Environment {
            date: "2026-01-02 03:04".into(),
            commit: "abc".into(),
            kernel: "6.1".into(),
            cpu: "two".into(),
            machine: "some".into(),
            settings: BTreeMap::new(),
            versions: BTreeMap::from([("rsync".into(), "3.2".into())]),
        };
        let report = Report { environment, sections: vec![section], took_seconds: 60.0 };
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("benchmarks")).unwrap();
        fs::write(directory.path().join("benchmarks/old.svg"), "").unwrap();
        write(&report, "It agrees.", directory.path()).unwrap();
        let page = fs::read_to_string(directory.path().join("benchmarks.md")).unwrap();
        assert!(!page.contains("{{") && !page.contains("}}"), "{page}");
        for wanted in ["loses to** nc (2.0×)", "benchmarks/push-default.svg", "3.2", "It agrees."]
        {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
        assert!(directory.path().join("benchmarks/push-default.svg").exists());
        assert!(!directory.path().join("benchmarks/old.svg").exists());
        let runs = fs::read(directory.path().join("benchmarks/runs.json")).unwrap();
        let read: Report = serde_json::from_slice(&runs).unwrap();
        assert_eq!(read.sections[0].rows.len(), 2);
    }
}
