//! Counts and rates of one shard: what went in, what went out, how fast.
//!
//! Owned by the shard. Sends cost nothing here, since the log counts them; a pull adds to its
//! group's count. Everything else happens when [`keep_sampling`] looks, once a second. What must always hold:
//! rates of several shards may be added, so each shard answers with numbers and the caller of
//! all sums them up. Answers to Java's `StoreStatsService`, `BrokerStats` and
//! `BrokerStatsManager`.

mod item;
mod sampler;
mod window;

pub(crate) use item::{ItemView, Rate};
pub(crate) use sampler::keep_sampling;

use base::HashMap;
use item::{Count, Item};
use std::cell::{Cell, RefCell};
use window::Window;

/// Most keys of a kind with rates of their own per shard; what comes later is counted in the totals only.
const ITEMS_MAX: usize = 20_000;

/// A key that has not moved for this long is forgotten, in milliseconds.
const ITEM_IDLE_MS: i64 = 2 * 3_600_000;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// What a rate is about, by the names that tools ask for. Source: Java `Stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Messages stored, by topic.
    TopicPutNums,
    /// Messages handed out, by `topic@group`.
    GroupGetNums,
    /// Bytes handed out, by `topic@group`.
    GroupGetSize,
    /// Messages sent back for another try, by `topic@group`.
    SendBackPutNums,
}

impl Kind {
    const COUNT: usize = 4;

    /// The kind of a name on the wire.
    pub(crate) fn from_wire(name: &str) -> Option<Self> {
        Some(match name {
            "TOPIC_PUT_NUMS" => Self::TopicPutNums,
            "GROUP_GET_NUMS" => Self::GroupGetNums,
            "GROUP_GET_SIZE" => Self::GroupGetSize,
            "SNDBCK_PUT_NUMS" => Self::SendBackPutNums,
            _ => return None,
        })
    }
}

/// Totals since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages stored.
    pub(crate) put: u64,
    /// Their bytes in the log.
    pub(crate) put_bytes: u64,
    /// Messages that could not be stored.
    pub(crate) put_failed: u64,
    /// Messages handed out.
    pub(crate) get: u64,
    /// Pulls that found messages.
    pub(crate) get_found: u64,
    /// Pulls that found none.
    pub(crate) get_missed: u64,
}

/// Of these, what the log counts itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogTotals {
    /// Messages stored.
    pub(crate) put: u64,
    /// Their bytes.
    pub(crate) put_bytes: u64,
    /// Messages that could not be stored.
    pub(crate) put_failed: u64,
    /// Messages handed out.
    pub(crate) get: u64,
}

impl Totals {
    /// The totals of two shards together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            put: self.put + other.put,
            put_bytes: self.put_bytes + other.put_bytes,
            put_failed: self.put_failed + other.put_failed,
            get: self.get + other.get,
            get_found: self.get_found + other.get_found,
            get_missed: self.get_missed + other.get_missed,
        }
    }
}

/// Messages in and out at the last two midnights (UTC) that this process has seen, 0 before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mornings {
    /// At the beginning of yesterday.
    pub(crate) yesterday: Totals,
    /// At the beginning of today.
    pub(crate) today: Totals,
}

/// Rates per second over the last 10, 60 and 600 seconds.
pub(crate) type Rates = [f64; 3];

/// What one shard tells about itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Report {
    /// Since the start.
    pub(crate) totals: Totals,
    /// At midnights.
    pub(crate) mornings: Mornings,
    /// Messages stored.
    pub(crate) put: Rates,
    /// Messages handed out.
    pub(crate) get: Rates,
    /// Pulls that found messages.
    pub(crate) found: Rates,
    /// Pulls that found none.
    pub(crate) missed: Rates,
}

impl Report {
    /// The report of two shards together.
    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = |a: Rates, b: Rates| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
        Self {
            totals: self.totals.plus(other.totals),
            mornings: Mornings {
                yesterday: self.mornings.yesterday.plus(other.mornings.yesterday),
                today: self.mornings.today.plus(other.mornings.today),
            },
            put: sum(self.put, other.put),
            get: sum(self.get, other.get),
            found: sum(self.found, other.found),
            missed: sum(self.missed, other.missed),
        }
    }
}

/// See the module comment.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    totals: Cell<Totals>,
    window: RefCell<Window>,
    mornings: Cell<Mornings>,
    day: Cell<Option<i64>>,
    /// By kind, then by key.
    items: RefCell<[HashMap<Box<str>, Item>; Kind::COUNT]>,
}

impl Stats {
    /// Counts a pull that found messages; `key` is that of [`topic_at_group`].
    pub(crate) fn pulled(&self, key: &str, messages: u64, bytes: u64) {
        let mut totals = self.totals.get();
        totals.get_found += 1;
        self.totals.set(totals);
        self.add(Kind::GroupGetNums, key, messages);
        self.add(Kind::GroupGetSize, key, bytes);
    }

