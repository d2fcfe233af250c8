//! What a run leaves: one JSON file, and reading it again.
//!
//! Invariant: a file holds everything that its figures depend on (parameters, broker, machine), its
//! schema has a number, and it is whole or not there: it is written beside its place and renamed.

use crate::cost::counters::Counters;
use crate::cost::noise::Noise;
use crate::cost::process::Cost;
use crate::machine::Machine;
use crate::statistics::knee::Step;
use crate::statistics::latency::Percentiles;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Grows when a field changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// A scenario on one broker, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunResult {
    pub(crate) schema: u32,
    pub(crate) started: String,
    pub(crate) scenario: String,
    pub(crate) title: String,
    pub(crate) short: bool,
    /// Which repeat, from 1, and which place it had in the order of all runs.
    pub(crate) repeat: u32,
    pub(crate) place: u32,
    /// Keys that differ from the defaults.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) broker: BrokerInfo,
    pub(crate) machine: Machine,
    pub(crate) generator: GeneratorInfo,
    pub(crate) cells: Vec<CellResult>,
    /// A sentence when the run did not come to its end.
    pub(crate) failure: Option<String>,
}

/// Which broker, and how it was started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokerInfo {
    /// As it was asked for; runs of one label are compared with those of others.
    pub(crate) label: String,
    pub(crate) version: String,
    /// CRC-32 of the program file, where there is one.
    pub(crate) build: Option<String>,
    pub(crate) config: Vec<String>,
    pub(crate) jvm_flags: Vec<String>,
    pub(crate) cpus: Vec<usize>,
    /// From the start of the process to the first answer.
    pub(crate) start_ms: Option<f64>,
}

/// The program that made the load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GeneratorInfo {
    pub(crate) version: String,
    pub(crate) commit: Option<String>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) numa_node: Option<usize>,
    pub(crate) optimised: bool,
}

/// One cell of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CellResult {
    pub(crate) label: String,
    pub(crate) mode: String,
    pub(crate) connections: u32,
    pub(crate) in_flight: Option<u32>,
    /// Messages a second that were due.
    pub(crate) offered: Option<f64>,
    pub(crate) warm_up: WarmUp,
    pub(crate) seconds: f64,
    /// Acknowledged messages.
    pub(crate) messages: u64,
    pub(crate) messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) received_per_second: f64,
    /// From the intended time to the answer.
    pub(crate) response: Option<Percentiles>,
    /// From the write to the answer.
    pub(crate) service: Option<Percentiles>,
    /// From the intended time to the write: the generator's own lag.
    pub(crate) lag: Option<Percentiles>,
    pub(crate) end_to_end: Option<Percentiles>,
    pub(crate) errors: Vec<ErrorCount>,
    pub(crate) intervals: Vec<IntervalRow>,
    pub(crate) cost: Option<Cost>,
    pub(crate) counters: Option<Counters>,
    /// Share of the time in which the busiest generator thread worked.
    pub(crate) generator_busy: f64,
    pub(crate) spins: bool,
    pub(crate) noise: Noise,
    pub(crate) verified: Verified,
    pub(crate) sweep: Option<Sweep>,
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) restart: Option<Restart>,
    /// Why the figures are not to be trusted; empty for a valid cell.
    pub(crate) objections: Vec<String>,
    /// Why the cell failed.
    pub(crate) failure: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WarmUp {
    pub(crate) seconds: f64,
    pub(crate) steady: bool,
}

/// Answers that were no success.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorCount {
    /// The response code; -1 no answer in time, -2 the connection ended.
    pub(crate) code: i32,
    pub(crate) count: u64,
    pub(crate) remark: String,
}

/// One second.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntervalRow {
    /// Seconds since the measurement began.
    pub(crate) at: f64,
    pub(crate) acknowledged: u64,
    pub(crate) received: u64,
    pub(crate) errors: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// What was checked of the messages themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verified {
    pub(crate) acknowledged: u64,
    /// Sends whose outcome is open.
    pub(crate) unknown: u64,
    /// Messages of the queues, by their offsets.
    pub(crate) stored: Option<u64>,
    /// Messages whose number and checksum were looked at.
    pub(crate) read: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    /// Not delivered to a group when the run ended.
    pub(crate) undelivered: u64,
    pub(crate) offsets_told_twice: u64,
}

