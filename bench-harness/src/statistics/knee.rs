//! The knee of a latency curve: the highest rate that is served within a limit.
//!
//! Invariant: a rate counts only when every lower one of the sweep does, when it was really served,
//! and when nothing was refused.

use serde::{Deserialize, Serialize};

/// One rate of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    /// Messages a second that were due.
    pub(crate) offered: f64,
    /// Messages a second that were acknowledged.
    pub(crate) served: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) errors: u64,
}

/// Shares of the closed loop's rate, in rising order.
pub(crate) const SHARES: &[f64] = &[0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1];
pub(crate) const SHARES_SHORT: &[f64] = &[0.2, 0.5, 0.8, 1.1];
/// What must be served of what was due: less, and a backlog grows.
const SERVED_MIN: f64 = 0.98;

/// The offered rate of the last step before the first that fails, if any holds.
pub(crate) fn knee(steps: &[Step], limit_us: f64) -> Option<f64> {
    let holds = |step: &&Step| {
        step.errors == 0 && step.p999_us <= limit_us && step.served >= SERVED_MIN * step.offered
    };
    steps
        .iter()
        .take_while(holds)
        .last()
        .map(|step| step.offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(offered: f64, served: f64, p999_us: f64) -> Step {
        Step {
            offered,
            served,
            p50_us: 1.0,
            p99_us: 2.0,
            p999_us,
            errors: 0,
        }
    }

    #[test]
    fn the_knee_is_the_last_rate_before_the_first_that_fails() {
        let mut steps = vec![
            step(100.0, 100.0, 50.0),
            step(200.0, 197.0, 90.0),
            step(300.0, 300.0, 2000.0),
            step(400.0, 400.0, 80.0),
        ];
        assert_eq!(knee(&steps, 1000.0), Some(200.0));
        assert_eq!(knee(&steps, 5000.0), Some(400.0));
        assert_eq!(knee(&steps, 10.0), None);
        steps[1].served = 195.0;
        assert_eq!(knee(&steps, 5000.0), Some(100.0), "a backlog grew");
        steps[0].errors = 1;
        assert_eq!(knee(&steps, 5000.0), None, "something was refused");
        assert_eq!(knee(&[], 1.0), None);
    }
}
