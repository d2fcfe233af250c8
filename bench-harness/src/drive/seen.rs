//! What one thread saw: histograms by window, a row for each second, errors by code.
//!
//! Owned by its thread until the run is over, then added up. Invariant: an answer that is no success
//! is in `errors` of its window, never dropped; a send without an answer counts with its timeout.

use crate::clock::SECOND_NS;
use crate::ledger::{Acknowledged, Delivered};
use crate::statistics::latency::{add, coarse_histogram, histogram};
use anyhow::Result;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Code that stands for a send without an answer in time.
pub(crate) const TIMED_OUT: i32 = -1;
/// Code that stands for a send whose connection ended.
pub(crate) const LOST: i32 = -2;

/// Times and counts of one window.
#[derive(Debug)]
pub(crate) struct Window {
    /// From the intended time to the answer.
    pub(crate) response: Histogram<u64>,
    /// From the write to the answer.
    pub(crate) service: Histogram<u64>,
    /// From the intended time to the write.
    pub(crate) lag: Histogram<u64>,
    /// From the intended time to the consumer.
    pub(crate) end_to_end: Histogram<u64>,
    pub(crate) acknowledged: u64,
    pub(crate) sends: u64,
    pub(crate) received: u64,
    pub(crate) received_late: u64,
    /// Count and first remark.
    pub(crate) errors: BTreeMap<i32, (u64, String)>,
    pub(crate) busy_ns: u64,
    pub(crate) turn_ns: u64,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            response: histogram(),
            service: histogram(),
            lag: histogram(),
            end_to_end: histogram(),
            acknowledged: 0,
            sends: 0,
            received: 0,
            received_late: 0,
            errors: BTreeMap::new(),
            busy_ns: 0,
            turn_ns: 0,
        }
    }

    fn unite(&mut self, other: &Self) -> Result<()> {
        add(&mut self.response, &other.response)?;
        add(&mut self.service, &other.service)?;
        add(&mut self.lag, &other.lag)?;
        add(&mut self.end_to_end, &other.end_to_end)?;
        self.acknowledged += other.acknowledged;
        self.sends += other.sends;
        self.received += other.received;
        self.received_late += other.received_late;
        self.busy_ns = self.busy_ns.max(other.busy_ns);
        self.turn_ns = self.turn_ns.max(other.turn_ns);
        for (code, (count, remark)) in &other.errors {
            self.errors.entry(*code).or_insert((0, remark.clone())).0 += count;
        }
        Ok(())
    }
}

/// One second of a run.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) response: Histogram<u64>,
    pub(crate) acknowledged: u64,
    pub(crate) received: u64,
    pub(crate) errors: u64,
}

impl Second {
    fn new() -> Self {
        Self {
            response: coarse_histogram(),
            acknowledged: 0,
            received: 0,
            errors: 0,
        }
    }
}

/// Everything that a thread hands over at the end.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Window 0 is what does not count.
    pub(crate) windows: Vec<Window>,
    pub(crate) seconds: Vec<Second>,
    pub(crate) acknowledged: Acknowledged,
    /// One for each group.
    pub(crate) delivered: Vec<Delivered>,
}

/// Windows of a run, the one that does not count included.
pub(crate) const WINDOWS: usize = 3;
/// Rows are kept for so many seconds.
const SECONDS_MAX: usize = 100_000;

impl Seen {
    pub(crate) fn new(queues: usize, producers: usize, groups: usize) -> Self {
        Self {
            windows: (0..WINDOWS).map(|_| Window::new()).collect(),
            seconds: Vec::new(),
            acknowledged: Acknowledged::new(queues),
            delivered: vec![Delivered::new(queues, producers); groups],
        }
    }

    /// The row of a moment.
    pub(crate) fn second(&mut self, since_start_ns: u64) -> &mut Second {
        let index = ((since_start_ns / SECOND_NS) as usize).min(SECONDS_MAX);
        while self.seconds.len() <= index {
            self.seconds.push(Second::new());
        }
        &mut self.seconds[index]
    }

    pub(crate) fn error(&mut self, window: usize, code: i32, remark: &str, count: u64) {
        let errors = &mut self.windows[window].errors;
        errors
            .entry(code)
            .or_insert_with(|| (0, remark.to_owned()))
            .0 += count;
    }

    pub(crate) fn unite(&mut self, other: &Self) -> Result<()> {
        for (window, more) in self.windows.iter_mut().zip(&other.windows) {
            window.unite(more)?;
        }
        while self.seconds.len() < other.seconds.len() {
            self.seconds.push(Second::new());
        }
        for (second, more) in self.seconds.iter_mut().zip(&other.seconds) {
            add(&mut second.response, &more.response)?;
            second.acknowledged += more.acknowledged;
            second.received += more.received;
            second.errors += more.errors;
        }
        self.acknowledged.unite(&other.acknowledged);
        for (delivered, more) in self.delivered.iter_mut().zip(&other.delivered) {
            delivered.unite(more);
        }
        Ok(())
    }
}
