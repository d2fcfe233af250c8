//! Scenarios: what is run, as files that anyone can read and change.
//!
//! A file is lines of `key = value` over the defaults, with `#` comments; `short.key` counts only
//! with `--short`. The files in `scenarios/` are part of the program. Invariant: every parameter of
//! a run is a key, so that the result can name it and the command line can change it.

mod files;
mod keys;

pub(crate) use files::{all, find};
pub(crate) use keys::KEYS;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Number, time, producer, queue and checksum of a body; see [`crate::body`].
pub(crate) const SIZE_MIN: usize = crate::body::HEAD_LEN;
/// The brokers' own limit of a message is 4 MiB.
pub(crate) const SIZE_MAX: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Producers, and consumers beside them.
    Load,
    /// A backlog is stored, then a group reads it.
    CatchUp,
    /// The broker is ended with a store of some size and started again.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A fixed number of sends is in flight.
    Closed,
    /// Sends at equal distances.
    Constant,
    /// Sends at random distances of the same mean.
    Poisson,
    /// Rates from a tenth of what the broker takes to above it.
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// ROCKETMQ headers.
    Binary,
    /// JSON headers, the Java client's choice.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// `ASYNC_FLUSH`.
    Async,
    /// `SYNC_FLUSH`.
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poll {
    /// Open loops spin when the generator has CPUs of its own; everything else blocks.
    Auto,
    /// The generator never sleeps.
    Spin,
    /// The generator sleeps until something happens.
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Offsets of acknowledgements, and what consumers of the run get.
    Acks,
    /// The same, and what is stored is read back after the run.
    Read,
}

/// Messages a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    PerSecond(f64),
    /// A share of the highest rate that this broker serves within the limit.
    OfKnee(f64),
}

/// Everything that a run is told.
#[derive(Debug, Clone)]
pub(crate) struct Params {
    pub(crate) kind: Kind,
    pub(crate) topics: u32,
    pub(crate) queues: u32,
    /// Sizes with their weights.
    pub(crate) sizes: Vec<(usize, u32)>,
    pub(crate) batch: u32,
    pub(crate) codec: Codec,
    pub(crate) flush: Flush,
    pub(crate) mode: Mode,
    pub(crate) connections: Vec<u32>,
    pub(crate) in_flight: Vec<u32>,
    pub(crate) rates: Vec<Rate>,
    pub(crate) zipf: f64,
    pub(crate) groups: u32,
    pub(crate) consumer_connections: u32,
    pub(crate) pull_batch: u32,
    pub(crate) delay_level: u32,
    pub(crate) backlog_mb: u64,
    pub(crate) drop_caches: bool,
    pub(crate) kill: bool,
    pub(crate) stop_consumer_seconds: u64,
    pub(crate) memory_mb: u64,
    pub(crate) seconds: u64,
    pub(crate) warm_up_seconds: u64,
    pub(crate) warm_up_max_seconds: u64,
    pub(crate) steady_seconds: u64,
    pub(crate) counter_seconds: u64,
    /// Of the broker, for each message; 0: any.
    pub(crate) syscalls_max: f64,
    pub(crate) switches_max: f64,
    pub(crate) profile: Option<PathBuf>,
    pub(crate) timeout_ms: u64,
    pub(crate) limit_us: u64,
    pub(crate) poll: Poll,
    pub(crate) verify: Verify,
    pub(crate) read_back_mb: u64,
    pub(crate) store_mb: u64,
    pub(crate) repeats: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            kind: Kind::Load,
            topics: 1,
            queues: 8,
            sizes: vec![(1024, 1)],
            batch: 1,
            codec: Codec::Binary,
            flush: Flush::Async,
            mode: Mode::Closed,
            connections: vec![4],
            in_flight: vec![1024],
            rates: vec![Rate::PerSecond(20_000.0)],
            zipf: 0.0,
            groups: 0,
            consumer_connections: 1,
            pull_batch: 32,
            delay_level: 0,
            backlog_mb: 0,
            drop_caches: false,
            kill: true,
            stop_consumer_seconds: 0,
            memory_mb: 0,
            seconds: 30,
            warm_up_seconds: 10,
            warm_up_max_seconds: 60,
            steady_seconds: 10,
            counter_seconds: 3,
            syscalls_max: 0.0,
            switches_max: 0.0,
            profile: None,
            timeout_ms: 10_000,
            limit_us: 10_000,
            poll: Poll::Auto,
            verify: Verify::Read,
            read_back_mb: 512,
            store_mb: 12_288,
            repeats: 3,
        }
    }
}

/// One point of a scenario: the lists have one value each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    pub(crate) mode: Mode,
    pub(crate) connections: u32,
    pub(crate) in_flight: u32,
    pub(crate) rate: Rate,
}

