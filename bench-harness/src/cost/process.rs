//! One process as /proc shows it: CPU time, memory, changes of thread, bytes written.
//!
//! Two samples and their difference make a cost. Linux counts CPU time in hundredths of a second, so
//! short windows are coarse. Invariant: what /proc does not tell is absent, not zero.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;

const TICKS_PER_SECOND: f64 = 100.0;

/// Totals of a process since its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) resident_peak_bytes: u64,
    pub(crate) threads: u64,
    pub(crate) switches_voluntary: u64,
    pub(crate) switches_forced: u64,
    /// Handed to the block layer; absent without permission.
    pub(crate) written_bytes: Option<u64>,
    pub(crate) read_bytes: Option<u64>,
}

impl Sample {
    /// # Errors
    /// The process is gone.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (user_seconds, system_seconds) = cpu_seconds(&read(pid, "stat")?)?;
        let status = read(pid, "status")?;
        let io = read(pid, "io").ok();
        let io_field = |name| io.as_deref().and_then(|io| field(io, name));
        let (mut voluntary, mut forced) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread may end meanwhile.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            voluntary += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
            forced += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
        }
        Ok(Self {
            user_seconds,
            system_seconds,
            resident_bytes: field(&status, "VmRSS").unwrap_or(0) * 1024,
            resident_peak_bytes: field(&status, "VmHWM").unwrap_or(0) * 1024,
            threads: field(&status, "Threads").unwrap_or(0),
            switches_voluntary: voluntary,
            switches_forced: forced,
            written_bytes: io_field("write_bytes"),
            read_bytes: io_field("read_bytes"),
        })
    }
}

/// What a broker spent in a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    /// Of one CPU, in percent: 100 is one whole CPU.
    pub(crate) cpu_percent: f64,
    pub(crate) user_us_per_message: f64,
    pub(crate) system_us_per_message: f64,
    pub(crate) resident_mib: f64,
    pub(crate) resident_peak_mib: f64,
    pub(crate) threads: u64,
    pub(crate) switches_per_message: f64,
    pub(crate) switches_per_second: f64,
    /// Bytes to the disk for each byte of a body.
    pub(crate) written_per_byte: Option<f64>,
    pub(crate) read_mb_per_second: Option<f64>,
}

impl Cost {
    /// The difference of two samples over a window with so many messages and bytes of bodies.
    pub(crate) fn between(
        first: &Sample,
        last: &Sample,
        seconds: f64,
        messages: f64,
        bytes: f64,
    ) -> Self {
        let messages = messages.max(1.0);
        let (user, system) = (
            last.user_seconds - first.user_seconds,
            last.system_seconds - first.system_seconds,
        );
        let all = |sample: &Sample| sample.switches_voluntary + sample.switches_forced;
        let switches = all(last).saturating_sub(all(first)) as f64;
        let grown =
            |first: Option<u64>, last: Option<u64>| Some(last?.saturating_sub(first?) as f64);
        Self {
            cpu_percent: (user + system) / seconds * 100.0,
            user_us_per_message: user * 1e6 / messages,
            system_us_per_message: system * 1e6 / messages,
            resident_mib: last.resident_bytes as f64 / MIB,
            resident_peak_mib: last.resident_peak_bytes as f64 / MIB,
            threads: last.threads,
            switches_per_message: switches / messages,
            switches_per_second: switches / seconds,
            written_per_byte: grown(first.written_bytes, last.written_bytes)
                .filter(|_| bytes > 0.0)
                .map(|written| written / bytes),
            read_mb_per_second: grown(first.read_bytes, last.read_bytes)
                .map(|read| read / 1e6 / seconds),
        }
    }

    pub(crate) fn cpu_us_per_message(&self) -> f64 {
        self.user_us_per_message + self.system_us_per_message
    }
}

const MIB: f64 = 1_048_576.0;

/// User and system seconds in a `stat` line.
pub(crate) fn cpu_seconds(stat: &str) -> Result<(f64, f64)> {
    // The name may hold blanks and brackets; what follows it begins with field 3.
    let (_, fields) = stat.rsplit_once(')').context("stat")?;
    let seconds = |index: usize| -> Result<f64> {
        let text = fields.split_whitespace().nth(index).context("stat field")?;
        Ok(text.parse::<f64>()? / TICKS_PER_SECOND)
    };
    // utime and stime are fields 14 and 15.
    Ok((seconds(11)?, seconds(12)?))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}: the process is gone"))
}

/// The number after `name:`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat).unwrap(), (1.5, 0.25));
        assert!(cpu_seconds("7 (a").is_err());
    }

    #[test]
    fn this_process_has_a_sample_and_a_cost_is_a_difference() {
        let first = Sample::of(std::process::id()).unwrap();
        assert!(first.resident_bytes > 0 && first.threads > 0);
        let last = Sample {
            user_seconds: first.user_seconds + 2.0,
            system_seconds: first.system_seconds + 1.0,
            switches_voluntary: first.switches_voluntary + 500,
            written_bytes: Some(3_000_000),
            ..first
        };
        let first = Sample {
            written_bytes: Some(1_000_000),
            ..first
        };
        let cost = Cost::between(&first, &last, 10.0, 1_000_000.0, 1_000_000.0);
        assert!((cost.user_us_per_message - 2.0).abs() < 1e-9);
        assert!((cost.cpu_us_per_message() - 3.0).abs() < 1e-9);
        assert!((cost.cpu_percent - 30.0).abs() < 1e-9);
        assert!((cost.switches_per_message - 0.0005).abs() < 1e-12);
        assert!((cost.written_per_byte.unwrap() - 2.0).abs() < 1e-12);
        assert!(Sample::of(u32::MAX).is_err());
    }
}
