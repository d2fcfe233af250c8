//! The count of one key, such as a topic, and its sums over the last minute, hour and day.
//!
//! Owned by [`super::Stats`]. Samples are taken every 10 s, 10 min and 1 h, as in Java, so that
//! the sums of tools mean the same. Answers to Java's `StatsItem`.

use std::collections::VecDeque;

/// How often each span is sampled, in milliseconds, and how many samples it keeps.
/// Source: Java `StatsItem.init` and `StatsItem.samplingInSeconds` to `samplingInHour`.
const SPANS: [(i64, usize); 3] = [(10_000, 7), (600_000, 7), (3_600_000, 25)];

/// A sum over a span.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rate {
    /// How much was counted.
    pub(crate) sum: u64,
    /// The same per second.
    pub(crate) tps: f64,
    /// How often something was counted.
    pub(crate) times: u64,
}

impl Rate {
    /// The sums of two shards together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
            tps: self.tps + other.tps,
            times: self.times + other.times,
        }
    }

    /// How much was counted at a time, on average.
    pub(crate) fn average(self) -> f64 {
        if self.times == 0 {
            return 0.0;
        }
        self.sum as f64 / self.times as f64
    }
}

/// Sums over the last minute, hour and day.
pub(crate) type ItemView = [Rate; 3];

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at_ms: i64,
    value: u64,
    times: u64,
}

/// A count that is kept elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    /// How much of it is not to be told, when the key is seen for the first time.
    pub(super) before: u64,
    /// All of it.
    pub(super) total: u64,
}

/// See the module comment.
#[derive(Debug, Default)]
pub(super) struct Item {
    value: u64,
    times: u64,
    /// Value at the last sample that saw it move, and when that was.
    moved: (u64, Option<i64>),
    spans: [VecDeque<Sample>; 3],
}

impl Item {
    /// Counts.
    pub(super) fn add(&mut self, count: u64) {
        self.value += count;
        self.times += 1;
    }

    /// Takes over a count that is kept elsewhere.
    pub(super) fn set_total(&mut self, count: Count, now_ms: i64) {
        if self.moved.1.is_none() {
            self.value = count.before;
            self.sample(now_ms);
        }
        if count.total > self.value {
            self.times += 1;
        }
        self.value = count.total;
    }

    /// Takes the samples that are due.
    pub(super) fn sample(&mut self, now_ms: i64) {
        if self.moved.1.is_none() || self.moved.0 != self.value {
            self.moved = (self.value, Some(now_ms));
        }
        let sample = Sample {
            at_ms: now_ms,
            value: self.value,
            times: self.times,
        };
        for (span, (every_ms, count)) in self.spans.iter_mut().zip(SPANS) {
            if span.is_empty() {
                // The first sample stands for the beginning, when nothing was counted.
                span.push_back(Sample {
                    value: if self.times == 0 { self.value } else { 0 },
                    times: 0,
                    ..sample
                });
            } else if span
                .back()
                .is_some_and(|last| now_ms - last.at_ms >= every_ms)
            {
                if span.len() == count {
                    span.pop_front();
                }
                span.push_back(sample);
            }
        }
    }

    /// How long the count has not moved, in milliseconds.
    pub(super) fn idle_ms(&self, now_ms: i64) -> i64 {
        self.moved.1.map_or(0, |at| now_ms - at)
    }

    /// The sums between the first and the last sample of each span.
    pub(super) fn view(&self) -> ItemView {
        [0, 1, 2].map(|index| sum_of(&self.spans[index]))
    }
}

fn sum_of(samples: &VecDeque<Sample>) -> Rate {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return Rate::default();
    };
    let sum = last.value.saturating_sub(first.value);
    let span_ms = last.at_ms - first.at_ms;
    Rate {
        sum,
        tps: if span_ms > 0 {
            sum as f64 * 1_000.0 / span_ms as f64
        } else {
            0.0
        },
        times: last.times - first.times,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minute_holds_the_last_sixty_seconds() {
        let mut item = Item::default();
        for second in 0..=120_i64 {
            item.sample(second * 1_000);
            if second < 110 {
                item.add(4);
                item.add(2);
            }
        }
        let [minute, hour, day] = item.view();
        assert_eq!((minute.sum, minute.times), (50 * 6, 100));
        assert_eq!((minute.tps, minute.average()), (5.0, 3.0));
        assert_eq!(
            (hour.sum, day.sum),
            (0, 0),
            "their next samples are not due"
        );
    }

    #[test]
    fn a_total_from_elsewhere_counts_from_when_it_was_first_seen() {
        let mut item = Item::default();
        let count = |total| Count {
            before: 1_000,
            total,
        };
        item.set_total(count(1_000), 0);
        for second in 1..=20_i64 {
            item.set_total(count(1_000 + second as u64 * 10), second * 1_000);
            item.sample(second * 1_000);
        }
        let [minute, ..] = item.view();
        assert_eq!((minute.sum, minute.tps), (200, 10.0));
    }
}
