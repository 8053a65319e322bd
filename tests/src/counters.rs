//! The counters that an agent logs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bmstools_common::counters::Counter;
use serde_json::Value;

/// Every number of one counters line, by name; over several ports their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads the JSON object of a line that the agent logged.
    ///
    /// # Errors
    ///
    /// Where it holds none.
    pub fn parse(line: &str) -> Result<Self> {
        let json = line.find('{').map(|at| &line[at..]).context("no JSON in the line")?;
        let mut counters = Self::default();
        counters.add(&serde_json::from_str(json).with_context(|| format!("bad JSON: {json}"))?);
        Ok(counters)
    }

    /// The number called `name`; 0 where there is none.
    pub fn named(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// How many frames had this verdict.
    pub fn get(&self, counter: Counter) -> u64 {
        self.named(counter.name())
    }

    /// Frames with any verdict.
    pub fn verdicts(&self) -> u64 {
        Counter::ALL.iter().map(|&counter| self.get(counter)).sum()
    }

    /// Frames that broke the protocol.
    pub fn malformed(&self) -> u64 {
        use Counter::{CountZero, DataLength, OffsetPastCount, PacketType, Truncated, Version};
        [Truncated, Version, PacketType, CountZero, OffsetPastCount, DataLength]
            .map(|counter| self.get(counter))
            .iter()
            .sum()
    }

    /// Opens, served or not.
    pub fn opens(&self) -> u64 {
        use Counter::{Open, OpenRateGlobal, OpenRateSource, RingFull};
        [Open, OpenRateSource, OpenRateGlobal, RingFull]
            .map(|counter| self.get(counter))
            .iter()
            .sum()
    }

    /// The names and the numbers that are not 0.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(|(_, number)| **number > 0).map(|(name, number)| (&**name, *number))
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_u64() {
                        Some(number) => *self.0.entry(name.clone()).or_default() += number,
                        None => self.add(value),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            _ => {}
        }
    }
}
