//! The keys of a scenario: what each means, and reading a text into it.
//!
//! A scenario file and the command line say the same `key = value`, so there is one place that
//! knows a key. Invariant: a value that is accepted can be run; a key that is not known is answered
//! with the nearest ones.

use super::{Codec, Flush, Kind, Mode, Params, Poll, Rate, Verify};
use crate::nearest;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Display;
use std::str::FromStr;

/// Names and meanings, in the order in which they are told.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("kind", "load, catch-up or restart"),
    ("topics", "topics of the run, made new"),
    ("queues", "queues of each topic"),
    (
        "size",
        "bytes of a body, or a mix such as 128:70,1024:25,16384:5",
    ),
    ("batch", "messages of one send; 1 sends them one by one"),
    ("codec", "binary or json: the form of the headers"),
    ("flush", "async or sync: what an acknowledgement waits for"),
    ("mode", "closed, constant, poisson or sweep"),
    (
        "connections",
        "connections of producers; a list gives a cell each",
    ),
    (
        "in-flight",
        "sends in flight over all connections (closed); a list gives a cell each",
    ),
    (
        "rate",
        "messages a second (constant, poisson), or 80% of the knee; a list gives a cell each",
    ),
    ("zipf", "skew of the queues' shares, 0 for equal ones"),
    (
        "groups",
        "consumer groups, each of which gets every message",
    ),
    ("consumer-connections", "connections of each group"),
    ("pull-batch", "most messages of one pull"),
    ("delay-level", "delay level of each message, 0 for none"),
    (
        "backlog-mb",
        "bodies that are stored before the measurement, in MB",
    ),
    (
        "drop-caches",
        "whether the machine's page cache is dropped before the backlog is read",
    ),
    (
        "kill",
        "whether the broker is killed (kill -9) rather than stopped (restart)",
    ),
    (
        "stop-consumer",
        "seconds for which one consumer connection reads nothing, in the middle",
    ),
    (
        "memory-mb",
        "memory limit of the broker's cgroup in MB, 0 for none",
    ),
    ("seconds", "seconds that count"),
    ("warm-up", "least seconds before anything counts"),
    ("warm-up-max", "most seconds to wait for a steady rate"),
    ("steady-seconds", "how many seconds in a row must be alike"),
    (
        "counter-seconds",
        "seconds of load after the measurement in which system calls are counted",
    ),
    (
        "syscalls-max",
        "system calls for each message above which the cell fails, 0 for any",
    ),
    (
        "switches-max",
        "changes of thread for each message above which the cell fails, 0 for any",
    ),
    (
        "profile",
        "file for samples of the broker by perf, taken in place of the counting",
    ),
    ("timeout-ms", "how long a send may stay unanswered"),
    (
        "limit-us",
        "p99.9 that a rate must keep to lie below the knee",
    ),
    ("poll", "auto, spin or block: how the generator waits"),
    (
        "verify",
        "read or acks: whether stored messages are read back after the run",
    ),
    (
        "read-back-mb",
        "how many MB of bodies are read back at most",
    ),
    (
        "store-mb",
        "most MB of RingMQ's log; the oldest messages go above it",
    ),
    ("repeats", "how often each cell is run"),
];

