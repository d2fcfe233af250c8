//! A scenario on one broker, once: start, every cell, stop, one result.
//!
//! Invariant: what was measured until something failed is in the result.

use crate::arguments::Common;
use crate::cell::{self, Ground};
use crate::control::first_line;
use crate::machine::Machine;
use crate::restart;
use crate::result::{CellResult, GeneratorInfo, RunResult, SCHEMA};
use crate::scenario::{Cell, Kind, Mode, Rate, Scenario};
use crate::statistics::knee::{SHARES, SHARES_SHORT};
use crate::sweep;
use crate::target::{self, Places, Target};
use anyhow::Result;

/// Which repeat on which broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) broker: &'a target::Kind,
    /// From 1.
    pub(crate) repeat: u32,
    pub(crate) place: u32,
    pub(crate) short: bool,
}

/// Runs it; a broker that cannot be started is a failure in the result.
pub(crate) fn run(turn: Turn<'_>, places: &Places, common: &Common) -> RunResult {
    let scenario = turn.scenario;
    let mut result = RunResult {
        schema: SCHEMA,
        started: chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, false),
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        short: turn.short,
        repeat: turn.repeat,
        place: turn.place,
        parameters: scenario.given.clone(),
        broker: crate::result::BrokerInfo {
            label: turn.broker.label(),
            ..Default::default()
        },
        machine: Machine::look(&places.work),
        generator: generator(places, common),
        cells: Vec::new(),
        failure: None,
    };
    let mut target = match Target::start(turn.broker, places, &scenario.params) {
        Ok(target) => target,
        Err(error) => {
            eprintln!("{error:#}");
            result.failure = Some(first_line(&error));
            return result;
        }
    };
    result.broker = target.info.clone();
    if let Err(error) = cells(turn, places, &mut target, &mut result.cells) {
        result.failure = Some(first_line(&error));
    }
    if !result.failures().is_empty() && target.require_running().is_err() {
        eprintln!("the broker's last lines:\n{}", target.log_tail());
    }
    result
}

fn cells(
    turn: Turn<'_>,
    places: &Places,
    target: &mut Target,
    done: &mut Vec<CellResult>,
) -> Result<()> {
    let scenario = turn.scenario;
    let mut ground = Ground {
        scenario,
        cpus: &places.cpus,
        work: &places.work,
        serial: 0,
    };
    if scenario.params.kind == Kind::Restart {
        done.push(restart::run(ground, target)?);
        return Ok(());
    }
    let cells = scenario.params.cells();
    let shares = if turn.short { SHARES_SHORT } else { SHARES };
    let needs_knee = cells
        .iter()
        .any(|cell| matches!(cell.rate, Rate::OfKnee(_)) || cell.mode == Mode::Sweep);
    let mut knee = None;
    if needs_knee {
        let swept = sweep::run(&mut ground, target, cells[0], shares)?;
        knee = swept
            .sweep
            .as_ref()
            .map(|sweep| sweep.knee.unwrap_or(sweep.closed));
        done.push(swept);
    }
    for cell in cells.iter().filter(|cell| cell.mode != Mode::Sweep) {
        ground.serial += 1;
        let rate = cell::rate_of(cell.rate, knee).unwrap_or_default();
        done.push(one(ground, target, *cell, rate)?);
        if done.last().is_some_and(|cell| cell.failure.is_some()) {
            // After a failure nothing is known of the broker's state.
            break;
        }
    }
    Ok(())
}

fn one(ground: Ground<'_>, target: &mut Target, cell: Cell, rate: f64) -> Result<CellResult> {
    let result = cell::run(ground, target, cell, rate, &cell.label())?;
    crate::report::terminal::cell(ground.scenario, &target.info.label, &result);
    Ok(result)
}

fn generator(places: &Places, common: &Common) -> GeneratorInfo {
    GeneratorInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit(places),
        cpus: places.cpus.generator.clone(),
        numa_node: common.numa_node,
        optimised: !cfg!(debug_assertions),
    }
}

/// The commit of the checkout, where there is one.
fn commit(places: &Places) -> Option<String> {
    let mut git = std::process::Command::new("git");
    git.arg("-C")
        .arg(&places.root)
        .args(["describe", "--always", "--dirty", "--abbrev=7"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
