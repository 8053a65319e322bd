//! Charts, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::Color;

use super::results::{CEILING, Report, Row, Section};

/// A chart that was drawn.
pub(crate) struct Chart {
    /// Its file's name.
    pub(crate) file: String,
    /// What it shows.
    pub(crate) title: String,
    /// The section that it belongs to.
    pub(crate) section: String,
}

/// Draws a chart of every section that has one into `directory`.
///
/// # Errors
///
/// Where a file cannot be written.
pub(crate) fn draw_all(report: &Report, directory: &Path) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    for section in &report.sections {
        let file = format!("{}.svg", section.id);
        let path = directory.join(&file);
        let drawn = match section.id.as_str() {
            "size" => lines(section, &path, "MiB", true),
            "loss" => lines(section, &path, "% of frames lost, each way", false),
            "sessions" => lines(section, &path, "sessions at once", true),
            "latency" | "busy" => distribution(section, &path),
            _ => bars(section, &path),
        };
        if drawn.map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))? {
            let (title, section) = (section.title.clone(), section.id.clone());
            charts.push(Chart { file, title, section });
        }
    }
    Ok(charts)
}

type Drawn = std::result::Result<bool, Box<dyn std::error::Error>>;

/// A bar for each row, with least and greatest.
fn bars(section: &Section, path: &Path) -> Drawn {
    let rows: Vec<_> = section.rows.iter().filter_map(|row| Some((row, row.summary()?))).collect();
    let Some(most) = rows.iter().map(|(_, summary)| summary.max).reduce(f64::max) else {
        return Ok(false);
    };
    let height = TOP + BAR * rows.len() as u32 + BOTTOM;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    title(&root, section)?;
    let most = if most > 0.0 { most } else { 1.0 };
    let scale = f64::from(WIDTH - LABELS - VALUES) / most;
    let x = |value: f64| LABELS as i32 + (value * scale) as i32;
    for (number, (row, summary)) in rows.iter().enumerate() {
        let top = (TOP + BAR * number as u32) as i32;
        let middle = top + BAR as i32 / 2;
        let area = [(x(0.0), top + 4), (x(summary.median), top + BAR as i32 - 4)];
        root.draw(&Rectangle::new(area, colour(&row.name).filled()))?;
        let whisker = [(x(summary.min), middle), (x(summary.max), middle)];
        root.draw(&PathElement::new(whisker, BLACK.stroke_width(2)))?;
        root.draw(&Text::new(row.label(), (8, middle - 7), FONT.into_font()))?;
        let value = format!("{:.2} {}", summary.median, section.unit.symbol());
        root.draw(&Text::new(value, (x(summary.max) + 8, middle - 7), FONT.into_font()))?;
    }
    root.present()?;
    Ok(true)
}

/// A line for each contestant over the points.
fn lines(section: &Section, path: &Path, axis: &str, logarithmic: bool) -> Drawn {
    let mut names: Vec<&str> = Vec::new();
    for row in &section.rows {
        if row.x.is_some() && row.summary().is_some() && !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let series: Vec<(&str, Vec<(f64, f64)>)> =
        names.into_iter().map(|name| (name, points(section, name))).collect();
    let all = || series.iter().flat_map(|(_, points)| points);
    let least = all().map(|(x, _)| *x).reduce(f64::min);
    let (Some(least), Some(last)) = (least, all().map(|(x, _)| *x).reduce(f64::max)) else {
        return Ok(false);
    };
    if least >= last {
        return Ok(false);
    }
    let most = all().map(|(_, y)| *y).fold(0.0, f64::max).max(1e-9) * 1.1;
    let root = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    title(&root, section)?;
    let mut builder = ChartBuilder::on(&root);
    builder.margin(12).margin_top(TOP).x_label_area_size(44).y_label_area_size(56);
    let unit = section.unit.symbol();
    macro_rules! plot {
        ($x:expr) => {{
            let mut chart = builder.build_cartesian_2d($x, 0.0..most)?;
            chart
                .configure_mesh()
                .x_desc(axis)
                .y_desc(unit)
                .label_style(FONT)
                .light_line_style(WHITE)
                .x_label_formatter(&|x| short(*x))
                .draw()?;
            for (name, points) in &series {
                let colour = colour(name);
                chart
                    .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                    .label(*name)
                    .legend(move |(x, y)| {
                        PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2))
                    });
                let dots = points.iter().map(|&point| Circle::new(point, 4, colour.filled()));
                chart.draw_series(dots)?;
            }
            chart
                .configure_series_labels()
                .label_font(FONT)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.4))
                .draw()?;
        }};
    }
    if logarithmic {
        plot!((least..last).log_scale());
    } else {
        plot!(least..last);
    }
    root.present()?;
    Ok(true)
}

