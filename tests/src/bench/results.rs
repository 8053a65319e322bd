//! What was measured: runs of rows of sections, as they are written to JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::environment::Environment;

/// Everything that one call of the benchmark measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Where and how.
    pub(crate) environment: Environment,
    /// In the order in which they were measured.
    pub(crate) sections: Vec<Section>,
    /// From start to end.
    pub(crate) took_seconds: f64,
}

/// Contestants that were measured in turns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Section {
    /// For programs.
    pub(crate) id: String,
    /// For people.
    pub(crate) title: String,
    /// What was done, and what to know when reading it.
    pub(crate) explanation: String,
    /// What the values are.
    pub(crate) unit: Unit,
    /// The contestant that the others are compared with.
    pub(crate) reference: String,
    /// One for each contestant and point.
    pub(crate) rows: Vec<Row>,
}

/// What values count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// 10^9 bits of payload a second; more is better.
    GbitPerSecond,
    /// 2^30 bytes of payload for each second of processor time; more is better.
    GibPerCpuSecond,
    /// Of one core; less is better.
    Percent,
    /// 2^20 bytes; less is better.
    Mebibytes,
    /// Less is better.
    Milliseconds,
    /// Less is better.
    Seconds,
}

impl Unit {
    /// Its symbol.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::GbitPerSecond => "Gb/s",
            Self::GibPerCpuSecond => "GiB/CPU s",
            Self::Percent => "%",
            Self::Mebibytes => "MiB",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    /// Whether more is better.
    pub(crate) const fn is_rate(self) -> bool {
        matches!(self, Self::GbitPerSecond | Self::GibPerCpuSecond)
    }
}

/// One contestant at one point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The contestant's name, as `--only` takes it.
    pub(crate) name: String,
    /// What distinguishes rows of one contestant: "64 MiB", "1 % loss".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) point: String,
    /// The same as a number, for charts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) x: Option<f64>,
    /// What to know about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    /// Every measured run, in order; the warm-up is none.
    pub(crate) runs: Vec<Run>,
    /// Why there is no run, or fewer than wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// In the section's unit.
    pub(crate) value: f64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Bytes of payload that arrived.
    #[serde(default)]
    pub(crate) bytes: u64,
    /// Seconds that the sender's and the receiver's core were busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<[f64; 2]>,
    /// Anything else that was counted, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) counts: BTreeMap<String, f64>,
}

impl Run {
    /// A run that moved `bytes` in so many seconds: its value is the rate.
    pub(crate) fn rate(bytes: u64, seconds: f64) -> Self {
        let value = bytes as f64 * 8.0 / seconds.max(1e-9) / 1e9;
        Self { value, seconds, bytes, ..Self::default() }
    }

    /// A run whose processor time for `bytes` is what counts.
    pub(crate) fn per_cpu_second(bytes: u64, seconds: f64) -> Self {
        let value = bytes as f64 / (1u64 << 30) as f64 / seconds.max(1e-9);
        Self { value, seconds, bytes, ..Self::default() }
    }

    /// A run with this value, whatever it counts.
    pub(crate) fn value(value: f64) -> Self {
        Self { value, ..Self::default() }
    }

    /// A run whose time is what counts, in seconds.
    pub(crate) fn seconds(seconds: f64) -> Self {
        Self { value: seconds, seconds, ..Self::default() }
    }

    /// A run whose time is what counts, in milliseconds.
    pub(crate) fn milliseconds(seconds: f64) -> Self {
        Self { value: seconds * 1e3, seconds, ..Self::default() }
    }

    /// With the cores' busy seconds.
    pub(crate) fn with_cpu(self, cpu: [f64; 2]) -> Self {
        Self { cpu: Some(cpu), ..self }
    }

    /// With something that was counted.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.counts.insert(name.to_owned(), value);
        self
    }
}