impl Verified {
    /// A sentence when messages are not what they must be.
    pub(crate) fn failure(&self) -> Option<String> {
        let counts = [
            (self.lost, "lost"),
            (self.corrupted, "corrupted"),
            (self.undelivered, "not delivered"),
            (
                self.offsets_told_twice,
                "acknowledged at an offset that was told twice",
            ),
        ];
        let told: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} messages {what}"))
            .collect();
        // Without open outcomes every copy is the broker's own.
        let copies = (self.duplicated > 0 && self.unknown == 0)
            .then(|| format!("{} messages duplicated", self.duplicated));
        let told: Vec<_> = told.into_iter().chain(copies).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// Latency against load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sweep {
    pub(crate) limit_us: f64,
    /// Messages a second in a closed loop.
    pub(crate) closed: f64,
    pub(crate) steps: Vec<Step>,
    pub(crate) knee: Option<f64>,
}

/// A group that reads a backlog.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CatchUp {
    pub(crate) backlog_messages: u64,
    pub(crate) caches_dropped: bool,
    /// Until the backlog was read, or what the window had.
    pub(crate) seconds: f64,
    pub(crate) caught_up: bool,
    pub(crate) messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// Producers while nobody read the backlog.
    pub(crate) response_before: Option<Percentiles>,
}

/// A start with a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restart {
    pub(crate) backlog_messages: u64,
    pub(crate) killed: bool,
    pub(crate) stop_ms: Option<f64>,
    pub(crate) port_ms: f64,
    pub(crate) first_acknowledgement_ms: f64,
    pub(crate) all_queues_ms: f64,
}

impl CellResult {
    /// Without any figure.
    pub(crate) fn empty() -> Self {
        Self {
            label: String::new(),
            mode: String::new(),
            connections: 0,
            in_flight: None,
            offered: None,
            warm_up: WarmUp::default(),
            seconds: 0.0,
            messages: 0,
            messages_per_second: 0.0,
            megabytes_per_second: 0.0,
            received_per_second: 0.0,
            response: None,
            service: None,
            lag: None,
            end_to_end: None,
            errors: Vec::new(),
            intervals: Vec::new(),
            cost: None,
            counters: None,
            generator_busy: 0.0,
            spins: false,
            noise: Noise::default(),
            verified: Verified::default(),
            sweep: None,
            catch_up: None,
            restart: None,
            objections: Vec::new(),
            failure: None,
        }
    }
}

impl RunResult {
    /// `P1-tput-128-async.ringmq.r1.json`
    pub(crate) fn file_name(&self) -> String {
        let label: String = self
            .broker
            .label
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        format!("{}.{label}.r{}.json", self.scenario, self.repeat)
    }

    /// Writes the file into a directory.
    pub(crate) fn save(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(self.file_name());
        write_whole(&path, serde_json::to_string(self)?.as_bytes())?;
        Ok(path)
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let result: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is no result of this program", path.display()))?;
        ensure!(
            result.schema == SCHEMA,
            "{} has schema {}, this program reads {SCHEMA}",
            path.display(),
            result.schema
        );
        Ok(result)
    }

    /// Everything that makes this run fail.
    pub(crate) fn failures(&self) -> Vec<String> {
        let cells = self
            .cells
            .iter()
            .filter_map(|cell| Some(format!("{}: {}", cell.label, cell.failure.as_ref()?)));
        self.failure.iter().cloned().chain(cells).collect()
    }
}

/// A file, or every result of a directory, oldest place first.
pub(crate) fn load_all(path: &Path) -> Result<Vec<RunResult>> {
    if path.is_file() {
        return Ok(vec![RunResult::load(path)?]);
    }
    let entries = fs::read_dir(path)
        .with_context(|| format!("there are no results at {}", path.display()))?;
    let mut results = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json")
            && path.file_name().is_some_and(|n| n != crate::selftest::FILE)
        {
            results.push(RunResult::load(&path)?);
        }
    }
    ensure!(
        !results.is_empty(),
        "there are no results in {}",
        path.display()
    );
    results.sort_by(|a, b| (a.place, &a.started).cmp(&(b.place, &b.started)));
    Ok(results)
}

/// Makes a directory for results, and says so when it cannot.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the directory for results {}", dir.display()))
}

/// Writes beside the place, syncs, renames.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_added_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| {
            format!(
                "cannot write the result {} (is the disk full?)",
                path.display()
            )
        })
}
