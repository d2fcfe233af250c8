//! Medians of a few runs, with a 95 % interval, and whether two builds differ.
//!
//! The interval is the bootstrap's: medians of resamples of the runs, from a fixed seed. With five
//! runs or fewer it reaches from the lowest to the highest. Invariant: two sides whose intervals
//! overlap are never called different.

use crate::random::Random;
use serde::{Deserialize, Serialize};

/// The middle of some figures, and where it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) runs: usize,
}

const RESAMPLES: usize = 10_000;
const SEED: u64 = 95;

impl Interval {
    /// Of at least one figure.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        if figures.is_empty() {
            return None;
        }
        let mut random = Random::new(SEED);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let mut sample: Vec<f64> = (0..figures.len())
                    .map(|_| figures[random.below(figures.len())])
                    .collect();
                median(&mut sample)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Some(Self {
            median: median(&mut figures.to_vec()),
            low: medians[RESAMPLES / 40],
            high: medians[RESAMPLES - 1 - RESAMPLES / 40],
            runs: figures.len(),
        })
    }

    /// How the other side compares, as `other / self`.
    pub(crate) fn verdict(&self, other: &Self) -> Verdict {
        let ratio = other.median / self.median;
        let single = self.runs < 2 || other.runs < 2;
        if self.low <= other.high && other.low <= self.high {
            return Verdict {
                ratio,
                differs: false,
                single,
            };
        }
        Verdict {
            ratio,
            differs: true,
            single,
        }
    }
}

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) ratio: f64,
    pub(crate) differs: bool,
    /// One of the sides has one run only, so that nothing is known of its spread.
    pub(crate) single: bool,
}

impl Verdict {
    pub(crate) fn text(&self) -> String {
        let ratio = self.ratio;
        if !ratio.is_finite() {
            return "no ratio (one side is 0)".to_owned();
        }
        match (self.single, self.differs) {
            (true, _) => format!("x {ratio:.2} (one run each: no interval)"),
            (false, true) => format!("x {ratio:.2}"),
            (false, false) => format!("no difference (x {ratio:.2}, the intervals overlap)"),
        }
    }
}

/// The middle, or the mean of the two middles.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (lower, upper) = ((figures.len() - 1) / 2, figures.len() / 2);
    f64::midpoint(figures[lower], figures[upper])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        for (figures, expected) in [
            (&[3.0, 1.0, 2.0][..], 2.0),
            (&[4.0, 1.0, 2.0, 3.0], 2.5),
            (&[7.0], 7.0),
        ] {
            assert!((median(&mut figures.to_vec()) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn five_runs_give_an_interval_from_the_lowest_to_the_highest() {
        // The median of a resample is the lowest of five with a probability of 5.8 %: above 2.5 %.
        let interval = Interval::of(&[10.0, 12.0, 11.0, 9.0, 30.0]).unwrap();
        let expected = Interval {
            median: 11.0,
            low: 9.0,
            high: 30.0,
            runs: 5,
        };
        assert_eq!(interval, expected);
        assert_eq!(Interval::of(&[]), None);
    }

    #[test]
    fn eleven_runs_leave_their_ends_out() {
        let figures: Vec<f64> = (1..=11).map(f64::from).collect();
        let interval = Interval::of(&figures).unwrap();
        let expected = Interval {
            median: 6.0,
            low: 3.0,
            high: 9.0,
            runs: 11,
        };
        assert_eq!(interval, expected);
    }

    #[test]
    fn sides_whose_intervals_overlap_do_not_differ() {
        let side = |figures: &[f64]| Interval::of(figures).unwrap();
        let (slow, fast) = (side(&[100.0, 101.0, 102.0]), side(&[150.0, 151.0, 149.0]));
        let near = side(&[101.5, 103.0, 104.0]);
        let verdict = slow.verdict(&fast);
        assert!(verdict.differs && (verdict.ratio - 150.0 / 101.0).abs() < 1e-12);
        assert_eq!(verdict.text(), "x 1.49");
        assert_eq!(
            slow.verdict(&near).text(),
            "no difference (x 1.02, the intervals overlap)"
        );
        let single = side(&[1.0]).verdict(&side(&[2.0]));
        assert_eq!(single.text(), "x 2.00 (one run each: no interval)");
        let idle = side(&[0.0]).verdict(&side(&[2.0]));
        assert_eq!(idle.text(), "no ratio (one side is 0)");
    }
}
