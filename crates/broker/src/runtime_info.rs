//! `GET_BROKER_RUNTIME_INFO` (28): the broker's figures as tools print them.
//!
//! The figures of all shards are gathered and added, then written as one table of strings by a
//! pure function. What must always hold: every key that Java's tools read is there and parses as
//! they expect, since `clusterList` prints nonsense for a missing number. Keys without a
//! counterpart here, such as the sizes of thread pools, are told as empty queues. Answers to
//! Java's `AdminBrokerProcessor.prepareRuntimeInfo` and `StoreStatsService`.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::reply::Refusal;
use crate::stats::{Rates, Report};
use crate::transaction;
use base::QueueId;
use remoting::ResponseCode;
use remoting::body::kv_table::KvTable;
use remoting::language::SERVER_VERSION;
use rt::{Disk, Rt};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

/// `GET_BROKER_RUNTIME_INFO` (28).
pub(crate) async fn runtime_info<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let figures = collect(services).await?;
    let table = table(&figures);
    Ok(Answer::json(&KvTable { table }))
}

/// What one shard contributes.
struct Part {
    report: Report,
    log: LogFigures,
    disk: DiskFigures,
    parked_pulls: usize,
    delay_levels: Vec<(u32, i64, i64)>,
    transactions: transaction::Figures,
}

async fn collect<R: Rt>(services: &Rc<Services<R>>) -> Result<Figures, Refusal> {
    let part = |services: Rc<Services<R>>| async move { part_of(&services).await };
    let parts = services
        .gather(part)
        .await
        .map_err(|error| Refusal::new(ResponseCode::SystemBusy, error.to_string()))?;
    let rt = &services.shard.rt;
    // A file system that does not tell its size is shown as empty.
    let space = rt.disk().space(&services.settings.store.dir).await.ok();
    let mut figures = Figures {
        report: Report::default(),
        log: LogFigures::default(),
        disks: Vec::new(),
        version_name: VERSION_NAME,
        version: SERVER_VERSION,
        boot_ms: services.boot_timestamp_ms,
        now_ms: rt.now_ms(),
        disk_total: space.map_or(0, |space| space.total),
        disk_available: space.map_or(0, |space| space.available),
        parked_pulls: 0,
        delay_levels: Vec::new(),
        transactions: transaction::Figures::default(),
    };
    let mut levels: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for part in parts {
        figures.report = figures.report.plus(part.report);
        figures.log = figures.log.plus(part.log);
        figures.disks.push(part.disk);
        figures.parked_pulls += part.parked_pulls;
        figures.transactions = figures.transactions.plus(part.transactions);
        for (level, next, end) in part.delay_levels {
            let sum = levels.entry(level).or_default();
            *sum = (sum.0 + next, sum.1 + end);
        }
    }
    let levels = levels.into_iter();
    figures.delay_levels = levels
        .map(|(level, (next, end))| (level, next, end))
        .collect();
    Ok(figures)
}

async fn part_of<R: Rt>(services: &Services<R>) -> Part {
    let shard = &services.shard;
    let stats = shard.store.stats();
    let levels = 1..=u32::try_from(services.settings.delay_levels_ms.len()).unwrap_or(0);
    let level = |level: u32| {
        let queue = shard
            .store
            .queue(crate::names::SCHEDULE_TOPIC, QueueId(level - 1))?;
        let end = shard.store.max_offset(queue).0;
        Some((level, shard.delay_progress(level), end))
    };
    Part {
        report: services.stats.report(),
        log: LogFigures {
            position_min: stats.start,
            position_max: stats.appended,
            unflushed: stats.appended.saturating_sub(stats.durable),
            earliest_ms: earliest_ms(services).await,
        },
        disk: DiskFigures {
            fenced: shard.store.fenced().map(|reason| reason.to_string()),
            is_stalled: shard.store.is_stalled(),
            damaged: stats.damaged,
            unsynced_bytes: stats.unsynced_bytes,
            unsynced_ms: stats.unsynced_ms,
            unsynced_bytes_max: stats.unsynced_bytes_max,
            unsynced_ms_max: stats.unsynced_ms_max,
        },
        parked_pulls: services.pull.parked_count(),
        delay_levels: levels.filter_map(level).collect(),
        transactions: transaction::figures(services),
    }
}

