//! Scenarios on brokers, in turn: the order of the runs, and what is said at the end.
//!
//! A machine is not as fast as it was a minute ago, so every other repeat goes through the brokers
//! backwards (ABBA). Each run is saved as soon as it is done. Invariant: one run that fails makes the
//! whole suite fail, after all others have run.

use crate::arguments::Common;
use crate::interrupt;
use crate::report;
use crate::result::{RunResult, make_dir};
use crate::run::{self, Turn};
use crate::scenario::{self, Params, Scenario};
use crate::selftest;
use crate::target::Kind;
use anyhow::{Result, bail};

/// One scenario, with its results in `--out`.
pub(crate) fn run_one(name: &str, common: &Common) -> Result<()> {
    let scenario = scenario::find(name, common.short, &common.changes()?)?;
    run_all(&[scenario], common, false)
}

/// `core`, `all` or names.
pub(crate) fn run_suite(names: &str, common: &Common) -> Result<()> {
    let changes = common.changes()?;
    let listed = match names {
        "core" | "all" => {
            let all = scenario::all(common.short)?;
            let wanted = all
                .into_iter()
                .filter(|s| s.needs.is_none() && (names == "all" || s.core));
            wanted.map(|s| s.name).collect()
        }
        _ => names.split(',').map(str::to_owned).collect::<Vec<_>>(),
    };
    let scenarios = listed
        .iter()
        .map(|name| scenario::find(name, common.short, &changes));
    run_all(&scenarios.collect::<Result<Vec<_>>>()?, common, true)
}

/// Runs all of them and writes the report.
pub(crate) fn run_all(scenarios: &[Scenario], common: &Common, with_selftest: bool) -> Result<()> {
    for scenario in scenarios {
        scenario.require_runnable()?;
    }
    let brokers = common.brokers()?;
    let places = common.places()?;
    make_dir(&common.out)?;
    interrupt::results_in(&common.out);
    for broker in &brokers {
        broker.prepare(&places)?;
    }
    say_how_long(scenarios, brokers.len());
    if with_selftest {
        let floor = selftest::run(&places, common.short)?;
        floor.save(&common.out)?;
    }
    let (mut results, mut failures, mut place) = (Vec::new(), Vec::new(), 0);
    for scenario in scenarios {
        for repeat in 1..=scenario.params.repeats {
            for broker in in_turn(&brokers, repeat) {
                place += 1;
                let turn = Turn {
                    scenario,
                    broker,
                    repeat,
                    place,
                    short: common.short,
                };
                let result = run::run(turn, &places, common);
                for failure in result.failures() {
                    eprintln!(
                        "FAILED: {} on {}: {failure}",
                        scenario.name, result.broker.label
                    );
                    failures.push(format!(
                        "{} on {}: {failure}",
                        scenario.name, result.broker.label
                    ));
                }
                result.save(&common.out)?;
                results.push(result);
            }
        }
    }
    close(&results, &failures, common)
}

/// Every other repeat goes backwards.
fn in_turn(brokers: &[Kind], repeat: u32) -> Vec<&Kind> {
    let mut order: Vec<_> = brokers.iter().collect();
    if repeat.is_multiple_of(2) {
        order.reverse();
    }
    order
}

fn close(results: &[RunResult], failures: &[String], common: &Common) -> Result<()> {
    report::terminal::summary(results);
    let page = report::write(&common.out, None)?;
    eprintln!(
        "results: {}, report: {}",
        common.out.display(),
        page.display()
    );
    match failures {
        [] => Ok(()),
        [one] => bail!("one run failed: {one}"),
        more => bail!("{} runs failed, first {}", more.len(), more[0]),
    }
}

/// A first idea, before anything starts.
fn say_how_long(scenarios: &[Scenario], brokers: usize) {
    let seconds: u64 = scenarios
        .iter()
        .map(|scenario| seconds_of(&scenario.params))
        .sum::<u64>()
        * brokers as u64;
    eprintln!(
        "{} scenarios on {brokers} brokers: about {} minutes",
        scenarios.len(),
        seconds.div_ceil(60)
    );
}

/// Of all repeats on one broker.
fn seconds_of(params: &Params) -> u64 {
    let warm_up = u64::midpoint(params.warm_up_seconds, params.warm_up_max_seconds);
    let cell = warm_up + params.seconds + params.counter_seconds + AROUND_CELL;
    (AROUND_RUN + cell * params.cells().len() as u64) * u64::from(params.repeats)
}

const AROUND_CELL: u64 = 3;
const AROUND_RUN: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_repeat_goes_through_the_brokers_backwards() {
        let brokers = [
            Kind::Running("a".to_owned(), None),
            Kind::Running("b".to_owned(), None),
        ];
        let order: Vec<String> = (1..=4)
            .flat_map(|repeat| in_turn(&brokers, repeat))
            .map(Kind::label)
            .collect();
        assert_eq!(order, ["a", "b", "b", "a", "a", "b", "b", "a"]);
    }
}
