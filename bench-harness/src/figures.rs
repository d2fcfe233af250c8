//! From what the threads and the controller saw to the figures of a cell, with their doubts.
//!
//! Invariant: whatever makes the figures doubtful (the generator at its limit, sends that left late,
//! noise, a rate that was never steady) is an objection in the result.

use crate::clock::SECOND_NS;
use crate::control::{Controlled, Measured};
use crate::cost::process::Cost;
use crate::drive::plan::Plan;
use crate::drive::seen::{Seen, Window};
use crate::result::{CatchUp, CellResult, ErrorCount, IntervalRow};
use crate::scenario::{Mode, Params};
use crate::statistics::latency::Percentiles;

/// The generator is the limit when it works for a larger share of the time.
const BUSY_MAX: f64 = 0.8;
/// An open loop whose sends leave later than this share of the median is not the load it says.
const LAG_MAX: f64 = 0.1;

/// The figures of window `counted`.
pub(crate) fn of(
    plan: &Plan,
    seen: &Seen,
    controlled: &Controlled,
    counted: usize,
    label: &str,
) -> CellResult {
    let window = &seen.windows[counted];
    let measured = controlled.windows.get(counted - 1);
    let seconds = measured.map_or(0.0, |m| (m.to_ns - m.from_ns) as f64 / SECOND_NS as f64);
    let per_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let open = plan.mode != Mode::Closed;
    let bytes = window.acknowledged as f64 * plan.params.mean_size();
    let handled = window
        .acknowledged
        .max(window.received_late + window.received / u64::from(plan.groups.max(1)));
    let mut result = CellResult {
        label: label.to_owned(),
        mode: format!("{:?}", plan.mode).to_lowercase(),
        connections: plan.connections,
        in_flight: (!open).then_some(plan.in_flight),
        offered: open.then_some(plan.rate),
        warm_up: controlled.warm_up.clone(),
        seconds,
        messages: window.acknowledged,
        messages_per_second: per_second(window.acknowledged as f64),
        megabytes_per_second: per_second(bytes / 1e6),
        received_per_second: per_second((window.received + window.received_late) as f64),
        response: Percentiles::of(&window.response),
        service: Percentiles::of(&window.service),
        lag: if open {
            Percentiles::of(&window.lag)
        } else {
            None
        },
        end_to_end: Percentiles::of(&window.end_to_end),
        errors: errors(seen),
        intervals: measured.map(|m| intervals(seen, m)).unwrap_or_default(),
        cost: measured.and_then(|m| {
            Some(Cost::between(
                m.first.as_ref()?,
                m.last.as_ref()?,
                seconds,
                handled as f64,
                bytes,
            ))
        }),
        counters: controlled.counters.clone(),
        generator_busy: window.busy_ns as f64 / window.turn_ns.max(1) as f64,
        spins: plan.spins,
        noise: measured.map(|m| m.noise).unwrap_or_default(),
        ..CellResult::empty()
    };
    result.objections = objections(&result, &plan.params);
    result
}

/// Why the figures are not to be trusted.
fn objections(result: &CellResult, params: &Params) -> Vec<String> {
    let mut all = Vec::new();
    if result.generator_busy > BUSY_MAX {
        all.push(format!(
            "the generator worked {:.0} % of the time: it is the limit, the broker may be faster",
            result.generator_busy * 100.0
        ));
    }
    if let (Some(lag), Some(response)) = (&result.lag, &result.response)
        && lag.p999_us > LAG_MAX * response.p50_us
        // Sends that wait because the broker is behind are the broker's lag.
        && result.offered.is_some_and(|offered| result.messages_per_second > 0.99 * offered)
    {
        all.push(format!(
            "sends left up to {:.0} us late (p99.9), more than a tenth of the median of {:.0} us",
            lag.p999_us, response.p50_us
        ));
    }
    if !result.warm_up.steady
        && params.warm_up_max_seconds > 0
        && result.offered.is_none_or(|rate| rate > 10.0)
    {
        all.push(format!(
            "the rate was not steady after {:.0} s of warm-up",
            result.warm_up.seconds
        ));
    }
    all.extend(result.noise.objection());
    all
}

