//! When old segments go and when messages are refused: settings and the decision, without a disk.
//!
//! Owned by the retention task. Pure. Ratios are those of Java: used space counts what only root
//! may still write, as `df` does. Invariant: what refuses messages also asks for cleaning.
//! Answers to Java's `DefaultMessageStore.CleanCommitLogService`.

use rt::Space;
use std::path::PathBuf;

/// Settings of retention.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long a segment is kept after its last message, in milliseconds.
    pub reserved_ms: i64,
    /// Hours of the day in which expired segments go: bit n is the hour from n to n + 1.
    pub delete_hours: u32,
    /// The hour of the day at a time, 0 to 23, where the broker stands.
    pub hour_of_day: fn(i64) -> u32,
    /// Used share of the file system above which expired segments go at any hour, in percent.
    pub max_used_percent: u64,
    /// Used share above which the oldest segments go whatever their age, in percent.
    pub force_percent: u64,
    /// Used share above which messages are refused, in percent.
    pub warning_percent: u64,
    /// Whether segments may go before their time when `force_percent` is passed.
    pub forces: bool,
    /// Available bytes below which messages are refused; below twice as much the oldest segments
    /// go whatever their age.
    pub free_bytes_min: u64,
    /// Bytes of the whole store's log above which the oldest segments go whatever their age.
    pub store_bytes_max: u64,
    /// Pause between two looks at the disk, in milliseconds.
    pub check_interval_ms: u64,
    /// Pause between two segments that go, in milliseconds.
    pub delete_interval_ms: u64,
    /// Most segments that go after one look.
    pub batch_max: usize,
    /// How much a file is cut by at once before it is removed, in bytes.
    pub cut_bytes: u64,
}

impl Retention {
    /// Keeps everything and refuses nothing.
    pub fn off() -> Self {
        Self {
            reserved_ms: i64::MAX,
            delete_hours: 0,
            hour_of_day: utc_hour,
            max_used_percent: 100,
            force_percent: 100,
            warning_percent: 100,
            forces: false,
            free_bytes_min: 0,
            store_bytes_max: u64::MAX,
            check_interval_ms: 0,
            delete_interval_ms: 100,
            batch_max: 10,
            cut_bytes: 64 << 20,
        }
    }

    /// Whether there is anything to do regularly.
    pub(crate) fn is_on(&self) -> bool {
        self.check_interval_ms > 0
    }
}

impl Default for Retention {
    /// Java's defaults: 72 hours, at 4 o'clock, 75, 85 and 90 percent.
    fn default() -> Self {
        Self {
            reserved_ms: 72 * HOUR_MS,
            delete_hours: 1 << 4,
            max_used_percent: 75,
            force_percent: 85,
            warning_percent: 90,
            forces: true,
            free_bytes_min: 8 << 20,
            check_interval_ms: 1_000,
            ..Self::off()
        }
    }
}

/// What may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Nothing,
    /// Segments that are older than the reserved time.
    Expired,
    /// The oldest segments, whatever their age.
    Oldest,
}

/// Why messages are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The file system has no room for the next part of the log.
    Device {
        /// Bytes that the log asks for.
        needed: u64,
    },
    /// The process may open no further file, and the next part of the log is one.
    Files,
    /// More is used than `diskSpaceWarningLevelRatio` allows.
    UsedRatio {
        /// The limit, in percent.
        percent: u64,
    },
    /// Less is free than `minFreeBytes` asks for.
    FreeBytes {
        /// The limit, in bytes.
        free_min: u64,
    },
}

/// There is no space for messages: where, how much is used, and the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The log's directory.
    pub path: PathBuf,
    /// Bytes of the file system that are used.
    pub used: u64,
    /// Bytes that may still be written.
    pub available: u64,
    /// What was passed.
    pub limit: Limit,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            used,
            available,
            limit,
        } = self;
        let total = used + available;
        let path = path.display();
        let most = match limit {
            Limit::Files => {
                return write!(
                    f,
                    "too many open files: the log in {path} wants a new one; raise the limit of open files (ulimit -n, \
                     LimitNOFILE) or close connections"
                );
            }
            Limit::Device { needed } => {
                format!("{total} ({available} are left, the log asks for {needed})")
            }
            Limit::UsedRatio { percent } => {
                let most = u128::from(total) * u128::from(*percent) / 100;
                format!("{most} (diskSpaceWarningLevelRatio={percent})")
            }
            Limit::FreeBytes { free_min } => {
                let most = total.saturating_sub(*free_min);
                format!("{most} (minFreeBytes={free_min})")
            }
        };
        write!(
            f,
            "disk full: path {path}, used {used} of {total} bytes, limit {most}"
        )
    }
}

