//! The generator against a server that does nothing: its ceiling, its floor, its lag.
//!
//! A broker cannot be measured to be faster than this, nor quicker. Invariant: the figures are of the
//! same code and the same checks as every other run.

use crate::arguments::Common;
use crate::cell::{self, Ground};
use crate::result::{BrokerInfo, CellResult, GeneratorInfo, SCHEMA, make_dir, write_whole};
use crate::scenario::Scenario;
use crate::sink::{Faults, Sink};
use crate::target::{Kind, Places, Target};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub(crate) const FILE: &str = "selftest.json";

/// What the generator can do at most.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Floor {
    pub(crate) schema: u32,
    pub(crate) generator: GeneratorInfo,
    pub(crate) cells: Vec<CellResult>,
}

/// Name and settings of each test.
const TESTS: &[(&str, &str)] = &[
    ("128 B, closed", "size=128 in-flight=4096 connections=4"),
    ("1 KiB, closed", "size=1024 in-flight=1024 connections=4"),
    ("64 KiB, closed", "size=65536 in-flight=64 connections=4"),
    (
        "batches of 32 x 128 B, closed",
        "size=128 batch=32 in-flight=64 connections=4",
    ),
    (
        "1 KiB, 20,000/s",
        "size=1024 mode=poisson rate=20000 connections=8",
    ),
];

/// Runs all tests.
pub(crate) fn run(places: &Places, short: bool) -> Result<Floor> {
    let seconds = if short { 1 } else { 5 };
    // A server that is woken for each message is part of the floor; one that spins is not.
    let spins = places.cpus.are_apart();
    let sink = Sink::start(
        places.cpus.broker.first().copied(),
        spins,
        Faults::default(),
    )?;
    let kind = Kind::Running(sink.address.to_string(), None);
    let mut cells = Vec::new();
    for (serial, (name, settings)) in TESTS.iter().enumerate() {
        let around = format!(
            "verify=read counter-seconds=0 warm-up=1 warm-up-max=2 steady-seconds=1 seconds={seconds}"
        );
        let lines = format!("{settings} {around}").replace(' ', "\n");
        let scenario = Scenario::parse("selftest", &lines, false, &[])?;
        let mut target = Target::start(&kind, places, &scenario.params)?;
        target.info = BrokerInfo {
            label: "a server that does nothing".to_owned(),
            ..BrokerInfo::default()
        };
        let ground = Ground {
            scenario: &scenario,
            cpus: &places.cpus,
            work: &places.work,
            serial: serial as u32,
        };
        let planned = scenario.params.cells()[0];
        let rate = cell::rate_of(planned.rate, None).unwrap_or_default();
        let mut result = cell::run(ground, &mut target, planned, rate, name)?;
        // At its ceiling the generator is the limit: that is what is measured here.
        result
            .objections
            .retain(|objection| !objection.contains("it is the limit"));
        if let Some(failure) = &result.failure {
            anyhow::bail!("the generator's own test failed: {name}: {failure}");
        }
        cells.push(result);
    }
    let generator = GeneratorInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpus: places.cpus.generator.clone(),
        optimised: !cfg!(debug_assertions),
        ..GeneratorInfo::default()
    };
    Ok(Floor {
        schema: SCHEMA,
        generator,
        cells,
    })
}

/// `selftest`
pub(crate) fn command(common: &Common) -> Result<()> {
    make_dir(&common.out)?;
    let floor = run(&common.places()?, common.short)?;
    println!("the generator alone, against a server that does nothing");
    for cell in &floor.cells {
        println!("  {}", floor_line(cell));
        for objection in &cell.objections {
            println!("    doubtful: {objection}");
        }
    }
    floor.save(&common.out)
}

/// One test as a line.
pub(crate) fn floor_line(cell: &CellResult) -> String {
    let us = |figure: Option<f64>| figure.map_or_else(|| "n/a".to_owned(), |us| format!("{us:.0}"));
    let response = cell.response.as_ref();
    let lag = cell
        .lag
        .as_ref()
        .map(|lag| format!(", lag p99.9 {:.0} us", lag.p999_us))
        .unwrap_or_default();
    format!(
        "{:<30} {:>9.0}/s  {:>7.0} MB/s  p50 {} p99 {} p99.9 {} us, busy {:.0} %{lag}",
        cell.label,
        cell.messages_per_second,
        cell.megabytes_per_second,
        us(response.map(|r| r.p50_us)),
        us(response.map(|r| r.p99_us)),
        us(response.map(|r| r.p999_us)),
        cell.generator_busy * 100.0
    )
}

impl Floor {
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        write_whole(&dir.join(FILE), serde_json::to_string(self)?.as_bytes())
    }

    /// Of a directory of results, if it has one.
    pub(crate) fn load(dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
        serde_json::from_str(&text).context("selftest").ok()
    }
}

#[cfg(test)]
mod tests;