/// What is more than the scenario allows, or could not be counted.
pub(crate) fn excess(result: &CellResult, params: &Params) -> Option<String> {
    let syscalls = result
        .counters
        .as_ref()
        .and_then(|counted| counted.syscalls_per_message);
    let switches = result.cost.as_ref().map(|cost| cost.switches_per_message);
    let figures = [
        (syscalls, params.syscalls_max, "system calls"),
        (switches, params.switches_max, "changes of thread"),
    ];
    figures
        .into_iter()
        .find_map(|(figure, most, what)| match figure {
            _ if most <= 0.0 => None,
            None => Some(format!("{what} could not be counted")),
            Some(figure) if figure > most => Some(format!(
                "{figure:.3} {what} for each message, at most {most} are allowed"
            )),
            Some(_) => None,
        })
}

/// Errors of the whole cell, warm-up and drain included.
fn errors(seen: &Seen) -> Vec<ErrorCount> {
    let mut all = Window::new().errors;
    for (code, (count, remark)) in seen.windows.iter().flat_map(|window| &window.errors) {
        all.entry(*code).or_insert((0, remark.clone())).0 += count;
    }
    all.into_iter()
        .map(|(code, (count, remark))| ErrorCount {
            code,
            count,
            remark,
        })
        .collect()
}

fn intervals(seen: &Seen, measured: &Measured) -> Vec<IntervalRow> {
    let first = measured.from_ns.div_ceil(SECOND_NS) as usize;
    let last = (measured.to_ns / SECOND_NS) as usize;
    let rows = seen.seconds.iter().enumerate().take(last).skip(first);
    rows.map(|(index, second)| {
        let at = |quantile| {
            if second.response.is_empty() {
                0.0
            } else {
                second.response.value_at_quantile(quantile) as f64 / 1e3
            }
        };
        IntervalRow {
            at: (index - first) as f64,
            acknowledged: second.acknowledged,
            received: second.received,
            errors: second.errors,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    })
    .collect()
}

pub(crate) fn add_catch_up(
    result: &mut CellResult,
    plan: &Plan,
    seen: &Seen,
    controlled: &Controlled,
) {
    let read = seen.windows[2].received_late;
    let measured = controlled.windows.get(1).map_or(0, |m| m.to_ns - m.from_ns);
    let seconds = controlled.caught_up_ns.unwrap_or(measured) as f64 / SECOND_NS as f64;
    let rate = if seconds > 0.0 {
        read as f64 / seconds
    } else {
        0.0
    };
    result.catch_up = Some(CatchUp {
        backlog_messages: controlled.backlog_messages,
        caches_dropped: controlled.caches_dropped,
        seconds,
        caught_up: controlled.caught_up_ns.is_some(),
        messages_per_second: rate,
        megabytes_per_second: rate * plan.params.mean_size() / 1e6,
        response_before: Percentiles::of(&seen.windows[1].response),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::counters::Counters;

    #[test]
    fn more_system_calls_than_allowed_and_none_that_could_be_counted_are_told() {
        let result = |counted: Option<f64>| CellResult {
            counters: Some(Counters {
                syscalls_per_message: counted,
                ..Counters::default()
            }),
            ..CellResult::empty()
        };
        let params = Params {
            syscalls_max: 0.5,
            ..Params::default()
        };
        assert_eq!(excess(&result(Some(0.5)), &params), None);
        assert_eq!(
            excess(&result(None), &Params::default()),
            None,
            "nobody asks"
        );
        let text = excess(&result(Some(0.75)), &params).unwrap();
        assert_eq!(
            text,
            "0.750 system calls for each message, at most 0.5 are allowed"
        );
        assert_eq!(
            excess(&result(None), &params).unwrap(),
            "system calls could not be counted"
        );
    }
}