fn points(section: &Section, name: &str) -> Vec<(f64, f64)> {
    let rows = section.rows.iter().filter(|row| row.name == name);
    let mut points: Vec<_> = rows.filter_map(|row| Some((row.x?, row.summary()?.median))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// For each contestant, which share of runs took so long or less.
fn distribution(section: &Section, path: &Path) -> Drawn {
    let rows: Vec<&Row> = section.rows.iter().filter(|row| row.runs.len() > 1).collect();
    let values = || rows.iter().flat_map(|row| &row.runs).map(|run| run.value.max(1e-3));
    let (Some(least), Some(most)) = (values().reduce(f64::min), values().reduce(f64::max)) else {
        return Ok(false);
    };
    let root = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    title(&root, section)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .margin_top(TOP)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((least * 0.8..most * 1.25).log_scale(), 0.0..100.0)?;
    chart
        .configure_mesh()
        .x_desc(section.unit.symbol())
        .y_desc("% of runs")
        .label_style(FONT)
        .light_line_style(WHITE)
        .x_label_formatter(&|x| short(*x))
        .draw()?;
    for row in rows {
        let mut sorted: Vec<f64> = row.runs.iter().map(|run| run.value.max(1e-3)).collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let steps = sorted.iter().enumerate().flat_map(|(number, &value)| {
            let share = |done: usize| done as f64 / count * 100.0;
            [(value, share(number)), (value, share(number + 1))]
        });
        let colour = colour(&row.name);
        chart
            .draw_series(LineSeries::new(steps, colour.stroke_width(2)))?
            .label(row.label())
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2))
            });
    }
    chart
        .configure_series_labels()
        .label_font(FONT)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.4))
        .position(SeriesLabelPosition::LowerRight)
        .draw()?;
    root.present()?;
    Ok(true)
}

fn title<D: DrawingBackend>(
    root: &DrawingArea<D, plotters::coord::Shift>,
    section: &Section,
) -> std::result::Result<(), Box<dyn std::error::Error>>
where
    D::ErrorType: 'static,
{
    let text = format!("{} ({})", section.title, section.unit.symbol());
    root.draw(&Text::new(text, (8, 8), ("sans-serif", 17).into_font()))?;
    Ok(())
}

/// A number without needless zeros.
fn short(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value}") }
}

/// Version 2 in greens, version 1 in blues, the ceiling in grey, others in colours of their own.
fn colour(name: &str) -> RGBColor {
    match name {
        name if name.starts_with(CEILING) => RGBColor(150, 150, 150),
        "no-agent" => RGBColor(150, 150, 150),
        "fork" => RGBColor(150, 150, 150),
        "v2-packet" | "v2-pull-xdp" | "v2-exec-new" | "v2-alone" | "v2-exec-quiet" => {
            RGBColor(60, 170, 120)
        }
        "v2-exec-open" | "v2-xdp-generic" => RGBColor(10, 80, 50),
        name if name.starts_with("v2") => RGBColor(25, 130, 85),
        "v1-packet" | "v1-deployed-packet" | "v1-exec-new-xdp" => RGBColor(110, 165, 225),
        "v1-exec-open" => RGBColor(20, 60, 120),
        name if name.starts_with("v1") => RGBColor(35, 100, 190),
        name if name.starts_with("scp") || name == "ssh-new" => RGBColor(215, 95, 30),
        "ssh-master" => RGBColor(240, 165, 90),
        _ => RGBColor(190, 150, 90),
    }
}

const FONT: (&str, i32) = ("sans-serif", 14);
const WIDTH: u32 = 860;
const HEIGHT: u32 = 420;
const TOP: u32 = 40;
const BOTTOM: u32 = 12;
const BAR: u32 = 26;
/// Room for names before bars, and for values behind them.
const LABELS: u32 = 190;
const VALUES: u32 = 120;

#[cfg(test)]
mod tests {
    use super::super::results::{Run, Unit};
    use super::*;

    fn section(id: &str, rows: &[(&str, f64, &[f64])]) -> Section {
        let rows = rows.iter().map(|&(name, x, values)| Row {
            name: name.into(),
            point: format!("{x}"),
            x: Some(x),
            note: String::new(),
            runs: values.iter().map(|&value| Run { value, ..Run::default() }).collect(),
            problem: None,
        });
        Section {
            id: id.into(),
            title: "Some <title>".into(),
            explanation: String::new(),
            unit: Unit::GbitPerSecond,
            reference: "v1-xdp".into(),
            rows: rows.collect(),
        }
    }

    #[test]
    fn every_kind_of_chart_is_an_svg_that_names_its_contestants() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        let rows: &[(&str, f64, &[f64])] = &[
            ("scp", 1.0, &[1.0, 2.0]),
            ("scp", 1024.0, &[3.0, 2.5]),
            ("v1-xdp", 1.0, &[4.0, 5.0]),
        ];
        let full = section("x", rows);
        let draw: [fn(&Section, &Path) -> Drawn; 4] = [
            bars,
            |section, path| lines(section, path, "MiB", true),
            |section, path| lines(section, path, "%", false),
            distribution,
        ];
        for draw in draw {
            assert!(draw(&full, &path).unwrap());
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("<svg") && text.contains("scp") && text.contains("v1-xdp"));
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_section_without_runs_has_no_chart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        for empty in [section("x", &[]), section("x", &[("scp", 1.0, &[])])] {
            assert!(!bars(&empty, &path).unwrap());
            assert!(!lines(&empty, &path, "MiB", true).unwrap());
            assert!(!distribution(&empty, &path).unwrap());
        }
    }
}