/// What one shard's log tells; those of several shards are added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogFigures {
    /// Bytes before the first that is kept.
    pub(crate) position_min: u64,
    /// Bytes up to the end.
    pub(crate) position_max: u64,
    /// Bytes that are written and not yet durable.
    pub(crate) unflushed: u64,
    /// When the oldest message was stored, in milliseconds since the epoch.
    pub(crate) earliest_ms: Option<i64>,
}

impl LogFigures {
    /// The figures of two shards together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            position_min: self.position_min + other.position_min,
            position_max: self.position_max + other.position_max,
            unflushed: self.unflushed + other.unflushed,
            earliest_ms: match (self.earliest_ms, other.earliest_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// How one shard's disk does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DiskFigures {
    /// Why the shard takes no more writes, when it does not.
    pub(crate) fenced: Option<String>,
    /// Whether the disk has not answered for long.
    pub(crate) is_stalled: bool,
    /// Damaged blocks, messages and pages that were met.
    pub(crate) damaged: u64,
    /// What a power cut would cost now: bytes of the log, and how long the oldest has waited, in
    /// milliseconds.
    pub(crate) unsynced_bytes: u64,
    pub(crate) unsynced_ms: u64,
    /// What the two are held to.
    pub(crate) unsynced_bytes_max: u64,
    pub(crate) unsynced_ms_max: u64,
}

/// Everything that the table is made of.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) report: Report,
    pub(crate) log: LogFigures,
    /// One per shard, in order.
    pub(crate) disks: Vec<DiskFigures>,
    /// Name of the version that clients are told, such as `V5_5_0`.
    pub(crate) version_name: &'static str,
    /// The same as a number.
    pub(crate) version: i32,
    pub(crate) boot_ms: i64,
    pub(crate) now_ms: i64,
    /// Size of the file system of the store, in bytes.
    pub(crate) disk_total: u64,
    /// What is free of it, in bytes.
    pub(crate) disk_available: u64,
    /// Pulls that wait for messages.
    pub(crate) parked_pulls: usize,
    /// Progress of delay levels: level, next offset, end of its queues.
    pub(crate) delay_levels: Vec<(u32, i64, i64)>,
    pub(crate) transactions: transaction::Figures,
}

/// The table, sorted by key.
pub(crate) fn table(figures: &Figures) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (key, value) in identity(figures)
        .into_iter()
        .chain(rates(figures))
        .chain(totals(figures))
        .chain(log(figures))
        .chain(transactions(&figures.transactions))
    {
        table.insert(key.to_owned(), value);
    }
    for key in ALWAYS_ZERO {
        table.insert((*key).to_owned(), "0".to_owned());
    }
    for (key, value) in CAPACITIES {
        table.insert((*key).to_owned(), (*value).to_owned());
    }
    for (key, value) in disks(&figures.disks) {
        table.insert(key, value);
    }
    for (level, next, end) in &figures.delay_levels {
        // Java ScheduleMessageService.buildRunningStats: progress and end of the level's queue.
        table.insert(
            format!("scheduleMessageOffset_{level}"),
            format!("{next},{end}"),
        );
    }
    table
}

/// When the oldest message of this shard was stored, by the first messages of some queues: all of
/// them would be many reads.
async fn earliest_ms<R: Rt>(services: &Services<R>) -> Option<i64> {
    let store = &services.shard.store;
    let queues = store
        .queues_present()
        .into_iter()
        .filter(|(_, _, min, end)| min < end);
    let mut earliest: Option<i64> = None;
    for (topic, queue_id, min, _) in queues.take(QUEUES_LOOKED_AT) {
        // The figures must come while the disk does not.
        if store.is_stalled() {
            break;
        }
        let Some(queue) = store.queue(&topic, queue_id) else {
            continue;
        };
        // A message that cannot be read is reported where it is wanted, not here.
        let stored = store.store_timestamp_at(queue, min).await.ok().flatten();
        earliest = earliest.into_iter().chain(stored).min();
    }
    earliest
}

const QUEUES_LOOKED_AT: usize = 64;