    /// Counts a pull that found nothing.
    pub(crate) fn missed(&self) {
        let mut totals = self.totals.get();
        totals.get_missed += 1;
        self.totals.set(totals);
    }

    /// Counts a message that a consumer sent back.
    pub(crate) fn sent_back(&self, topic: &str, group: &str) {
        self.add(Kind::SendBackPutNums, &topic_at_group(topic, group), 1);
    }

    /// Adds to a key's count.
    fn add(&self, kind: Kind, key: &str, count: u64) {
        self.with_item(kind, key, |item| item.add(count));
    }

    /// Sets a key's count, for what is counted elsewhere, as messages per topic are in the log.
    fn set_total(&self, kind: Kind, key: &str, count: Count, now_ms: i64) {
        self.with_item(kind, key, |item| item.set_total(count, now_ms));
    }

    /// Takes a sample; to be called about once a second with what the log has counted.
    pub(crate) fn sample(&self, now_ms: i64, log: LogTotals) {
        let totals = Totals {
            put: log.put,
            put_bytes: log.put_bytes,
            put_failed: log.put_failed,
            get: log.get,
            ..self.totals.get()
        };
        self.totals.set(totals);
        self.window.borrow_mut().push(now_ms, totals);
        let day = now_ms.div_euclid(DAY_MS);
        if self.day.replace(Some(day)).is_some_and(|last| last != day) {
            self.mornings.set(Mornings {
                yesterday: self.mornings.get().today,
                today: totals,
            });
        }
        let is_used = |item: &mut Item| {
            item.sample(now_ms);
            item.idle_ms(now_ms) < ITEM_IDLE_MS
        };
        for items in &mut *self.items.borrow_mut() {
            items.retain(|_, item| is_used(item));
        }
    }

    /// What this shard tells about itself.
    pub(crate) fn report(&self) -> Report {
        let window = self.window.borrow();
        Report {
            totals: self.totals.get(),
            mornings: self.mornings.get(),
            put: window.rates(|totals| totals.put),
            get: window.rates(|totals| totals.get),
            found: window.rates(|totals| totals.get_found),
            missed: window.rates(|totals| totals.get_missed),
        }
    }

    /// The rates of one key; `None` when it has none here.
    pub(crate) fn item(&self, kind: Kind, key: &str) -> Option<ItemView> {
        let items = self.items.borrow();
        items[kind as usize].get(key).map(Item::view)
    }

    fn with_item(&self, kind: Kind, key: &str, change: impl FnOnce(&mut Item)) {
        let items = &mut self.items.borrow_mut()[kind as usize];
        if let Some(item) = items.get_mut(key) {
            change(item);
        } else if items.len() < ITEMS_MAX {
            change(items.entry(Box::from(key)).or_default());
        }
    }
}

/// The key of a topic and a group. Source: Java `BrokerStatsManager.buildStatsKey`.
pub(crate) fn topic_at_group(topic: &str, group: &str) -> String {
    [topic, "@", group].concat()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these quotients are exact")]
mod tests {
    use super::*;

    #[test]
    fn totals_rates_and_mornings_follow_what_is_counted() {
        let stats = Stats::default();
        let start = DAY_MS * 20_000 - 30_000;
        let log = |second: u64| LogTotals {
            put: second * 5,
            put_bytes: second * 500,
            put_failed: 1,
            get: second * 3,
        };
        for second in 0..=60 {
            stats.sample(start + second * 1_000, log(second as u64));
            stats.pulled("T@g", 3, 300);
            stats.missed();
        }
        let report = stats.report();
        assert_eq!(report.totals.put, 300);
        assert_eq!(report.totals.put_bytes, 30_000);
        assert_eq!(report.totals.put_failed, 1);
        assert_eq!(report.totals.get, 180);
        assert_eq!(
            (report.totals.get_found, report.totals.get_missed),
            (61, 61)
        );
        assert_eq!(report.put, [5.0; 3]);
        assert_eq!(report.get, [3.0; 3]);
        assert_eq!(report.found, [1.0; 3]);
        assert_eq!(report.mornings.today.put, 150, "30 s of the day are over");
        assert_eq!(report.mornings.yesterday.put, 0);
        let both = report.plus(report);
        assert_eq!((both.totals.put, both.put[0]), (600, 10.0));
    }

    #[test]
    fn a_key_has_rates_until_it_has_been_idle_for_long() {
        let stats = Stats::default();
        stats.pulled("T@g", 3, 300);
        stats.sample(1_000, LogTotals::default());
        let count = Count {
            before: 7,
            total: 7,
        };
        stats.set_total(Kind::TopicPutNums, "T", count, 1_000);
        assert!(stats.item(Kind::GroupGetNums, "T@g").is_some());
        assert!(stats.item(Kind::GroupGetNums, "T@other").is_none());
        assert!(stats.item(Kind::TopicPutNums, "T").is_some());
        stats.sample(1_000 + ITEM_IDLE_MS, LogTotals::default());
        assert!(stats.item(Kind::GroupGetNums, "T@g").is_none());
    }
}
