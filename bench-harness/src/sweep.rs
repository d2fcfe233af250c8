//! A rate sweep: from a tenth of what the broker takes in a closed loop to above it.
//!
//! Each rate is a short open loop with topics of its own. Invariant: the knee is judged by the figures
//! of the open loops alone; the closed loop only tells where to look.

use crate::cell::{self, Ground};
use crate::result::{CellResult, Sweep};
use crate::scenario::{Cell, Mode, Scenario};
use crate::statistics::knee::{Step, knee};
use crate::target::Target;
use anyhow::Result;

const CLOSED_IN_FLIGHT: u32 = 1024;
/// Seconds of the closed loop and of each rate, at most.
const STEP_SECONDS: u64 = 10;
/// The last rates are above what is served; a longer row of failures tells nothing new.
const FAILURES_MAX: usize = 2;

/// Sweeps; the result is the highest rate below the knee, with all steps.
pub(crate) fn run(
    ground: &mut Ground<'_>,
    target: &mut Target,
    cell: Cell,
    shares: &[f64],
) -> Result<CellResult> {
    let scenario = shortened(ground.scenario);
    let limit_us = scenario.params.limit_us as f64;
    let closed = Cell {
        mode: Mode::Closed,
        in_flight: CLOSED_IN_FLIGHT,
        ..cell
    };
    let mut next = |cell: Cell, rate: f64, label: &str| {
        ground.serial += 1;
        cell::run(
            Ground {
                scenario: &scenario,
                ..*ground
            },
            target,
            cell,
            rate,
            label,
        )
    };
    let full = next(closed, 0.0, "sweep: how much it takes")?;
    let mode = if cell.mode == Mode::Poisson {
        Mode::Poisson
    } else {
        Mode::Constant
    };
    let (mut steps, mut best, mut failed): (Vec<Step>, Option<CellResult>, usize) =
        (Vec::new(), None, 0);
    for share in shares {
        let rate = full.messages_per_second * share;
        let result = next(Cell { mode, ..cell }, rate, &format!("sweep: {rate:.0}/s"))?;
        let lost = result.failure.clone();
        steps.push(step(rate, &result));
        let holds = knee(&steps, limit_us) == Some(rate);
        if holds || best.is_none() {
            best = Some(result);
        }
        failed += usize::from(!holds);
        if failed >= FAILURES_MAX || lost.is_some() {
            break;
        }
    }
    let mut result = best.unwrap_or(full.clone());
    result.label = Cell {
        mode: Mode::Sweep,
        ..cell
    }
    .label();
    result.sweep = Some(Sweep {
        limit_us,
        closed: full.messages_per_second,
        knee: knee(&steps, limit_us),
        steps,
    });
    crate::report::terminal::cell(ground.scenario, &target.info.label, &result);
    Ok(result)
}

fn step(offered: f64, result: &CellResult) -> Step {
    let at = |figure: fn(&crate::statistics::latency::Percentiles) -> f64| {
        result.response.as_ref().map_or(0.0, figure)
    };
    Step {
        offered,
        served: result.messages_per_second,
        p50_us: at(|p| p.p50_us),
        p99_us: at(|p| p.p99_us),
        p999_us: at(|p| p.p999_us),
        errors: result.errors.iter().map(|error| error.count).sum(),
    }
}

/// The scenario with short windows.
fn shortened(scenario: &Scenario) -> Scenario {
    let mut short = scenario.clone();
    let params = &mut short.params;
    params.seconds = (params.seconds / 3).clamp(2, STEP_SECONDS);
    params.warm_up_seconds = (params.warm_up_seconds / 3).max(1);
    params.warm_up_max_seconds = params.warm_up_seconds;
    params.steady_seconds = 1;
    params.counter_seconds = 0;
    params.stop_consumer_seconds = 0;
    params.read_back_mb = params.read_back_mb.min(16);
    short
}
