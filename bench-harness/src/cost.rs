//! What the load costs the broker: CPU time and memory of its process, read from /proc.
//!
//! Measured over the counted seconds only. Linux counts CPU time in hundredths of a second, so
//! short runs are coarse.

use crate::connection::{Clock, now};
use anyhow::{Context, Result};

/// CPU seconds in the counted time, and memory at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) resident_bytes: u64,
}

/// Watches one process.
#[derive(Debug)]
pub(crate) struct Meter {
    pid: u32,
    clock: Clock,
}

const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

impl Meter {
    pub(crate) fn over(pid: Option<u32>, clock: Clock) -> Option<Self> {
        pid.map(|pid| Self { pid, clock })
    }

    /// Sleeps through the run and reads the process at both ends of the counted time.
    pub(crate) fn measure(self) -> Result<Cost> {
        std::thread::sleep(self.clock.counts_from.saturating_duration_since(now()));
        let first = self.times()?;
        std::thread::sleep(self.clock.ends.saturating_duration_since(now()));
        let last = self.times()?;
        let statm = self.read("statm")?;
        let pages: u64 = statm.split(' ').nth(1).context("statm")?.parse()?;
        Ok(Cost {
            user_seconds: last.0 - first.0,
            system_seconds: last.1 - first.1,
            resident_bytes: pages * PAGE_BYTES,
        })
    }

    fn times(&self) -> Result<(f64, f64)> {
        let stat = self.read("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let field = |index: usize| -> Result<f64> {
            let text = fields.split_whitespace().nth(index).context("stat field")?;
            Ok(text.parse::<f64>()? / TICKS_PER_SECOND)
        };
        // utime and stime are fields 14 and 15; what follows the name begins with field 3.
        Ok((field(11)?, field(12)?))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| path)
    }
}
