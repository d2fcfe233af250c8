//! When a warm-up is over: the last seconds are alike and have no trend.
//!
//! Alike: the standard deviation is below 5 % of the mean. No trend: Mann and Kendall's test does
//! not reject it at p = 0.05. Invariant: a rate that still climbs is not steady.

/// The most that the standard deviation may be of the mean.
const VARIATION_MAX: f64 = 0.05;
/// |z| of a two-sided test at p = 0.05.
const Z_MAX: f64 = 1.96;
/// Fewer figures than this say nothing of a trend.
const TREND_COUNT_MIN: usize = 4;

/// Whether the last `count` of these rates are steady.
pub(crate) fn is_steady(rates: &[f64], count: usize) -> bool {
    if rates.len() < count || count == 0 {
        return false;
    }
    let last = &rates[rates.len() - count..];
    variation(last) < VARIATION_MAX && (count < TREND_COUNT_MIN || trend(last).abs() < Z_MAX)
}

/// Standard deviation of a sample over its mean; of one figure 0.
pub(crate) fn variation(figures: &[f64]) -> f64 {
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    if figures.len() < 2 || mean == 0.0 {
        return 0.0;
    }
    let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt() / mean
}

/// Mann and Kendall's z: how many pairs rise rather than fall, in standard deviations.
pub(crate) fn trend(figures: &[f64]) -> f64 {
    let mut rises = 0.0;
    for (index, earlier) in figures.iter().enumerate() {
        for later in &figures[index + 1..] {
            rises += (later - earlier)
                .partial_cmp(&0.0)
                .map_or(0.0, |o| f64::from(o as i8));
        }
    }
    let n = figures.len() as f64;
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    if rises == 0.0 || deviation == 0.0 {
        return 0.0;
    }
    (rises - rises.signum()) / deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variation_and_trend_have_their_textbook_values() {
        assert!(
            (variation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) - 2.138_089_935 / 5.0).abs()
                < 1e-8
        );
        // Ten rising figures: S = 45, variance 125, z = 44 / sqrt(125).
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        assert!((trend(&rising) - 3.935_479_640).abs() < 1e-8);
        let falling: Vec<f64> = rising.iter().rev().copied().collect();
        assert!((trend(&falling) + 3.935_479_640).abs() < 1e-8);
        assert!(trend(&[1.0, 1.0, 1.0]).abs() < 1e-12);
    }

    #[test]
    fn a_climbing_a_jumping_and_a_short_row_are_not_steady() {
        let climbing: Vec<f64> = (0..10).map(|i| 1000.0 + 3.0 * f64::from(i)).collect();
        let jumping = [
            1000.0, 1200.0, 990.0, 1210.0, 1000.0, 1190.0, 1005.0, 1200.0,
        ];
        let even = [1000.0, 1004.0, 999.0, 1003.0, 1000.0, 998.0, 1002.0, 1001.0];
        assert!(!is_steady(&climbing, 10));
        assert!(!is_steady(&jumping, 8));
        assert!(!is_steady(&even, 9));
        assert!(is_steady(&even, 8));
        let warming = [&[100.0, 400.0, 800.0][..], &even].concat();
        assert!(is_steady(&warming, 8), "only the last seconds count");
    }
}
