//! Totals of the last ten minutes, one sample a second, and the rates they give.
//!
//! Owned by [`super::Stats`]. What must always hold: samples are in order of time and at most
//! [`SAMPLES_MAX`]. Answers to the snapshot lists of Java's `StoreStatsService`.

use super::{Rates, Totals};
use std::collections::VecDeque;

/// The spans that rates are told over, in seconds.
const SPANS_S: [usize; 3] = [10, 60, 600];

/// Samples that are kept: the longest span and its beginning.
const SAMPLES_MAX: usize = SPANS_S[2] + 1;

/// See the module comment.
#[derive(Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<(i64, Totals)>,
}

impl Window {
    /// Adds a sample; one that is not later than the last is left out.
    pub(super) fn push(&mut self, now_ms: i64, totals: Totals) {
        if self.samples.back().is_some_and(|(last, _)| *last >= now_ms) {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now_ms, totals));
    }

    /// Rates over each span, or over what there is of it.
    pub(super) fn rates(&self, count: impl Fn(&Totals) -> u64) -> Rates {
        SPANS_S.map(|span| self.rate(span, &count))
    }

    fn rate(&self, span: usize, count: impl Fn(&Totals) -> u64) -> f64 {
        let first = self.samples.len().saturating_sub(span + 1);
        match (self.samples.get(first), self.samples.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                (count(after) - count(before)) as f64 * 1_000.0 / (to - from) as f64
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these quotients are exact")]
mod tests {
    use super::*;

    fn put(put: u64) -> Totals {
        Totals {
            put,
            ..Totals::default()
        }
    }

    #[test]
    fn each_span_sees_its_own_seconds_only() {
        let mut window = Window::default();
        assert_eq!(window.rates(|t| t.put), [0.0; 3]);
        for second in 0..=700 {
            let total = if second <= 690 {
                0
            } else {
                (second - 690) * 100
            };
            window.push(second as i64 * 1_000, put(total));
        }
        assert_eq!(window.samples.len(), SAMPLES_MAX);
        let [ten, sixty, six_hundred] = window.rates(|t| t.put);
        assert_eq!(ten, 100.0);
        assert!((sixty - 1_000.0 / 60.0).abs() < 1e-9);
        assert!((six_hundred - 1_000.0 / 600.0).abs() < 1e-9);
    }

    #[test]
    fn a_clock_that_jumps_back_adds_nothing() {
        let mut window = Window::default();
        window.push(5_000, put(1));
        window.push(4_000, put(9));
        window.push(6_000, put(11));
        assert_eq!(window.rates(|t| t.put), [10.0; 3]);
    }
}