impl Cell {
    /// What tells it from its siblings; the same for every broker.
    pub(crate) fn label(&self) -> String {
        let connections = self.connections;
        match (self.mode, self.rate) {
            (Mode::Closed, _) => {
                format!("{} in flight, {connections} connections", self.in_flight)
            }
            (Mode::Sweep, _) => format!("sweep, {connections} connections"),
            (_, Rate::PerSecond(rate)) => format!("{rate:.0}/s, {connections} connections"),
            (_, Rate::OfKnee(share)) => {
                format!(
                    "{:.0} % of the knee, {connections} connections",
                    share * 100.0
                )
            }
        }
    }
}

impl Params {
    /// Every combination of the lists that the mode looks at.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let closed = self.mode == Mode::Closed;
        let rates = if matches!(self.mode, Mode::Constant | Mode::Poisson) {
            &self.rates[..]
        } else {
            &self.rates[..1]
        };
        let in_flights = if closed {
            &self.in_flight[..]
        } else {
            &self.in_flight[..1]
        };
        let mut cells = Vec::new();
        for connections in &self.connections {
            for in_flight in in_flights {
                for rate in rates {
                    cells.push(Cell {
                        mode: self.mode,
                        connections: (*connections).min(if closed { *in_flight } else { u32::MAX }),
                        in_flight: *in_flight,
                        rate: *rate,
                    });
                }
            }
        }
        cells
    }

    /// Bytes of a body, on average.
    pub(crate) fn mean_size(&self) -> f64 {
        let weights: u64 = self
            .sizes
            .iter()
            .map(|(_, weight)| u64::from(*weight))
            .sum();
        let bytes: u64 = self
            .sizes
            .iter()
            .map(|(size, weight)| *size as u64 * u64::from(*weight))
            .sum();
        bytes as f64 / weights as f64
    }

    /// What cannot be run together.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            self.batch == 1 || self.sizes.len() == 1,
            "a batch has bodies of one size: give one size or batch = 1"
        );
        let largest = self.sizes.iter().map(|(size, _)| *size).max().unwrap_or(0);
        ensure!(
            largest * self.batch as usize <= SIZE_MAX,
            "a batch of {} bodies of {largest} bytes is longer than {SIZE_MAX} bytes, the longest message",
            self.batch
        );
        ensure!(
            self.kind != Kind::CatchUp || self.backlog_mb > 0,
            "catch-up wants backlog-mb"
        );
        Ok(())
    }
}

/// A scenario of this program or of a file.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Whether it is part of `suite core`.
    pub(crate) core: bool,
    /// A feature that is missing, so that the scenario cannot be run.
    pub(crate) needs: Option<String>,
    /// Every key that the file, `--short` or the command line gave.
    pub(crate) given: BTreeMap<String, String>,
    pub(crate) params: Params,
}

impl Scenario {
    /// Reads a file. `changes` are keys that go before those of the file.
    pub(crate) fn parse(
        name: &str,
        text: &str,
        short: bool,
        changes: &[(String, String)],
    ) -> Result<Self> {
        let mut scenario = Self {
            name: name.to_owned(),
            title: String::new(),
            core: false,
            needs: None,
            given: BTreeMap::new(),
            params: Params::default(),
        };
        let mut short_lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let at = || format!("line {} of {name}", index + 1);
            let (key, value) = line
                .split_once('=')
                .with_context(|| format!("{}: `{line}` is not key = value", at()))?;
            let (key, value) = (key.trim(), value.trim());
            match key {
                "title" => value.clone_into(&mut scenario.title),
                "core" => scenario.core = value == "yes",
                "needs" => scenario.needs = Some(value.to_owned()),
                _ => match key.strip_prefix("short.") {
                    Some(key) => short_lines.push((key.to_owned(), value.to_owned())),
                    None => scenario.set(key, value).with_context(at)?,
                },
            }
        }
        // Also read when they do not count, so that an error in them shows.
        let mut unused = scenario.clone();
        let target = if short { &mut scenario } else { &mut unused };
        for (key, value) in &short_lines {
            target
                .set(key, value)
                .with_context(|| format!("short.{key} of {name}"))?;
        }
        for (key, value) in changes {
            scenario.set(key, value)?;
        }
        let params = &mut scenario.params;
        params.warm_up_max_seconds = params.warm_up_max_seconds.max(params.warm_up_seconds);
        scenario.params.check().with_context(|| name.to_owned())?;
        Ok(scenario)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.params.set(key, value)?;
        self.given.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// `P1` of `P1-tput-128-async`.
    pub(crate) fn short_name(&self) -> &str {
        self.name.split('-').next().unwrap_or(&self.name)
    }

    /// A sentence when it cannot be run.
    pub(crate) fn require_runnable(&self) -> Result<()> {
        ensure!(
            self.needs.is_none(),
            "{} cannot be run yet: it needs {}",
            self.name,
            self.needs.as_deref().unwrap_or_default()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
