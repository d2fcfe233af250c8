//! Orderly pops: a queue gives nothing more until all that was popped is acknowledged or its time
//! is over; then it begins again at the first message that is not acknowledged.
//!
//! Owned by the shard of the queue. The committed offset is where the next pop begins. Invariant:
//! at most one pop of a queue and group has messages that are neither acknowledged nor over, but
//! for repeated tries of the same attempt. Java: `ConsumerOrderInfoManager`.

use super::PopError;
use super::part::{Reader, limits, offsets_of, read as read_memory};
use crate::assemble::Services;
use base::{LogPosition, QueueOffset};
use rt::Rt;
use shard::pops::{Op, OrderLock, OrderedMessage, PopKeyRef};
use std::rc::Rc;
use store::{GetResult, GetStatus, QueueRef, TailRead};

/// Reads a queue that is not locked, and locks it.
pub(super) async fn read<R: Rt>(
    reader: &mut Reader<'_, R>,
    key: PopKeyRef<'_>,
    queue: QueueRef,
    next: i64,
) -> Result<(), PopError> {
    let (services, ask) = (reader.services, reader.ask);
    let shard = &services.shard;
    let last = shard.pops.order(key);
    let is_same_try =
        |lock: &OrderLock| !ask.attempt_id.is_empty() && lock.attempt_id == ask.attempt_id;
    if let Some(lock) = &last
        && !is_same_try(lock)
        && lock.locked_until_ms(shard.rt.now_ms()).is_some()
    {
        return Ok(());
    }
    let is_read = shard.pops.place(key).is_some_and(|place| place.is_read);
    if reader.part.count >= ask.count_max || is_read {
        return Ok(());
    }
    let mut units = Vec::new();
    let Some(result) = read_units(reader, key, queue, next, &mut units).await? else {
        return Ok(());
    };
    let has_passed = result.next_offset.0 > next || result.status == GetStatus::OffsetOverflowBadly;
    if result.count == 0 {
        if has_passed {
            let next = result.next_offset.0;
            reader.end = shard.change_pops(key, vec![Op::Reset { next }])?;
            reader.part.has_moved = true;
        }
        return Ok(());
    }
    let offsets = offsets_of(&units);
    let lock = new_lock(reader, last.as_ref(), &offsets);
    let times = lock
        .messages
        .iter()
        .map(|message| (message.offset, message.times));
    let times: Vec<(i64, u32)> = times.collect();
    reader.end = shard.change_pops(key, vec![Op::Order(Some(Box::new(lock)))])?;
    reader.part.body.extend_from_slice(&units);
    reader.part.rest += (result.max.0 - result.next_offset.0).max(0);
    reader
        .part
        .lists
        .push(key.topic, key.queue_id, next, &offsets);
    reader
        .part
        .lists
        .push_counts(key.topic, key.queue_id, &times);
    reader.count(&result);
    Ok(())
}

/// Reads from `next` on; `None` when somebody else has moved the group meanwhile.
async fn read_units<R: Rt>(
    reader: &mut Reader<'_, R>,
    key: PopKeyRef<'_>,
    queue: QueueRef,
    next: i64,
    units: &mut Vec<u8>,
) -> Result<Option<GetResult>, PopError> {
    let (services, ask) = (reader.services, reader.ask);
    let shard = &services.shard;
    let count = reader.part.count;
    if let TailRead::Done(result) = read_memory(services, ask, count, queue, next, units) {
        return Ok(Some(result));
    }
    shard.pops.set_read(key, true);
    let mut accept = &*ask.filter;
    let (limits, from) = (limits(services, ask, count), QueueOffset(next));
    let read = shard.store.read(queue, from, limits, &mut accept, units);
    let read = read.await;
    shard.pops.set_read(key, false);
    // Meanwhile offsets may have been reset, or the topic deleted.
    if shard.pops.place(key).is_none_or(|place| place.next != next) {
        reader.part.has_moved = true;
        return Ok(None);
    }
    Ok(Some(read?))
}

/// The lock of a new pop; messages that the last one had too are counted on.
fn new_lock<R: Rt>(reader: &Reader<'_, R>, last: Option<&OrderLock>, offsets: &[i64]) -> OrderLock {
    let ask = reader.ask;
    let visible_at_ms = ask.pop_time_ms.saturating_add(ask.invisible_ms.max(0));
    let is_again =
        last.is_some_and(|lock| !ask.attempt_id.is_empty() && lock.attempt_id == ask.attempt_id);
    let times_of = |offset: i64| {
        let known = last.and_then(|lock| lock.messages.iter().find(|m| m.offset == offset));
        known.map_or(0, |known| known.times + u32::from(!is_again))
    };
    let message = |offset: &i64| OrderedMessage {
        offset: *offset,
        visible_at_ms,
        times: times_of(*offset),
        is_acked: false,
    };
    OrderLock {
        pop_time_ms: ask.pop_time_ms,
        attempt_id: ask.attempt_id.clone(),
        messages: offsets.iter().map(message).collect(),
    }
}

/// Acknowledges a message of an orderly pop; the queue is free when it was the last one. Gives the
/// end of the record, if there is one.
pub(super) fn ack<R: Rt>(
    services: &Rc<Services<R>>,
    key: PopKeyRef<'_>,
    pop_time_ms: i64,
    offset: i64,
) -> Result<Option<LogPosition>, PopError> {
    let shard = &services.shard;
    let Some(place) = shard.pops.place(key) else {
        return Ok(None);
    };
    if offset < place.next {
        return Ok(None);
    }
    let Some(mut lock) = shard.pops.order(key) else {
        return Ok(None);
    };
    if lock.pop_time_ms != pop_time_ms {
        // A later pop has the messages now.
        return Ok(None);
    }
    let message = lock
        .messages
        .iter_mut()
        .find(|message| message.offset == offset);
    let message = message.ok_or_else(|| PopError::OrderOffset {
        key: format!("{}@{}@{}", key.topic, key.group, key.queue_id),
        old: place.next,
        offset,
    })?;
    message.is_acked = true;
    let first_left = lock.messages.iter().find(|message| !message.is_acked);
    let last = lock
        .messages
        .last()
        .map_or(offset, |message| message.offset);
    let next = first_left.map_or(last + 1, |message| message.offset);
    let is_free = first_left.is_none();
    let ops = vec![Op::Reset { next }, Op::Order(Some(Box::new(lock)))];
    let end = shard.change_pops(key, ops)?;
    if is_free {
        super::wait::signal_queue(services, key);
    }
    Ok(Some(end))
}

/// Changes until when a message of an orderly pop locks its queue. Gives the end of the record, if
/// there is one.
pub(super) fn change<R: Rt>(
    services: &Rc<Services<R>>,
    key: PopKeyRef<'_>,
    pop_time_ms: i64,
    offset: i64,
    visible_at_ms: i64,
) -> Result<Option<LogPosition>, PopError> {
    let shard = &services.shard;
    let Some(mut lock) = shard.pops.order(key) else {
        return Ok(None);
    };
    let message = lock
        .messages
        .iter_mut()
        .find(|message| message.offset == offset);
    let Some(message) = message.filter(|_| lock.pop_time_ms == pop_time_ms) else {
        return Ok(None);
    };
    message.visible_at_ms = visible_at_ms;
    let end = shard.change_pops(key, vec![Op::Order(Some(Box::new(lock)))])?;
    if visible_at_ms <= shard.rt.now_ms() {
        super::wait::signal_queue(services, key);
    }
    Ok(Some(end))
}
