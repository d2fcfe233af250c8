//! Randomness from a seed: xoshiro256++, seeded by splitmix64.
//!
//! One generator per subject (scheduling, disk, network, each shard's own), split off the world's
//! seed by name, so that a draw more in one subject does not shift the others.

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| splitmix(&mut state)))
    }

    /// A generator of its own for a subject.
    pub fn for_subject(seed: u64, subject: &str) -> Self {
        let mixed = subject.bytes().fold(seed ^ 0x51_7c_c1_b7, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self::new(mixed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0]
            .wrapping_add(state[3])
            .rotate_left(23)
            .wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    ///
    /// # Panics
    /// When `low` is above `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high);
        low + self.below(high - low + 1)
    }

    /// True once in `times` draws on average; never when `times` is 0.
    pub fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    /// A coin.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.index(choices.len());
        &choices[index]
    }

    /// From `low` to `high`, each power of two as likely as the next: small numbers are common
    /// and large ones happen.
    ///
    /// # Panics
    /// When `low` is 0 or above `high`.
    pub fn skewed(&mut self, low: u64, high: u64) -> u64 {
        assert!(0 < low && low <= high);
        let doublings = (high / low).ilog2() + 1;
        let top = low << self.below(u64::from(doublings) + 1);
        self.between(low, top.clamp(low, high))
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_another_gives_others() {
        let draw = |seed| {
            std::array::from_fn::<u64, 4, _>({
                let mut rng = Rng::new(seed);
                move |_| rng.next_u64()
            })
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn draws_stay_inside_their_bounds_and_reach_them() {
        let mut rng = Rng::new(1);
        let mut seen = [false; 5];
        for _ in 0..1_000 {
            seen[rng.between(3, 7) as usize - 3] = true;
            assert!((10..=1_000).contains(&rng.skewed(10, 1_000)));
            assert!(rng.below(3) < 3);
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.below(0), 0);
    }
}