type Row = (&'static str, String);

fn identity(figures: &Figures) -> Vec<Row> {
    // `clusterList` shows it in its column ACTIVATED.
    let is_active = figures.disks.iter().all(|disk| disk.fenced.is_none());
    vec![
        ("brokerVersionDesc", figures.version_name.to_owned()),
        ("brokerVersion", figures.version.to_string()),
        ("brokerActive", is_active.to_string()),
        ("bootTimestamp", figures.boot_ms.to_string()),
        ("runtime", runtime(figures.now_ms - figures.boot_ms)),
        ("startAcceptSendRequestTimeStamp", "0".to_owned()),
        ("pullHoldRequestCount", figures.parked_pulls.to_string()),
    ]
}

fn rates(figures: &Figures) -> Vec<Row> {
    let report = &figures.report;
    let mut total = report.found;
    for (sum, missed) in total.iter_mut().zip(report.missed) {
        *sum += missed;
    }
    vec![
        ("putTps", three(report.put)),
        // 4.x writes it with one r, 5.x with two: tools of both read this table.
        ("getTransferedTps", three(report.get)),
        ("getTransferredTps", three(report.get)),
        ("getFoundTps", three(report.found)),
        ("getMissTps", three(report.missed)),
        ("getTotalTps", three(total)),
        ("timerEnqueueTps", "0.0".to_owned()),
        ("timerDequeueTps", "0.0".to_owned()),
    ]
}

fn totals(figures: &Figures) -> Vec<Row> {
    let totals = figures.report.totals;
    let mornings = figures.report.mornings;
    let average = if totals.put == 0 {
        0.0
    } else {
        totals.put_bytes as f64 / totals.put as f64
    };
    vec![
        (
            "msgPutTotalYesterdayMorning",
            mornings.yesterday.put.to_string(),
        ),
        ("msgPutTotalTodayMorning", mornings.today.put.to_string()),
        ("msgPutTotalTodayNow", totals.put.to_string()),
        (
            "msgGetTotalYesterdayMorning",
            mornings.yesterday.get.to_string(),
        ),
        ("msgGetTotalTodayMorning", mornings.today.get.to_string()),
        ("msgGetTotalTodayNow", totals.get.to_string()),
        ("putMessageTimesTotal", totals.put.to_string()),
        ("putMessageFailedTimes", totals.put_failed.to_string()),
        ("putMessageSizeTotal", totals.put_bytes.to_string()),
        ("putMessageAverageSize", format!("{average:?}")),
        ("putLatency99", "0.00".to_owned()),
        ("putLatency999", "0.00".to_owned()),
        ("putMessageDistributeTime", DISTRIBUTION.to_owned()),
    ]
}

fn log(figures: &Figures) -> Vec<Row> {
    let log = figures.log;
    let used = figures.disk_total.saturating_sub(figures.disk_available);
    let ratio = if figures.disk_total == 0 {
        0.0
    } else {
        used as f64 / figures.disk_total as f64
    };
    let ratio = format!("{ratio:.2}");
    let capacity = format!(
        "Total : {}, Free : {}.",
        readable(figures.disk_total),
        readable(figures.disk_available)
    );
    vec![
        ("commitLogMinOffset", log.position_min.to_string()),
        ("commitLogMaxOffset", log.position_max.to_string()),
        ("commitLogDirCapacity", capacity),
        ("commitLogDiskRatio", ratio.clone()),
        ("consumeQueueDiskRatio", ratio),
        ("remainHowManyDataToFlush", readable(log.unflushed)),
        (
            "earliestMessageTimeStamp",
            log.earliest_ms.unwrap_or(-1).to_string(),
        ),
        // Java TransientStorePool.availableBufferNums without a pool.
        ("remainTransientStoreBufferNumbs", i32::MAX.to_string()),
    ]
}

/// Rows that Java does not have: what becomes of transactional messages.
fn transactions(figures: &transaction::Figures) -> Vec<Row> {
    vec![
        ("halfMessages", figures.undecided.to_string()),
        ("halfMessageOldestMillis", figures.oldest_ms.to_string()),
        ("transactionsCommitted", figures.committed.to_string()),
        ("transactionsRolledBack", figures.rolled_back.to_string()),
        ("transactionChecks", figures.checks.to_string()),
        ("transactionsDiscarded", figures.discarded.to_string()),
        ("transactionsLost", figures.lost.to_string()),
    ]
}

/// Rows that Java does not have: how the disks do, and what to do about it.
fn disks(disks: &[DiskFigures]) -> Vec<(String, String)> {
    let list = |is_meant: &dyn Fn(&DiskFigures) -> bool| {
        let numbers = disks.iter().enumerate().filter(|(_, disk)| is_meant(disk));
        let numbers: Vec<String> = numbers.map(|(shard, _)| shard.to_string()).collect();
        if numbers.is_empty() {
            "none".to_owned()
        } else {
            numbers.join(",")
        }
    };
    let damaged: u64 = disks.iter().map(|disk| disk.damaged).sum();
    let sum = |of: fn(&DiskFigures) -> u64| disks.iter().map(of).sum::<u64>().to_string();
    let most = |of: fn(&DiskFigures) -> u64| {
        let most = disks.iter().map(of).max();
        most.unwrap_or(0).to_string()
    };
    let mut rows = vec![
        (
            "shardsFenced".to_owned(),
            list(&|disk| disk.fenced.is_some()),
        ),
        ("shardsStalled".to_owned(), list(&|disk| disk.is_stalled)),
        ("damageFound".to_owned(), damaged.to_string()),
        ("unsyncedBytes".to_owned(), sum(|disk| disk.unsynced_bytes)),
        (
            "unsyncedBytesMax".to_owned(),
            sum(|disk| disk.unsynced_bytes_max),
        ),
        ("unsyncedMillis".to_owned(), most(|disk| disk.unsynced_ms)),
        (
            "unsyncedMillisMax".to_owned(),
            most(|disk| disk.unsynced_ms_max),
        ),
    ];
    for (shard, disk) in disks.iter().enumerate() {
        if let Some(reason) = &disk.fenced {
            let text = format!("{reason}; check the disk, then restart the broker");
            rows.push((format!("shardFenced_{shard}"), text));
        }
    }
    rows
}

/// Three numbers, each followed by a space but the last, as a Java double prints them.
fn three(rates: Rates) -> String {
    let [a, b, c] = rates;
    format!("{a:?} {b:?} {c:?}")
}

/// Java `StoreStatsService.getFormatRuntime`.
fn runtime(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hours, rest) = (rest / 3_600, rest % 3_600);
    let (minutes, seconds) = (rest / 60, rest % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]")
}

