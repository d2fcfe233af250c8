//! What was popped and not acknowledged in its time comes again: as a copy in the group's retry
//! topic, counted up, or as a dead letter after the group's maximum.
//!
//! Owned by the shard of the queue; one task. The copy goes to a queue of the retry topic that the
//! same shard owns, so that copy and record follow each other in one log. Invariant: a message
//! leaves its check only after its copy was appended; a crash in between repeats it. Java:
//! `PopReviveService`, `PopConsumerService.revive`.

use super::wait::{signal_queue, signal_retry};
use super::{PopError, retry_topic_of};
use crate::assemble::Services;
use crate::names::{DLQ_PREFIX, RETRY_PREFIX};
use crate::send::{self, OwnedMessage, find_property, set_property};
use crate::topics;
use base::{LogPosition, QueueId, QueueOffset};
use remoting::message::{OffsetMessageId, StoredMessage, decode_message};
use rt::Rt;
use shard::first_of;
use shard::pops::{CheckId, Due, Op, PopKey};
use std::rc::Rc;
use std::time::Duration;
use store::ReadLimits;

/// Brings back what is due. Runs until the broker stops.
pub(crate) async fn keep_reviving<R: Rt>(services: &Rc<Services<R>>) {
    let (rt, pops) = (&services.shard.rt, &services.shard.pops);
    while !services.stop.is_set() {
        let seen = pops.earlier().count();
        let mut wait_ms = IDLE_WAIT_MS;
        let due = pops.due(rt.now_ms(), DUE_MAX);
        let is_more = due.len() == DUE_MAX;
        let mut end = LogPosition(0);
        let mut retried = Vec::new();
        for what in due {
            match what {
                Due::Order(key) => {
                    pops.order_is_over(key.by_ref());
                    signal_queue(services, key.by_ref());
                }
                Due::Check(key, id) => match revive(services, &key, id).await {
                    Ok(done) => {
                        end = end.max(done);
                        retried.push(key);
                    }
                    Err(error) => {
                        let (topic, group) = (&key.topic, &key.group);
                        tracing::warn!(topic, group, %error, "popped messages wait to come again");
                        wait_ms = RETRY_MS;
                        break;
                    }
                },
            }
        }
        if !retried.is_empty() {
            // Whoever waits sees the copies when the log has acknowledged them.
            let _ = services.shard.store.wait_acknowledged(end).await;
            for key in &retried {
                tell(services, key);
            }
        }
        if wait_ms == IDLE_WAIT_MS {
            if is_more {
                rt.yield_now().await;
                continue;
            }
            let rest = pops.next_due_ms().map(|due| due - rt.now_ms());
            wait_ms = rest.map_or(IDLE_WAIT_MS, |rest| rest.clamp(1, IDLE_WAIT_MS));
            let wait = Duration::from_millis(wait_ms as u64);
            first_of(pops.earlier().wait_past(seen), rt.sleep(wait)).await;
        } else {
            rt.sleep(Duration::from_millis(wait_ms as u64)).await;
        }
    }
}

/// Tells waiting pops of copies, and of room for more.
fn tell<R: Rt>(services: &Rc<Services<R>>, key: &PopKey) {
    let own_prefix = format!("{RETRY_PREFIX}{}_", key.group);
    if let Some(topic) = key.topic.strip_prefix(&own_prefix) {
        signal_retry(services, topic, &key.group);
    } else {
        signal_retry(services, &key.topic, &key.group);
        signal_queue(services, key.by_ref());
    }
}

/// Brings the messages of a check back. Gives the end of the last record.
async fn revive<R: Rt>(
    services: &Rc<Services<R>>,
    key: &PopKey,
    id: CheckId,
) -> Result<LogPosition, PopError> {
    let shard = &services.shard;
    let mut end = LogPosition(0);
    let queue = shard.store.queue(&key.topic, QueueId(key.queue_id));
    let Some(check) = shard.pops.check(key.by_ref(), id) else {
        return Ok(end);
    };
    for offset in check.offsets_left(id.start) {
        let mut unit = Vec::new();
        if let Some(queue) = queue {
            let from = QueueOffset(offset);
            let read = shard
                .store
                .read(queue, from, ONE, &mut |_| true, &mut unit)
                .await?;
            if read.count == 0 || !is_at(&unit, offset) {
                unit.clear();
            }
        }
        let Some(index) = shard.pops.find(key.by_ref(), id, offset) else {
            // It was acknowledged meanwhile.
            continue;
        };
        let copied = if let Ok((message, _)) = decode_message(&unit) {
            copy(services, key, id, offset, &message).await?
        } else {
            // Retention or damage took the message: there is nothing to come again.
            tracing::warn!(topic = &*key.topic, offset, "a popped message is gone");
            true
        };
        if copied && shard.pops.find(key.by_ref(), id, offset).is_some() {
            let bits = 1 << index;
            end = shard.change_pops(key.by_ref(), vec![Op::Clear { id, bits }])?;
        }
    }
    Ok(end)
}

