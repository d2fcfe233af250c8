//! Histograms of times and what of them goes into a result.
//!
//! Nanoseconds, three significant digits, up to 60 s; longer times count as 60 s. Invariant: p99.99
//! is told only with a million samples or more, and nothing is averaged over percentiles.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The unit: with a larger one, times of a few microseconds would be coarse.
const LOWEST_NS: u64 = 1;
const HIGHEST_NS: u64 = 60_000_000_000;
/// Samples from which p99.99 means something.
const TAIL_SAMPLES_MIN: u64 = 1_000_000;

/// An empty histogram of a run.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3).expect("constant bounds are valid")
}

/// An empty, smaller one for a second of a run.
pub(crate) fn coarse_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 2).expect("constant bounds are valid")
}

/// Percentiles of a histogram, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Absent with too few samples.
    pub(crate) p9999_us: Option<f64>,
    pub(crate) max_us: f64,
    /// The curve for plots: share of the samples, from 0 to 1, and microseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Percentiles {
    /// Nothing of an empty histogram.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        let count = histogram.len();
        let curve = quantiles(count).map(|q| (q, at(q))).collect();
        Some(Self {
            count,
            mean_us: histogram.mean() / 1_000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: (count >= TAIL_SAMPLES_MIN).then(|| at(0.9999)),
            max_us: us(histogram.max()),
            curve,
        })
    }
}

/// Adds one histogram to another of the same bounds.
pub(crate) fn add(sum: &mut Histogram<u64>, part: &Histogram<u64>) -> Result<()> {
    Ok(sum.add(part)?)
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

/// Eight steps to each factor of ten nearer to 1, as far as the samples reach.
fn quantiles(count: u64) -> impl Iterator<Item = f64> {
    const STEPS_PER_DECADE: i32 = 8;
    let decades = (count.max(1) as f64).log10();
    let last = (decades * f64::from(STEPS_PER_DECADE)).floor() as i32;
    (0..=last).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / f64::from(STEPS_PER_DECADE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_row_are_exact_to_three_digits() {
        let mut histogram = histogram();
        for us in 1..=10_000_u64 {
            histogram.record(us * 1_000).unwrap();
        }
        let percentiles = Percentiles::of(&histogram).unwrap();
        let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.001;
        assert_eq!(percentiles.count, 10_000);
        assert!(near(percentiles.p50_us, 5_000.0), "{}", percentiles.p50_us);
        assert!(near(percentiles.p90_us, 9_000.0));
        assert!(near(percentiles.p99_us, 9_900.0));
        assert!(near(percentiles.p999_us, 9_990.0));
        assert!(near(percentiles.max_us, 10_000.0));
        assert!(near(percentiles.mean_us, 5_000.5));
        assert_eq!(percentiles.p9999_us, None, "10,000 samples are too few");
        assert!(
            percentiles
                .curve
                .windows(2)
                .all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1)
        );
        assert!((percentiles.curve.last().unwrap().0 - 0.9999).abs() < 1e-12);
    }

    #[test]
    fn a_million_samples_have_a_p99_99_and_none_have_nothing() {
        let mut histogram = histogram();
        histogram.record_n(50_000, 999_800).unwrap();
        histogram.record_n(70_000_000, 200).unwrap();
        let percentiles = Percentiles::of(&histogram).unwrap();
        assert!((percentiles.p9999_us.unwrap() / 70_000.0 - 1.0).abs() < 0.001);
        assert!((percentiles.p999_us / 50.0 - 1.0).abs() < 0.001);
        histogram.reset();
        assert_eq!(Percentiles::of(&histogram), None);
    }

    #[test]
    fn what_lasts_longer_than_a_minute_counts_as_a_minute() {
        let mut histogram = histogram();
        histogram.saturating_record(3_600_000_000_000);
        let percentiles = Percentiles::of(&histogram).unwrap();
        assert!((percentiles.max_us / 60e6 - 1.0).abs() < 0.001);
    }
}
