//! The report: one page that opens without a network.
//!
//! A table and charts for each cell, all brokers side by side with the same axes, then the settings of
//! each broker and the machine. Invariant: everything on the page is in the JSON files beside it.

use super::charts::{Axis, Series, bars, colour, escape, lines};
use super::summary::{FIGURES, Group, Row, groups, short};
use crate::result::{CellResult, RunResult};
use crate::selftest::{Floor, floor_line};
use std::fmt::Write;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1220px;padding:0 16px;color:#1f2328}\
h2{border-bottom:1px solid #d0d7de;margin-top:44px}h3{margin-bottom:4px}table{border-collapse:collapse;margin:8px 0}\
td,th{border:1px solid #d0d7de;padding:3px 9px;text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}\
figure{display:inline-block;margin:6px 12px 6px 0}figcaption{font-weight:600}svg{background:#fff;border:1px solid #eaeef2}\
svg text{font-size:11px;fill:#57606a}.axis{font-style:italic}.bad{color:#cf222e;font-weight:600}.doubt{color:#9a6700}\
.key{display:inline-block;width:12px;height:12px;margin:0 4px 0 14px}small,.small{color:#57606a;font-weight:400}\
pre{background:#f6f8fa;padding:8px;overflow-x:auto;white-space:pre-wrap}";

/// The page of these results.
pub(super) fn page(results: &[RunResult], floor: Option<&Floor>) -> String {
    let brokers = brokers(results);
    let first = results.first();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>ringmq-bench</title><style>{STYLE}</style></head><body>\
         <h1>Load test of {}</h1><p>",
        escape(&brokers.join(", "))
    );
    for (index, broker) in brokers.iter().enumerate() {
        let _ = write!(
            html,
            r#"<span class="key" style="background:{}"></span>{}"#,
            colour(index),
            escape(broker)
        );
    }
    let _ = write!(
        html,
        "</p><p class=\"small\">{}</p>",
        escape(&about(results))
    );
    if results.iter().any(|result| result.short) {
        html.push_str("<p class=\"doubt\">Short form: a few seconds and one run of each. It shows that everything works; it is no measurement.</p>");
    }
    if first.is_some_and(|result| !result.generator.optimised) {
        html.push_str("<p class=\"doubt\">The generator is a development build: its figures say nothing of any broker.</p>");
    }
    failures(&mut html, results);
    let mut scenario = "";
    for group in groups(results) {
        if group.scenario != scenario {
            scenario = group.scenario;
            let _ = write!(
                html,
                "<h2>{}</h2><p>{}</p>",
                escape(scenario),
                escape(group.title)
            );
        }
        section(&mut html, &group, &brokers);
    }
    floor_section(&mut html, floor);
    settings(&mut html, results, &brokers);
    html + "</body></html>\n"
}

/// Labels in the order in which they first ran.
fn brokers(results: &[RunResult]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for result in results {
        if !all.contains(&result.broker.label) {
            all.push(result.broker.label.clone());
        }
    }
    all
}

fn about(results: &[RunResult]) -> String {
    let Some(first) = results.first() else {
        return String::new();
    };
    let machine = &first.machine;
    format!(
        "{} runs from {}. {} x {}, {} MiB, Linux {}, stores on {}. Broker on CPU {:?}, generator on CPU {:?}{}. \
         Medians over the repeats; in brackets the 95 % interval.",
        results.len(),
        first.started,
        machine.cpus,
        machine.cpu,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        first.broker.cpus,
        first.generator.cpus,
        first
            .generator
            .commit
            .as_ref()
            .map(|commit| format!(", commit {commit}"))
            .unwrap_or_default()
    )
}

fn failures(html: &mut String, results: &[RunResult]) {
    for result in results {
        for failure in result.failures() {
            let _ = write!(
                html,
                "<p class=\"bad\">FAILED: {} on {}, run {}: {}</p>",
                escape(&result.scenario),
                escape(&result.broker.label),
                result.repeat,
                escape(&failure)
            );
        }
    }
}

fn section(html: &mut String, group: &Group<'_>, brokers: &[String]) {
    let _ = write!(html, "<h3>{}</h3>", escape(group.cell));
    table(html, group);
    remarks(html, group);
    charts(html, group, brokers);
}

fn remarks(html: &mut String, group: &Group<'_>) {
    for row in &group.rows {
        for remark in row.remarks() {
            let class = if remark.starts_with("FAILED") {
                "bad"
            } else {
                "doubt"
            };
            let _ = write!(
                html,
                "<p class=\"{class}\">{}: {}</p>",
                escape(row.broker),
                escape(&remark)
            );
        }
    }
}

fn charts(html: &mut String, group: &Group<'_>, brokers: &[String]) {
    let tint = |broker: &str| brokers.iter().position(|name| name == broker).unwrap_or(0);
    let series = |points: fn(&CellResult) -> Vec<(f64, f64)>| -> Vec<Series> {
        let middle = group
            .rows
            .iter()
            .filter_map(|row| Some((row, middle(row)?)));
        middle
            .map(|(row, cell)| Series {
                name: row.broker.to_owned(),
                colour: tint(row.broker),
                points: points(cell),
            })
            .collect()
    };
    let seconds = Axis::linear("seconds");
    html.push_str(&lines(
        "Throughput",
        &series(|c| rows(c, |r| r.acknowledged as f64)),
        &seconds,
        &Axis::linear("messages/s"),
    ));
    html.push_str(&lines(
        "p99.9 of each second",
        &series(|c| rows(c, |r| r.p999_us)),
        &seconds,
        &Axis::logarithmic("us"),
    ));
    html.push_str(&lines(
        "Response time by percentile",
        &series(|c| curve(c.response.as_ref())),
        &percentile_axis(),
        &Axis::logarithmic("us"),
    ));
    html.push_str(&lines(
        "Producer to consumer by percentile",
        &series(|c| curve(c.end_to_end.as_ref())),
        &percentile_axis(),
        &Axis::logarithmic("us"),
    ));
    html.push_str(&lines(
        "p99.9 against load",
        &series(steps),
        &Axis::linear("messages/s"),
        &Axis::logarithmic("us"),
    ));
    all_bars(html, group, &tint);
}

fn all_bars(html: &mut String, group: &Group<'_>, tint: &dyn Fn(&str) -> usize) {
    for name in ["CPU/message", "memory", "catch-up", "start to all queues"] {
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == name) else {
            continue;
        };
        let rows = group.rows.iter().filter_map(|row| {
            let i = row.figure(figure)?;
            Some((
                row.broker.to_owned(),
                tint(row.broker),
                i.median,
                i.low,
                i.high,
            ))
        });
        html.push_str(&bars(name, figure.unit, &rows.collect::<Vec<_>>()));
    }
}

/// The run whose rate is the median: charts show one run, not a mean of several.
fn middle<'a>(row: &Row<'a>) -> Option<&'a CellResult> {
    let mut cells: Vec<&CellResult> = row.cells.clone();
    cells.sort_by(|a, b| a.messages_per_second.total_cmp(&b.messages_per_second));
    cells.get(cells.len() / 2).copied()
}

fn rows(cell: &CellResult, figure: fn(&crate::result::IntervalRow) -> f64) -> Vec<(f64, f64)> {
    cell.intervals
        .iter()
        .map(|row| (row.at, figure(row)))
        .collect()
}

/// On an axis of nines.
fn curve(percentiles: Option<&crate::statistics::latency::Percentiles>) -> Vec<(f64, f64)> {
    let points = percentiles.map(|p| p.curve.as_slice()).unwrap_or_default();
    points
        .iter()
        .map(|(quantile, us)| (1.0 / (1.0 - quantile).max(1e-9), *us))
        .collect()
}

fn percentile_axis() -> Axis {
    let marks = [
        (1.0, "0"),
        (2.0, "50"),
        (10.0, "90"),
        (100.0, "99"),
        (1e3, "99.9"),
        (1e4, "99.99"),
        (1e5, "99.999"),
        (1e6, "99.9999"),
    ];
    Axis {
        name: "percent of the sends",
        logarithmic: true,
        marks: marks
            .into_iter()
            .map(|(at, text)| (at, text.to_owned()))
            .collect(),
    }
}

fn steps(cell: &CellResult) -> Vec<(f64, f64)> {
    let steps = cell
        .sweep
        .as_ref()
        .map(|sweep| sweep.steps.as_slice())
        .unwrap_or_default();
    steps
        .iter()
        .map(|step| (step.offered, step.p999_us))
        .collect()
}

fn table(html: &mut String, group: &Group<'_>) {
    html.push_str("<table><tr><th></th>");
    for row in &group.rows {
        let _ = write!(
            html,
            "<th>{} <small>({} runs)</small></th>",
            escape(row.broker),
            row.cells.len()
        );
    }
    for row in group.rows.iter().skip(1) {
        let _ = write!(
            html,
            "<th>{} / {}</th>",
            escape(row.broker),
            escape(group.rows[0].broker)
        );
    }
    html.push_str("</tr>");
    for figure in FIGURES {
        let intervals: Vec<_> = group.rows.iter().map(|row| row.figure(figure)).collect();
        if intervals.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(
            html,
            "<tr><td>{} <small>{}</small></td>",
            figure.name, figure.unit
        );
        for interval in &intervals {
            let text = interval.map_or_else(String::new, |i| {
                let spread = format!(" <small>({} to {})</small>", short(i.low), short(i.high));
                format!(
                    "{}{}",
                    short(i.median),
                    if i.runs > 1 { spread } else { String::new() }
                )
            });
            let _ = write!(html, "<td>{text}</td>");
        }
        for interval in intervals.iter().skip(1) {
            let verdict = intervals[0]
                .zip(*interval)
                .map(|(a, b)| a.verdict(&b).text());
            let _ = write!(html, "<td>{}</td>", verdict.unwrap_or_default());
        }
        html.push_str("</tr>");
    }
    checked(html, group);
    html.push_str("</table>");
}

fn checked(html: &mut String, group: &Group<'_>) {
    html.push_str("<tr><td>lost, duplicated, reordered, corrupted</td>");
    for row in &group.rows {
        let sum =
            |figure: fn(&CellResult) -> u64| row.cells.iter().map(|cell| figure(cell)).sum::<u64>();
        let (lost, duplicated) = (sum(|c| c.verified.lost), sum(|c| c.verified.duplicated));
        let (reordered, corrupted) = (sum(|c| c.verified.reordered), sum(|c| c.verified.corrupted));
        let _ = write!(
            html,
            "<td>{lost}, {duplicated}, {reordered}, {corrupted}</td>"
        );
    }
    html.push_str("</tr><tr><td>errors by code</td>");
    for row in &group.rows {
        let errors: Vec<String> = row
            .cells
            .iter()
            .flat_map(|cell| &cell.errors)
            .map(|error| {
                format!(
                    "{} x code {} {}",
                    error.count,
                    error.code,
                    error.remark.chars().take(60).collect::<String>()
                )
            })
            .collect();
        let _ = write!(
            html,
            "<td>{}</td>",
            if errors.is_empty() {
                "none".to_owned()
            } else {
                escape(&errors.join("; "))
            }
        );
    }
    html.push_str("</tr>");
}

fn floor_section(html: &mut String, floor: Option<&Floor>) {
    let Some(floor) = floor else { return };
    html.push_str("<h2>The generator alone</h2><p>Against a server that does nothing: no broker can be seen to be faster or quicker.</p><pre>");
    for cell in &floor.cells {
        let _ = writeln!(html, "{}", escape(&floor_line(cell)));
    }
    html.push_str("</pre>");
}

fn settings(html: &mut String, results: &[RunResult], brokers: &[String]) {
    html.push_str("<h2>What ran</h2>");
    for broker in brokers {
        let Some(result) = results.iter().find(|result| result.broker.label == *broker) else {
            continue;
        };
        let info = &result.broker;
        let _ = write!(
            html,
            "<h3>{}</h3><pre>{} {}\nCPU {:?}, started in {} ms\n{}\n{}</pre>",
            escape(broker),
            escape(&info.version),
            escape(info.build.as_deref().unwrap_or_default()),
            info.cpus,
            info.start_ms.map(short).unwrap_or_default(),
            escape(&info.config.join("\n")),
            escape(&info.jvm_flags.join(" "))
        );
    }
    if let Some(result) = results.first() {
        let machine = serde_json::to_string_pretty(&result.machine).unwrap_or_default();
        let _ = write!(html, "<h3>Machine</h3><pre>{}</pre>", escape(&machine));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{BrokerInfo, IntervalRow, SCHEMA, Verified};
    use crate::statistics::latency::{Percentiles, histogram};

    fn result(broker: &str, repeat: u32, rate: f64, failure: Option<&str>) -> RunResult {
        let mut times = histogram();
        (1..1000).for_each(|us| times.record(us * 1000).unwrap());
        let row = |at| IntervalRow {
            at,
            acknowledged: rate as u64,
            received: 0,
            errors: 0,
            p50_us: 10.0,
            p99_us: 20.0,
            p999_us: 30.0,
            max_us: 40.0,
        };
        let cell = CellResult {
            label: "16 in flight".to_owned(),
            seconds: 2.0,
            messages_per_second: rate,
            response: Percentiles::of(&times),
            intervals: vec![row(0.0), row(1.0)],
            verified: Verified {
                lost: u64::from(failure.is_some()),
                ..Verified::default()
            },
            objections: vec!["noise: <others>".to_owned()],
            failure: failure.map(str::to_owned),
            ..CellResult::empty()
        };
        RunResult {
            schema: SCHEMA,
            started: "2026-01-01".to_owned(),
            scenario: "P1-test".to_owned(),
            title: "a test".to_owned(),
            short: false,
            repeat,
            place: repeat,
            parameters: std::collections::BTreeMap::new(),
            broker: BrokerInfo {
                label: broker.to_owned(),
                ..BrokerInfo::default()
            },
            machine: crate::machine::Machine::default(),
            generator: crate::result::GeneratorInfo::default(),
            cells: vec![cell],
            failure: None,
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_hides_no_failure() {
        let results = [
            result("ours", 1, 100.0, None),
            result("ours", 2, 120.0, None),
            result("theirs", 1, 50.0, None),
            result("theirs", 2, 0.0, Some("1 messages lost")),
        ];
        let page = page(&results, None);
        for outside in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("FAILED: P1-test on theirs, run 2: 16 in flight: 1 messages lost"));
        assert!(page.contains("noise: &lt;others&gt;"));
        assert!(
            page.contains("110 <small>(100 to 120)</small>"),
            "the median of two runs"
        );
        assert!(
            page.contains("x 0.45 (one run each: no interval)"),
            "a failed run gives no figure"
        );
        assert_eq!(
            page.matches("<svg").count(),
            3,
            "throughput, p99.9, percentiles"
        );
    }

    #[test]
    fn a_result_reads_back_as_it_was_written() {
        let dir = std::env::temp_dir().join(format!("ringmq-bench-result-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = result("apache:5.5.0+tuned", 3, 5.0, None)
            .save(&dir)
            .unwrap();
        assert!(
            path.ends_with("P1-test.apache_5.5.0_tuned.r3.json"),
            "{path:?}"
        );
        let again = RunResult::load(&path).unwrap();
        assert_eq!(
            (
                again.repeat,
                again.cells[0].response.as_ref().unwrap().count
            ),
            (3, 999)
        );
        std::fs::write(&path, r#"{"schema": 99}"#).unwrap();
        let error = format!("{:#}", RunResult::load(&path).unwrap_err());
        assert!(error.contains("is no result of this program"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