/// Java `UtilAll`/`FileUtils` style: `239.6 GiB`, and plain bytes below 1 KiB.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let mut text = String::new();
    let _infallible = write!(text, "{value:.1} {}", UNITS[unit]);
    text
}

/// The name of the version that the protocol is spoken of. Source: Java `MQVersion`.
const VERSION_NAME: &str = "V5_5_0";

/// Requests run as they come here: these queues of Java are always empty.
const ALWAYS_ZERO: &[&str] = &[
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "EndTransactionQueueSize",
    "getMessageEntireTimeMax",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putMessageEntireTimeMax",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "timerCongestNum",
    "timerOffsetBehind",
    "timerReadBehind",
];

/// Capacities of those queues, at Java's defaults.
const CAPACITIES: &[(&str, &str)] = &[
    ("ackThreadPoolQueueCapacity", "100000"),
    ("EndTransactionThreadPoolQueueCapacity", "100000"),
    ("litePullThreadPoolQueueCapacity", "100000"),
    ("pullThreadPoolQueueCapacity", "100000"),
    ("queryThreadPoolQueueCapacity", "20000"),
    ("sendThreadPoolQueueCapacity", "10000"),
];

/// Java `StoreStatsService.getPutMessageDistributeTimeStringInfo` before the first message.
const DISTRIBUTION: &str = "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 \
     [200~500ms]:0 [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ";

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the official broker 5.5.0 (one with a path in it left out) and of 4.9.
    const JAVA_KEYS: &str = "EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity \
         ackThreadPoolQueueCapacity ackThreadPoolQueueHeadWaitTimeMills ackThreadPoolQueueSize \
         bootTimestamp brokerActive brokerVersion brokerVersionDesc commitLogDirCapacity \
         commitLogDiskRatio commitLogMaxOffset commitLogMinOffset consumeQueueDiskRatio \
         dispatchBehindBytes dispatchMaxBuffer earliestMessageTimeStamp getFoundTps \
         getMessageEntireTimeMax getMissTps getTotalTps getTransferedTps getTransferredTps \
         litePullThreadPoolQueueCapacity litePullThreadPoolQueueHeadWaitTimeMills \
         litePullThreadPoolQueueSize msgGetTotalTodayMorning msgGetTotalTodayNow \
         msgGetTotalYesterdayMorning msgPutTotalTodayMorning msgPutTotalTodayNow \
         msgPutTotalYesterdayMorning pageCacheLockTimeMills pullThreadPoolQueueCapacity \
         pullThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueSize putLatency99 putLatency999 \
         putMessageAverageSize putMessageDistributeTime putMessageEntireTimeMax \
         putMessageFailedTimes putMessageSizeTotal putMessageTimesTotal putTps \
         queryThreadPoolQueueCapacity queryThreadPoolQueueHeadWaitTimeMills \
         queryThreadPoolQueueSize remainHowManyDataToFlush remainTransientStoreBufferNumbs runtime \
         sendThreadPoolQueueCapacity sendThreadPoolQueueHeadWaitTimeMills sendThreadPoolQueueSize \
         startAcceptSendRequestTimeStamp timerCongestNum timerDequeueTps timerEnqueueTps \
         timerOffsetBehind timerReadBehind";

    fn figures() -> Figures {
        Figures {
            report: Report {
                put: [1.5, 0.25, 0.0],
                ..Report::default()
            },
            log: LogFigures::default(),
            disks: vec![DiskFigures::default(), DiskFigures::default()],
            version_name: "V5_5_0",
            version: 513,
            boot_ms: 1_000,
            now_ms: 1_000 + 90_061_000,
            disk_total: 252 << 30,
            disk_available: 63 << 30,
            parked_pulls: 0,
            delay_levels: vec![(3, 7, 9)],
            transactions: transaction::Figures {
                undecided: 4,
                ..transaction::Figures::default()
            },
        }
    }

    #[test]
    fn every_key_of_java_is_there_and_no_value_is_empty() {
        let table = table(&figures());
        for key in JAVA_KEYS.split_whitespace() {
            assert!(
                table.get(key).is_some_and(|value| !value.is_empty()),
                "{key}"
            );
        }
    }

    #[test]
    fn a_fenced_shard_is_told_with_its_reason_and_the_broker_is_not_active() {
        let mut figures = figures();
        assert_eq!(table(&figures)["brokerActive"], "true");
        assert_eq!(table(&figures)["shardsFenced"], "none");
        figures.disks[1].fenced = Some("sync of /data failed: EIO".to_owned());
        figures.disks[0].is_stalled = true;
        figures.disks[0].damaged = 3;
        (
            figures.disks[0].unsynced_bytes,
            figures.disks[1].unsynced_bytes,
        ) = (40, 2);
        (figures.disks[0].unsynced_ms, figures.disks[1].unsynced_ms) = (7, 9);
        let table = table(&figures);
        for (key, value) in [
            ("brokerActive", "false"),
            ("shardsFenced", "1"),
            ("shardsStalled", "0"),
            ("damageFound", "3"),
            ("unsyncedBytes", "42"),
            ("unsyncedMillis", "9"),
        ] {
            assert_eq!(table[key], value, "{key}");
        }
        assert!(table["shardFenced_1"].starts_with("sync of /data failed: EIO; check"));
    }

    #[test]
    fn values_look_as_those_of_java() {
        let table = table(&figures());
        for (key, value) in [
            ("putTps", "1.5 0.25 0.0"),
            ("runtime", "[ 1 days, 1 hours, 1 minutes, 1 seconds ]"),
            (
                "commitLogDirCapacity",
                "Total : 252.0 GiB, Free : 63.0 GiB.",
            ),
            ("commitLogDiskRatio", "0.75"),
            ("putMessageAverageSize", "0.0"),
            ("remainHowManyDataToFlush", "0 B"),
            ("scheduleMessageOffset_3", "7,9"),
            ("halfMessages", "4"),
            ("earliestMessageTimeStamp", "-1"),
        ] {
            assert_eq!(table[key], value, "{key}");
        }
    }
}
