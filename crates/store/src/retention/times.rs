//! When the log left each segment, on the clock of the store.
//!
//! Owned by the retention task, carried by checkpoints. A segment that no checkpoint tells of is as
//! old as the first block of the segment after it says, and never older than its predecessor.
//! Invariant: a segment whose time is not known is young.

use super::StoreClock;
use std::collections::BTreeMap;

/// A segment that takes no more blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times {
    clock: StoreClock,
    /// By the start of the segment.
    left_ms: BTreeMap<u64, i64>,
}

const VERSION: u8 = 1;

impl Times {
    pub(crate) fn new(clock: StoreClock) -> Self {
        Self {
            clock,
            left_ms: BTreeMap::new(),
        }
    }

    /// The log left a segment at this time, which is not after the clock's.
    pub(crate) fn insert(&mut self, start: u64, left_ms: i64) {
        let before = self.left_ms.range(..start).next_back();
        let least = before.map_or(left_ms, |(_, before)| left_ms.max(*before));
        let time = least.min(self.clock.now_ms());
        self.left_ms.entry(start).or_insert(time);
    }

    /// Whether it is known when the log left a segment.
    pub(crate) fn knows(&self, start: u64) -> bool {
        self.left_ms.contains_key(&start)
    }

    /// Moves the clock on and notes the segments that were left since.
    pub(crate) fn note(&mut self, wall_ms: i64, monotonic_us: u64, ended: &[Ended]) {
        let now_ms = self.clock.tick(wall_ms, monotonic_us);
        for segment in ended {
            self.left_ms.entry(segment.start).or_insert(now_ms);
        }
        let first = ended.first().map_or(u64::MAX, |first| first.start);
        while self
            .left_ms
            .first_key_value()
            .is_some_and(|(start, _)| *start < first)
        {
            self.left_ms.pop_first();
        }
    }

    /// Whether the log left the segment longer ago than that.
    pub(crate) fn is_older(&self, start: u64, age_ms: i64) -> bool {
        let left = self.left_ms.get(&start);
        left.is_some_and(|left| self.clock.now_ms().saturating_sub(*left) >= age_ms)
    }

    /// For a checkpoint. Little-endian: version (1), clock (8), then start and time (8, 8) of each.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.clock.now_ms().to_le_bytes());
        for (start, left_ms) in &self.left_ms {
            bytes.extend(start.to_le_bytes());
            bytes.extend(left_ms.to_le_bytes());
        }
        bytes
    }

    /// Reads what a checkpoint carries; `None` when it is of another version.
    pub(crate) fn decode(bytes: &[u8], monotonic_us: u64) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        (head[0] == VERSION).then_some(())?;
        let word = |bytes: &[u8]| crate::block::u64_at(bytes, 0);
        let mut times = Self::new(StoreClock::new(
            word(&head[1..]).cast_signed(),
            monotonic_us,
        ));
        let (rows, rest) = rest.as_chunks::<16>();
        rest.is_empty().then_some(())?;
        for row in rows {
            times.insert(word(row), word(&row[8..]).cast_signed());
        }
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(numbers: &[u64]) -> Vec<Ended> {
        let one = |n: &u64| Ended {
            start: n * 100,
            end: n * 100 + 100,
        };
        numbers.iter().map(one).collect()
    }

    #[test]
    fn a_segment_is_as_old_as_the_time_since_it_was_left() {
        let mut times = Times::new(StoreClock::new(1_000, 0));
        times.note(1_000, 0, &ended(&[0]));
        times.note(6_000, 5_000_000, &ended(&[0, 1]));
        assert!(times.is_older(0, 5_000) && !times.is_older(0, 5_001));
        assert!(times.is_older(100, 0) && !times.is_older(100, 1));
        assert!(!times.is_older(200, 0), "not known is young");
        times.note(7_000, 6_000_000, &ended(&[1]));
        assert!(!times.is_older(0, 0), "it is gone");
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_no_segment_old() {
        const YEAR_MS: i64 = 365 * 24 * 3_600_000;
        let mut times = Times::new(StoreClock::new(0, 0));
        times.note(0, 0, &ended(&[0]));
        times.note(YEAR_MS, 1_000_000, &ended(&[0, 1]));
        assert!(!times.is_older(0, 2_001) && !times.is_older(100, 1));
        // And back again.
        times.note(2_000, 2_000_000, &ended(&[0, 1]));
        assert!(!times.is_older(0, 3_001) && !times.is_older(100, 1_001));
    }

    #[test]
    fn times_read_back_and_damaged_ones_do_not() {
        let mut times = Times::new(StoreClock::new(9_000, 0));
        times.insert(0, 100);
        times.insert(100, 50);
        times.insert(200, 1 << 50);
        assert!(times.is_older(100, 8_900), "not older than its predecessor");
        assert!(times.is_older(200, 0) && !times.is_older(200, 1));
        let bytes = times.encode();
        assert_eq!(Times::decode(&bytes, 0), Some(times));
        for len in 0..bytes.len() {
            let whole = len >= 9 && (len - 9) % 16 == 0;
            assert_eq!(
                Times::decode(&bytes[..len], 0).is_some(),
                whole,
                "cut at {len}"
            );
        }
        assert_eq!(Times::decode(&[2; 9], 0), None);
    }
}
