//! Tables for the terminal: one block for each cell as it ends, and a summary.
//!
//! Invariant: errors and doubts stand beside the figures.

use super::summary::{FIGURES, Group, groups, short};
use crate::result::{CellResult, RunResult};
use crate::scenario::Scenario;
use crate::statistics::interval::Interval;
use crate::statistics::latency::Percentiles;
use std::fmt::Write;

/// A cell that has just ended.
pub(crate) fn cell(scenario: &Scenario, broker: &str, cell: &CellResult) {
    println!("{} on {broker}, {}", scenario.name, cell.label);
    if cell.seconds > 0.0 {
        println!(
            "  sent      {:>10.0}/s  {:.1} MB/s   received {:.0}/s   {:.0} s after {:.0} s of warm-up{}",
            cell.messages_per_second,
            cell.megabytes_per_second,
            cell.received_per_second,
            cell.seconds,
            cell.warm_up.seconds,
            if cell.warm_up.steady {
                ""
            } else {
                ", not steady"
            }
        );
    }
    times("response", cell.response.as_ref());
    if cell.offered.is_some() {
        times("service", cell.service.as_ref());
    }
    times("end2end", cell.end_to_end.as_ref());
    cost(cell);
    special(cell);
    for error in &cell.errors {
        println!(
            "  error     {:>10} with code {}: {}",
            error.count, error.code, error.remark
        );
    }
    let v = &cell.verified;
    println!(
        "  checked   {} acknowledged, {} looked at: {} lost, {} duplicated, {} reordered, {} corrupted{}",
        v.acknowledged,
        v.read,
        v.lost,
        v.duplicated,
        v.reordered,
        v.corrupted,
        if v.unknown > 0 {
            format!(", {} open", v.unknown)
        } else {
            String::new()
        }
    );
    for objection in &cell.objections {
        println!("  doubtful  {objection}");
    }
    if let Some(failure) = &cell.failure {
        println!("  FAILED    {failure}");
    }
}

fn times(name: &str, percentiles: Option<&Percentiles>) {
    let Some(p) = percentiles else { return };
    let tail = p
        .p9999_us
        .map_or_else(|| "n/a".to_owned(), |us| format!("{us:.0}"));
    println!(
        "  {name:<8}  p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  p99.99 {tail}  max {:.0} us",
        p.p50_us, p.p90_us, p.p99_us, p.p999_us, p.max_us
    );
}

fn cost(cell: &CellResult) {
    if let Some(c) = cell.cost.as_ref().filter(|_| cell.messages > 0) {
        println!(
            "  broker    {:.2} us CPU/message (user {:.2}, system {:.2}), {:.0} % of a CPU, {:.0} MiB, {:.3} switches/message{}",
            c.cpu_us_per_message(),
            c.user_us_per_message,
            c.system_us_per_message,
            c.cpu_percent,
            c.resident_mib,
            c.switches_per_message,
            c.written_per_byte
                .map_or_else(String::new, |w| format!(", {w:.2} bytes written/byte"))
        );
    }
    if let Some(c) = &cell.counters {
        let figure = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), short);
        println!(
            "  counted   {} syscalls/message, {} messages/sync, {} io_uring requests/message",
            figure(c.syscalls_per_message),
            figure(c.messages_per_sync),
            figure(c.io_uring_per_message)
        );
    }
}

fn special(cell: &CellResult) {
    if let Some(sweep) = &cell.sweep {
        for step in &sweep.steps {
            println!(
                "  rate      {:>10.0}/s  served {:.0}/s  p50 {:.0}  p99 {:.0}  p99.9 {:.0} us  {} errors",
                step.offered, step.served, step.p50_us, step.p99_us, step.p999_us, step.errors
            );
        }
        let knee = sweep.knee.map_or_else(
            || "below all rates".to_owned(),
            |knee| format!("{knee:.0}/s"),
        );
        println!(
            "  knee      {knee} with p99.9 <= {:.0} us; closed loop {:.0}/s",
            sweep.limit_us, sweep.closed
        );
    }
    if let Some(c) = &cell.catch_up {
        println!(
            "  catch-up  {} messages at {:.0}/s, {:.1} MB/s, {:.1} s{}{}",
            c.backlog_messages,
            c.messages_per_second,
            c.megabytes_per_second,
            c.seconds,
            if c.caught_up { "" } else { ", not at its end" },
            if c.caches_dropped {
                ", caches dropped"
            } else {
                ""
            }
        );
        times("before", c.response_before.as_ref());
    }
    if let Some(r) = &cell.restart {
        println!(
            "  start     port {:.0} ms, first send {:.0} ms, all queues {:.0} ms, with {} messages",
            r.port_ms, r.first_acknowledgement_ms, r.all_queues_ms, r.backlog_messages
        );
    }
}

/// Medians of all repeats, side by side.
pub(crate) fn summary(results: &[RunResult]) {
    for group in groups(results) {
        if group.rows.len() > 1 || group.rows.iter().any(|row| row.cells.len() > 1) {
            print_group(&group);
        }
    }
}

fn print_group(group: &Group<'_>) {
    println!("\n{}: {} ({})", group.scenario, group.title, group.cell);
    for figure in FIGURES {
        let intervals: Vec<Option<Interval>> =
            group.rows.iter().map(|row| row.figure(figure)).collect();
        let Some(Some(first)) = intervals.first() else {
            continue;
        };
        let mut line = format!("  {:<20}", format!("{} {}", figure.name, figure.unit));
        for (row, interval) in group.rows.iter().zip(&intervals) {
            let Some(i) = interval else { continue };
            let spread = if i.runs > 1 {
                format!(" ({} to {})", short(i.low), short(i.high))
            } else {
                String::new()
            };
            let _ = write!(line, "  {} {}{spread}", row.broker, short(i.median));
        }
        for (row, interval) in group.rows.iter().zip(&intervals).skip(1) {
            let Some(interval) = interval else { continue };
            let text = first.verdict(interval).text();
            let _ = write!(line, "  {}: {text}", row.broker);
        }
        println!("{line}");
    }
    for row in &group.rows {
        for remark in row.remarks() {
            println!("  {:<10} {remark}", row.broker);
        }
    }
}
