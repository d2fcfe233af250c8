//! The clock that says how old a segment is. It never runs ahead of what the store has lived.
//!
//! Owned by the retention task, kept in checkpoints. A wall clock that jumps a year ahead must not
//! make every segment old at once, and one that falls back must not make new segments look old. So
//! ages are counted on a clock of our own: it advances with the monotonic clock, never goes back,
//! and where it is behind the wall clock, because the broker was down or the wall clock was set, it
//! catches up at twice the pace. Invariant: in any hour that passes it moves two hours at most.

/// See the module. Times are in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreClock {
    now_ms: i64,
    ticked_us: u64,
}

impl StoreClock {
    /// A clock that stands at `now_ms` when the monotonic clock is at `monotonic_us`.
    pub(crate) fn new(now_ms: i64, monotonic_us: u64) -> Self {
        Self {
            now_ms,
            ticked_us: monotonic_us,
        }
    }

    /// Moves on and tells the time.
    pub(crate) fn tick(&mut self, wall_ms: i64, monotonic_us: u64) -> i64 {
        let passed_us = monotonic_us.saturating_sub(self.ticked_us);
        let passed_ms = i64::try_from(passed_us / 1_000).unwrap_or(i64::MAX / 4);
        self.ticked_us += passed_ms.unsigned_abs() * 1_000;
        self.now_ms = self.now_ms.saturating_add(passed_ms);
        let behind_ms = wall_ms.saturating_sub(self.now_ms).max(0);
        self.now_ms = self.now_ms.saturating_add(behind_ms.min(passed_ms));
        self.now_ms
    }

    /// The time of the last tick.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const HOUR_US: u64 = 3_600_000_000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

    #[test]
    fn it_goes_with_a_wall_clock_that_behaves() {
        let mut clock = StoreClock::new(1_000, 5_000);
        for second in 1..=100 {
            let wall = 1_000 + second * 1_000;
            assert_eq!(clock.tick(wall, 5_000 + second as u64 * 1_000_000), wall);
        }
    }

    #[test]
    fn a_year_ahead_costs_an_hour_per_hour() {
        let mut clock = StoreClock::new(0, 0);
        for hour in 1..=48 {
            let now = clock.tick(YEAR_MS + hour * HOUR_MS, hour as u64 * HOUR_US);
            assert_eq!(now, 2 * hour * HOUR_MS);
        }
    }

    #[test]
    fn a_year_back_does_not_stop_it() {
        let mut clock = StoreClock::new(YEAR_MS, 0);
        for hour in 1..=48 {
            let now = clock.tick(hour * HOUR_MS, hour as u64 * HOUR_US);
            assert_eq!(now, YEAR_MS + hour * HOUR_MS);
        }
        assert_eq!(
            clock.tick(2 * YEAR_MS, 49 * HOUR_US),
            YEAR_MS + 50 * HOUR_MS
        );
    }

    #[test]
    fn parts_of_a_millisecond_are_not_lost() {
        let mut clock = StoreClock::new(0, 0);
        for tick in 1..=10_000 {
            clock.tick(0, tick * 300);
        }
        assert_eq!(clock.now_ms(), 3_000);
    }
}
