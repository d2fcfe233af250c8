//! How long the steps of a start take, for the operator who waits for it.
//!
//! Owned by whoever opens a shard and handed down. Invariant: steps follow each other without a
//! gap, so their sum is the whole start.

use rt::Rt;
use std::fmt;
use std::time::Duration;

/// One step of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartStep {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Steps of a start, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartSteps(pub Vec<StartStep>);

impl StartSteps {
    /// How long all of them took.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|step| step.took).sum()
    }
}

impl fmt::Display for StartSteps {
    /// In milliseconds; steps below a tenth are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |step: &&StartStep| step.took >= Duration::from_micros(100);
        for (i, step) in self.0.iter().filter(shown).enumerate() {
            let before = if i == 0 { "" } else { ", " };
            let millis = step.took.as_secs_f64() * 1_000.0;
            write!(f, "{before}{} {millis:.1}", step.name)?;
        }
        Ok(())
    }
}

/// Divides time into steps.
pub struct Stopwatch {
    now_us: Box<dyn Fn() -> u64>,
    last_us: u64,
    steps: StartSteps,
}

impl fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(f)
    }
}

impl Stopwatch {
    /// The first step begins now.
    pub fn start<R: Rt>(rt: R) -> Self {
        let now_us = Box::new(move || rt.monotonic_us());
        Self {
            last_us: now_us(),
            now_us,
            steps: StartSteps::default(),
        }
    }

    /// A step ends here, and the next one begins.
    pub fn lap(&mut self, name: &'static str) {
        let now_us = (self.now_us)();
        let took = Duration::from_micros(now_us.saturating_sub(self.last_us));
        self.last_us = now_us;
        self.steps.0.push(StartStep { name, took });
    }

    /// The steps until now.
    pub fn into_steps(self) -> StartSteps {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_steps_leaves_out_what_took_no_time() {
        let step = |name, micros| StartStep {
            name,
            took: Duration::from_micros(micros),
        };
        let steps = StartSteps(vec![
            step("scan", 12_340),
            step("lock", 99),
            step("ring", 900),
        ]);
        assert_eq!(steps.to_string(), "scan 12.3, ring 0.9");
        assert_eq!(steps.total(), Duration::from_micros(13_339));
    }
}