impl Params {
    /// Sets one key.
    ///
    /// # Errors
    /// An unknown key, with the nearest ones, or a value that is none.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.set_inner(key, value)
            .with_context(|| format!("{key} = {value}"))
    }

    fn set_inner(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "kind" => {
                self.kind = word(
                    value,
                    &[
                        ("load", Kind::Load),
                        ("catch-up", Kind::CatchUp),
                        ("restart", Kind::Restart),
                    ],
                )?;
            }
            "topics" => self.topics = at_least_one(value)?,
            "queues" => self.queues = at_least_one(value)?,
            "size" => self.sizes = sizes(value)?,
            "batch" => self.batch = at_least_one(value)?,
            "codec" => {
                self.codec = word(value, &[("binary", Codec::Binary), ("json", Codec::Json)])?;
            }
            "flush" => self.flush = word(value, &[("async", Flush::Async), ("sync", Flush::Sync)])?,
            "mode" => self.mode = word(value, MODES)?,
            "connections" => self.connections = list(value, at_least_one)?,
            "in-flight" => self.in_flight = list(value, at_least_one)?,
            "rate" => self.rates = list(value, rate)?,
            "zipf" => self.zipf = number(value)?,
            "groups" => self.groups = number(value)?,
            "consumer-connections" => self.consumer_connections = at_least_one(value)?,
            "pull-batch" => self.pull_batch = at_least_one(value)?,
            "delay-level" => self.delay_level = number(value)?,
            "poll" => {
                self.poll = word(
                    value,
                    &[
                        ("auto", Poll::Auto),
                        ("spin", Poll::Spin),
                        ("block", Poll::Block),
                    ],
                )?;
            }
            "verify" => {
                self.verify = word(value, &[("read", Verify::Read), ("acks", Verify::Acks)])?;
            }
            _ => return self.set_rest(key, value),
        }
        Ok(())
    }

    fn set_rest(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "backlog-mb" => self.backlog_mb = number(value)?,
            "drop-caches" => self.drop_caches = yes_or_no(value)?,
            "kill" => self.kill = yes_or_no(value)?,
            "stop-consumer" => self.stop_consumer_seconds = number(value)?,
            "memory-mb" => self.memory_mb = number(value)?,
            "seconds" => self.seconds = at_least_one(value)?,
            "warm-up" => self.warm_up_seconds = number(value)?,
            "warm-up-max" => self.warm_up_max_seconds = number(value)?,
            "steady-seconds" => self.steady_seconds = at_least_one(value)?,
            "counter-seconds" => self.counter_seconds = number(value)?,
            "syscalls-max" => self.syscalls_max = number(value)?,
            "switches-max" => self.switches_max = number(value)?,
            "profile" => self.profile = Some(value.into()),
            "timeout-ms" => self.timeout_ms = at_least_one(value)?,
            "limit-us" => self.limit_us = at_least_one(value)?,
            "read-back-mb" => self.read_back_mb = number(value)?,
            "store-mb" => self.store_mb = number(value)?,
            "repeats" => self.repeats = at_least_one(value)?,
            _ => {
                let names = KEYS.iter().map(|(name, _)| *name);
                bail!("there is no such key; {}", nearest::hint(key, names))
            }
        }
        Ok(())
    }
}

const MODES: &[(&str, Mode)] = &[
    ("closed", Mode::Closed),
    ("constant", Mode::Constant),
    ("poisson", Mode::Poisson),
    ("sweep", Mode::Sweep),
];

fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T> {
    let found = words.iter().find(|(name, _)| *name == value);
    found.map(|(_, value)| *value).with_context(|| {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        format!("one of {} is wanted", names.join(", "))
    })
}

fn number<T: FromStr>(value: &str) -> Result<T> {
    let plain = value.replace('_', "");
    plain.parse().ok().context("a number is wanted")
}

fn at_least_one<T: FromStr + PartialOrd + From<u8> + Display>(value: &str) -> Result<T> {
    let number: T = number(value)?;
    ensure!(number >= T::from(1), "at least 1 is wanted");
    Ok(number)
}

fn yes_or_no(value: &str) -> Result<bool> {
    word(value, &[("yes", true), ("no", false)])
}

fn list<T>(value: &str, one: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    value.split(',').map(|item| one(item.trim())).collect()
}

fn rate(value: &str) -> Result<Rate> {
    match value.strip_suffix('%') {
        Some(share) => Ok(Rate::OfKnee(number::<f64>(share)? / 100.0)),
        None => Ok(Rate::PerSecond(number(value)?)),
    }
}

fn sizes(value: &str) -> Result<Vec<(usize, u32)>> {
    let sizes = list(value, |item| {
        let (size, weight) = item.split_once(':').unwrap_or((item, "1"));
        Ok((number(size)?, at_least_one(weight)?))
    })?;
    for (size, _) in &sizes {
        let range = super::SIZE_MIN..=super::SIZE_MAX;
        ensure!(
            range.contains(size),
            "a body has {} to {} bytes: number, time and checksum are in it",
            super::SIZE_MIN,
            super::SIZE_MAX
        );
    }
    Ok(sizes)
}