impl Retention {
    /// What may go. `log_bytes` is the shard's share of `log_bytes_max`.
    pub(crate) fn verdict(&self, space: Space, log_bytes: u64, shards: u16, due: bool) -> Verdict {
        let force = self.forces && exceeds(space, self.force_percent);
        let short = space.available < 2 * self.free_bytes_min;
        let share = self.store_bytes_max / u64::from(shards);
        if force || short || log_bytes > share {
            return Verdict::Oldest;
        }
        if due || exceeds(space, self.max_used_percent) {
            return Verdict::Expired;
        }
        Verdict::Nothing
    }

    /// Whether expired segments go at this time of the day.
    pub(crate) fn is_hour(&self, now_ms: i64) -> bool {
        self.delete_hours & (1 << (self.hour_of_day)(now_ms)) != 0
    }

    /// The limit that forbids messages now.
    pub(crate) fn limit(&self, space: Space) -> Option<Limit> {
        if space.available < self.free_bytes_min {
            let free_min = self.free_bytes_min;
            return Some(Limit::FreeBytes { free_min });
        }
        let percent = self.warning_percent;
        exceeds(space, percent).then_some(Limit::UsedRatio { percent })
    }
}

/// Bytes that are used.
pub(crate) fn used(space: Space) -> u64 {
    space.total.saturating_sub(space.free)
}

// Java UtilAll.getDiskPartitionSpaceUsedPercent: used / (used + usable).
fn exceeds(space: Space, percent: u64) -> bool {
    let used = u128::from(used(space));
    let all = used + u128::from(space.available);
    used * 100 > all * u128::from(percent)
}

const HOUR_MS: i64 = 3_600_000;

/// The hour of the day in UTC.
fn utc_hour(now_ms: i64) -> u32 {
    now_ms.div_euclid(HOUR_MS).rem_euclid(24) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(percent_used: u64) -> Space {
        Space {
            total: 1_000 << 20,
            free: (100 - percent_used) * (10 << 20),
            available: (100 - percent_used) * (10 << 20),
        }
    }

    #[test]
    fn expired_segments_go_in_the_hour_or_above_the_ratio_and_any_above_the_next_one() {
        let retention = Retention::default();
        for (percent, due, expected) in [
            (10, false, Verdict::Nothing),
            (75, false, Verdict::Nothing),
            (10, true, Verdict::Expired),
            (76, false, Verdict::Expired),
            (85, false, Verdict::Expired),
            (86, false, Verdict::Oldest),
            (99, false, Verdict::Oldest),
        ] {
            let verdict = retention.verdict(space(percent), 0, 2, due);
            assert_eq!(verdict, expected, "{percent}");
        }
        let gentle = Retention {
            forces: false,
            ..Retention::default()
        };
        assert_eq!(gentle.verdict(space(95), 0, 2, false), Verdict::Expired);
    }

    #[test]
    fn absolute_limits_count_whatever_the_ratio() {
        let retention = Retention {
            free_bytes_min: 300 << 20,
            store_bytes_max: 1_000,
            ..Retention::default()
        };
        assert_eq!(
            retention.verdict(space(50), 0, 2, false),
            Verdict::Oldest,
            "less than twice the minimum is free"
        );
        assert_eq!(retention.limit(space(50)), None);
        let free_min = 300 << 20;
        assert_eq!(
            retention.limit(space(71)),
            Some(Limit::FreeBytes { free_min })
        );
        assert_eq!(
            retention.verdict(space(10), 500, 2, false),
            Verdict::Nothing
        );
        assert_eq!(retention.verdict(space(10), 501, 2, false), Verdict::Oldest);
    }

    #[test]
    fn messages_are_refused_above_the_warning_ratio_in_words_with_path_used_and_limit() {
        let retention = Retention::default();
        assert_eq!(retention.limit(space(90)), None);
        let limit = retention.limit(space(91)).unwrap();
        let shortage = Shortage {
            path: PathBuf::from("/data/shard-000/commitlog"),
            used: 910,
            available: 90,
            limit,
        };
        assert_eq!(
            shortage.to_string(),
            "disk full: path /data/shard-000/commitlog, used 910 of 1000 bytes, \
             limit 900 (diskSpaceWarningLevelRatio=90)"
        );
    }

    #[test]
    fn the_hour_of_the_day_follows_the_time() {
        assert_eq!(utc_hour(0), 0);
        assert_eq!(utc_hour(-1), 23);
        assert_eq!(utc_hour(1_700_000_000_000), 22);
        let retention = Retention::default();
        assert!(retention.is_hour(4 * HOUR_MS) && !retention.is_hour(5 * HOUR_MS));
    }
}
