//! What a run gave: a table for people, one JSON object for programs.
//!
//! Errors stand beside the rate, by code, with the first remark of each.

use crate::Arguments;
use crate::connection::Seen;
use crate::cost::Cost;
use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::json;
use std::collections::BTreeMap;

/// All connections together.
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    pub(crate) acknowledged_in_all: u64,
    latency_ns: Histogram<u64>,
    errors: BTreeMap<i32, (u64, String)>,
    cost: Option<Cost>,
}

const PERCENTILES: &[(&str, f64)] = &[
    ("p50", 50.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
    ("max", 100.0),
];

impl Outcome {
    pub(crate) fn new(cost: Option<Cost>) -> Self {
        Self {
            acknowledged: 0,
            acknowledged_in_all: 0,
            latency_ns: Histogram::new_with_bounds(1_000, 60_000_000_000, 3)
                .expect("constant bounds are valid"),
            errors: BTreeMap::new(),
            cost,
        }
    }

    pub(crate) fn add(&mut self, seen: &Seen) {
        self.acknowledged += seen.acknowledged;
        self.acknowledged_in_all += seen.acknowledged_in_all;
        self.latency_ns
            .add(&seen.latency_ns)
            .expect("bounds are the same");
        for (code, (count, remark)) in &seen.errors {
            self.errors.entry(*code).or_insert((0, remark.clone())).0 += count;
        }
    }

    fn percentile_us(&self, percentile: f64) -> f64 {
        self.latency_ns.value_at_percentile(percentile) as f64 / 1_000.0
    }
}

pub(crate) fn print(arguments: &Arguments, outcome: &Outcome, stored: u64) -> Result<()> {
    let rate = outcome.acknowledged as f64 / arguments.seconds as f64;
    let megabytes = rate * arguments.size as f64 / 1e6;
    if arguments.json {
        println!(
            "{}",
            serde_json::to_string(&as_json(arguments, outcome, rate, stored))?
        );
        return Ok(());
    }
    println!(
        "{} B bodies, {} connections, {} in flight, {} queues, {:?} headers, {} s",
        arguments.size,
        arguments.connections,
        arguments.in_flight,
        arguments.queues,
        arguments.codec,
        arguments.seconds
    );
    println!("rate      {rate:>12.0} messages/s   {megabytes:.1} MB/s of bodies");
    for (name, percentile) in PERCENTILES {
        println!("{name:<8}  {:>12.1} us", outcome.percentile_us(*percentile));
    }
    if let Some(cost) = outcome.cost {
        let count = outcome.acknowledged.max(1) as f64;
        println!(
            "broker    {:>12.3} us CPU/message (user {:.3}, system {:.3}), {} MiB resident",
            (cost.user_seconds + cost.system_seconds) * 1e6 / count,
            cost.user_seconds * 1e6 / count,
            cost.system_seconds * 1e6 / count,
            cost.resident_bytes >> 20
        );
    }
    for (code, (count, remark)) in &outcome.errors {
        println!("error     {count:>12} answers with code {code}: {remark}");
    }
    println!(
        "stored    {stored:>12} messages, {} acknowledged",
        outcome.acknowledged_in_all
    );
    Ok(())
}

fn as_json(arguments: &Arguments, outcome: &Outcome, rate: f64, stored: u64) -> serde_json::Value {
    let latency: BTreeMap<_, _> = PERCENTILES
        .iter()
        .map(|(name, p)| (*name, outcome.percentile_us(*p)))
        .collect();
    let errors: BTreeMap<_, _> = outcome
        .errors
        .iter()
        .map(|(code, (count, _))| (code.to_string(), *count))
        .collect();
    let cost = outcome.cost.map(|cost| {
        json!({
            "userSeconds": cost.user_seconds,
            "systemSeconds": cost.system_seconds,
            "residentBytes": cost.resident_bytes,
        })
    });
    json!({
        "schema": 1,
        "sizeBytes": arguments.size,
        "connections": arguments.connections,
        "inFlight": arguments.in_flight,
        "queues": arguments.queues,
        "codec": format!("{:?}", arguments.codec),
        "seconds": arguments.seconds,
        "messagesPerSecond": rate,
        "latencyUs": latency,
        "errorsByCode": errors,
        "acknowledged": outcome.acknowledged_in_all,
        "stored": stored,
        "broker": cost,
    })
}
