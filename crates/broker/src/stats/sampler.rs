//! The task that takes samples of a shard's counts.
//!
//! Owned by the shard, of the housekeeping class. It reads what the log counts anyway: messages in
//! and out each second, and each topic's offsets every ten seconds, which give the topic's rate
//! without a count per message.

use super::{Count, Kind, LogTotals};
use crate::assemble::Services;
use rt::Rt;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

/// Topics are looked at once in this many intervals.
const TOPIC_INTERVALS: u64 = 10;

/// Takes samples until the shard stops.
pub(crate) async fn keep_sampling<R: Rt>(services: &Services<R>) {
    let mut count = 0;
    while !services.stop.is_set() {
        let now_ms = services.shard.rt.now_ms();
        let log = services.shard.store.stats();
        if count % TOPIC_INTERVALS == 0 {
            sample_topics(services, now_ms, count == 0);
        }
        services.stats.sample(
            now_ms,
            LogTotals {
                put: log.messages,
                put_bytes: log.message_bytes,
                put_failed: log.refused,
                get: log.messages_read,
            },
        );
        count += 1;
        services.shard.rt.sleep(INTERVAL).await;
    }
}

fn sample_topics<R: Rt>(services: &Services<R>, now_ms: i64, is_first: bool) {
    let store = &services.shard.store;
    let mut totals: BTreeMap<Rc<str>, u64> = BTreeMap::new();
    for (topic, _, _, end) in store.queues_present() {
        *totals.entry(topic).or_default() += end.0.max(0).cast_unsigned();
    }
    for (topic, total) in totals {
        // What is there at the start was counted by an earlier process.
        let before = if is_first { total } else { 0 };
        let count = Count { before, total };
        services
            .stats
            .set_total(Kind::TopicPutNums, &topic, count, now_ms);
    }
}