fn is_at(unit: &[u8], offset: i64) -> bool {
    decode_message(unit).is_ok_and(|(message, _)| message.queue_offset == offset)
}

/// Stores the copy. Whether there is one; there is none when the message was acknowledged meanwhile.
async fn copy<R: Rt>(
    services: &Rc<Services<R>>,
    key: &PopKey,
    id: CheckId,
    offset: i64,
    message: &StoredMessage<'_>,
) -> Result<bool, PopError> {
    let shard = &services.shard;
    let groups = shard.groups();
    let limit = groups
        .find(&key.group)
        .map_or(RETRIES_MAX, |group| group.retry_max_times);
    let is_gone = || shard.pops.find(key.by_ref(), id, offset).is_none();
    let mut copy = copy_of(services, key, id, message);
    if message.reconsume_times >= limit {
        copy.topic = format!("{DLQ_PREFIX}{}", key.group);
        send::put_dead_letter(services, copy).await?;
        return Ok(true);
    }
    if key.topic.starts_with(RETRY_PREFIX) {
        copy.queue_id = key.queue_id;
    } else {
        copy.topic = retry_topic_of(&key.topic, &key.group);
        let count = shard.rt.shard_count();
        topics::ensure_retry_topic(services, &copy.topic, i32::from(count)).await?;
        let own = |id: &u32| shard.owner_of(&copy.topic, *id) == shard.id();
        let queue_id = (0..u32::from(count))
            .find(own)
            .expect("shards own queues in turn");
        let known = services.topics.find(shard, &copy.topic);
        let is_there = |count| queue_id.cast_signed() < count;
        if known.is_none_or(|topic| !is_there(topic.config.read_queue_nums)) {
            // Somebody made the topic with fewer queues.
            send::put(services, copy).await?;
            return Ok(true);
        }
        copy.queue_id = queue_id;
    }
    if is_gone() {
        return Ok(false);
    }
    send::append_owned(services, &copy, false)?;
    Ok(true)
}

/// The message as it is stored again. Java: `PopReviveService.reviveRetry`.
fn copy_of<R: Rt>(
    services: &Services<R>,
    key: &PopKey,
    id: CheckId,
    message: &StoredMessage<'_>,
) -> OwnedMessage {
    // A producer may have set it: it would be taken for the handle of the copy.
    let is_kept = |pair: &&str| !pair.is_empty() && !pair.starts_with("POP_CK\u{1}");
    let pairs = message.properties.split('\u{2}').filter(is_kept);
    let mut properties: String = pairs.flat_map(|pair| [pair, "\u{2}"]).collect();
    let has = |properties: &str, name| find_property(properties, name).is_some();
    if message.reconsume_times == 0 || !has(&properties, "1ST_POP_TIME") {
        set_property(&mut properties, "1ST_POP_TIME", &id.pop_time_ms.to_string());
    }
    if !has(&properties, "RETRY_TOPIC") {
        set_property(&mut properties, "RETRY_TOPIC", &key.topic);
    }
    if !has(&properties, "ORIGIN_MESSAGE_ID") {
        let place = services.settings.advertised();
        let id = OffsetMessageId::new(place, message.phy_offset);
        set_property(&mut properties, "ORIGIN_MESSAGE_ID", id.as_str());
    }
    OwnedMessage {
        topic: key.topic.to_string(),
        queue_id: 0,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        reconsume_times: message.reconsume_times.saturating_add(1),
        body: message.body.to_vec(),
        properties,
    }
}

const ONE: ReadLimits = ReadLimits {
    count_max: 1,
    bytes_max: 1,
    scan_max: 1,
};
/// Checks that are taken in one turn.
const DUE_MAX: usize = 64;
const IDLE_WAIT_MS: i64 = 10_000;
const RETRY_MS: i64 = 500;
/// Java `SubscriptionGroupConfig.retryMaxTimes`.
const RETRIES_MAX: i32 = 16;
