//! Random numbers from a seed: send times, queues, and the resampling of statistics.
//!
//! `SplitMix64`. Invariant: the same seed gives the same numbers, so that two brokers get the same
//! schedule.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A distance between events that have a mean of 1 and no memory.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Draws from weighted choices.
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    /// The sum of the shares up to each choice, the last is 1.
    cumulative: Vec<f64>,
}

impl Weighted {
    /// The k-th of `count` has a share of 1 / k^skew.
    pub(crate) fn zipf(count: usize, skew: f64) -> Self {
        Self::new((1..=count).map(|k| 1.0 / (k as f64).powf(skew)))
    }

    pub(crate) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Self { cumulative }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit();
        let index = self.cumulative.partition_point(|share| *share <= at);
        index.min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_their_weights() {
        let (mut random, weighted) = (Random::new(1), Weighted::zipf(2, 1.0));
        let first = (0..30_000)
            .filter(|_| weighted.draw(&mut random) == 0)
            .count();
        assert!(
            (19_500..20_500).contains(&first),
            "two thirds of 30,000: {first}"
        );
        let mean = (0..20_000).map(|_| random.exponential()).sum::<f64>() / 20_000.0;
        assert!((0.97..1.03).contains(&mean), "{mean}");
        assert!((0..1000).all(|_| random.below(3) < 3));
    }
}
