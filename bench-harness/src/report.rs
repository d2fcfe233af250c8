//! What a run gave: a table for people, one JSON object for programs.
//!
//! Errors stand beside the rate, by code, with the first remark of each.

use crate::Load;
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
    /// By how many messages the queues grew.
    pub(crate) stored: u64,
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
            stored: 0,
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

    pub(crate) fn rate(&self, load: &Load) -> f64 {
        self.acknowledged as f64 / load.seconds as f64
    }

    /// CPU time of the broker per message, in microseconds: of its own and of the kernel for it.
    pub(crate) fn cpu_us(&self) -> Option<(f64, f64)> {
        let count = self.acknowledged.max(1) as f64;
        let us = |seconds: f64| seconds * 1e6 / count;
        let cost = self.cost.as_ref()?;
        Some((us(cost.user_seconds), us(cost.system_seconds)))
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|(count, _)| count).sum()
    }

    pub(crate) fn percentile_us(&self, percentile: f64) -> f64 {
        self.latency_ns.value_at_percentile(percentile) as f64 / 1_000.0
    }
}

pub(crate) fn print(load: &Load, outcome: &Outcome) -> Result<()> {
    let rate = outcome.rate(load);
    let megabytes = rate * load.size as f64 / 1e6;
    if load.json {
        println!("{}", serde_json::to_string(&as_json(load, outcome))?);
        return Ok(());
    }
    println!(
        "{} B bodies, {} connections, {} in flight, {} queues, {:?} headers, {} s",
        load.size, load.connections, load.in_flight, load.queues, load.codec, load.seconds
    );
    println!("rate      {rate:>12.0} messages/s   {megabytes:.1} MB/s of bodies");
    for (name, percentile) in PERCENTILES {
        println!("{name:<8}  {:>12.1} us", outcome.percentile_us(*percentile));
    }
    if let (Some(cost), Some((user, system))) = (outcome.cost, outcome.cpu_us()) {
        println!(
            "broker    {:>12.3} us CPU/message (user {user:.3}, system {system:.3}), {} MiB resident",
            user + system,
            cost.resident_bytes >> 20
        );
    }
    for (code, (count, remark)) in &outcome.errors {
        println!("error     {count:>12} answers with code {code}: {remark}");
    }
    println!(
        "stored    {:>12} messages, {} acknowledged",
        outcome.stored, outcome.acknowledged_in_all
    );
    Ok(())
}

fn as_json(load: &Load, outcome: &Outcome) -> serde_json::Value {
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
        "sizeBytes": load.size,
        "connections": load.connections,
        "inFlight": load.in_flight,
        "queues": load.queues,
        "codec": format!("{:?}", load.codec),
        "seconds": load.seconds,
        "messagesPerSecond": outcome.rate(load),
        "latencyUs": latency,
        "errorsByCode": errors,
        "acknowledged": outcome.acknowledged_in_all,
        "stored": outcome.stored,
        "broker": cost,
    })
}