impl Row {
    /// Median, least and greatest value; `None` where nothing was measured.
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(self.runs.iter().map(|run| run.value))
    }

    /// Median busy seconds of both cores.
    pub(crate) fn cpu(&self) -> Option<[f64; 2]> {
        self.cpu_by(|_| Some(1.0))
    }

    /// Median busy seconds a GiB of both cores.
    pub(crate) fn cpu_per_gib(&self) -> Option<[f64; 2]> {
        let gib = |run: &Run| run.bytes as f64 / (1u64 << 30) as f64;
        self.cpu_by(|run| Some(gib(run)).filter(|gib| *gib > 0.0))
    }

    fn cpu_by(&self, share: impl Fn(&Run) -> Option<f64>) -> Option<[f64; 2]> {
        let side = |side: usize| {
            let values = self.runs.iter().filter_map(|run| Some(run.cpu?[side] / share(run)?));
            Summary::of(values).map(|summary| summary.median)
        };
        Some([side(0)?, side(1)?])
    }

    /// Median of something that was counted.
    pub(crate) fn count(&self, name: &str) -> Option<f64> {
        Summary::of(self.runs.iter().filter_map(|run| run.counts.get(name).copied()))
            .map(|summary| summary.median)
    }

    /// Its name and point, for people.
    pub(crate) fn label(&self) -> String {
        if self.point.is_empty() {
            self.name.clone()
        } else {
            format!("{}, {}", self.name, self.point)
        }
    }
}

impl Section {
    /// The row of a contestant at a point.
    pub(crate) fn row(&self, name: &str, point: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name && row.point == point)
    }

    /// What the link could do at most, measured in turns with the others.
    pub(crate) fn ceiling(&self) -> Option<f64> {
        if !self.unit.is_rate() {
            return None;
        }
        let row = self.rows.iter().find(|row| row.name == CEILING)?;
        row.summary().map(|summary| summary.median)
    }

    /// How many times as good a row is as the reference at the same point: faster,
    /// or sooner done.
    pub(crate) fn against_reference(&self, row: &Row) -> Option<f64> {
        let reference = self.row(&self.reference, &row.point)?.summary()?.median;
        let value = row.summary()?.median;
        let ratio = if self.unit.is_rate() { value / reference } else { reference / value };
        ratio.is_finite().then_some(ratio)
    }

    /// A row's rate as a share of the ceiling.
    pub(crate) fn against_ceiling(&self, row: &Row) -> Option<f64> {
        let ratio = row.summary()?.median / self.ceiling()?;
        ratio.is_finite().then_some(ratio)
    }
}

/// Of several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

impl Summary {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Self { median, min, max, count: sorted.len() })
    }

    /// From least to greatest, as a share of the median.
    pub(crate) fn spread(self) -> f64 {
        (self.max - self.min) / self.median.abs().max(1e-12)
    }
}

/// Differences under it mean nothing here.
pub(crate) const NOISE: f64 = 0.15;
/// A command without any network.
pub(crate) const FORK: &str = "fork";
/// The raw link, without a protocol.
pub(crate) const CEILING: &str = "ceiling";
/// A push of 1 GiB, by turns with the largest.
pub(crate) const BESIDE: &str = "v2-beside-largest";
/// The link with a cipher and files, without a protocol.
pub(crate) const SEALED: &str = "ceiling-sealed";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, values: &[f64]) -> Row {
        let runs = values.iter().map(|&value| Run { value, ..Run::default() }).collect();
        Row {
            name: name.into(),
            point: String::new(),
            x: None,
            note: String::new(),
            runs,
            problem: None,
        }
    }

    fn section(unit: Unit) -> Section {
        let rows = vec![row(CEILING, &[10.0]), row("v1-xdp", &[3.0, 2.0, 5.0]), row("scp", &[6.0])];
        let [id, title, explanation] = [const { String::new() }; 3];
        Section { id, title, explanation, unit, reference: "v1-xdp".into(), rows }
    }

    #[test]
    fn the_median_of_an_even_number_of_runs_lies_between_the_middle_two() {
        let summary = Summary::of([4.0, 1.0, 3.0, 2.0].into_iter()).unwrap();
        assert_eq!(summary, Summary { median: 2.5, min: 1.0, max: 4.0, count: 4 });
        assert!((summary.spread() - 1.2).abs() < 1e-9);
        assert_eq!(Summary::of(std::iter::empty()), None);
    }

    #[test]
    fn more_is_better_for_rates_and_worse_for_times() {
        let rates = section(Unit::GbitPerSecond);
        assert_eq!(rates.against_reference(&rates.rows[2]), Some(2.0));
        assert_eq!(rates.against_ceiling(&rates.rows[1]), Some(0.3));
        let times = section(Unit::Seconds);
        assert_eq!(times.against_reference(&times.rows[2]), Some(0.5));
        assert_eq!(times.against_ceiling(&times.rows[2]), None);
    }

    #[test]
    fn a_rate_counts_bits_of_payload() {
        assert!((Run::rate(1_000_000_000, 2.0).value - 4.0).abs() < 1e-9);
    }
}
