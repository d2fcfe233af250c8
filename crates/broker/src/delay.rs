//! Delivery of delayed messages: from the levels of the schedule topic to their real queues.
//!
//! Owned by each shard for its own queues: a delayed message lies on the shard that owns its
//! target. One task per shard; it sleeps until the next message is due. Progress is a record right
//! after the delivered copies, so a crash repeats at most one batch. Invariant: the messages of a
//! level are due in the order of its queue. Java: `ScheduleMessageService`.

use crate::assemble::Services;
use crate::names::SCHEDULE_TOPIC;
use crate::send::{self, OwnedMessage, find_property};
use base::{QueueId, QueueOffset};
use remoting::message::decode_message;
use rt::sync::Event;
use rt::{Class, Rt};
use shard::first_of;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use store::{QueueRef, ReadLimits};

/// Tells the delivering task of a shard that delayed messages have arrived.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    arrived: Event,
    has_messages: Cell<bool>,
}

impl Delay {
    /// Whether this shard may have delayed messages at all.
    pub(crate) fn has_messages(&self) -> bool {
        self.has_messages.get()
    }

    /// Notes that this shard has delayed messages.
    pub(crate) fn note_messages(&self) {
        self.has_messages.set(true);
    }

    /// Notes that messages can be read from a queue of the schedule topic.
    pub(crate) fn note_arrival(&self) {
        self.arrived.notify();
    }
}

/// Starts the shard's delivering task.
pub(crate) fn start<R: Rt>(services: &Rc<Services<R>>) {
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Dispatch, async move { deliver(&services).await });
}

async fn deliver<R: Rt>(services: &Rc<Services<R>>) {
    let rt = &services.shard.rt;
    let levels = services.settings.delay_levels_ms.len() as u32;
    while !services.stop.is_set() {
        let seen = services.delay.arrived.count();
        let mut next_due_ms: Option<i64> = None;
        for level in 1..=levels {
            let due = deliver_level(services, level).await;
            next_due_ms = match (next_due_ms, due) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let wait_ms = next_due_ms.map_or(IDLE_WAIT_MS, |due| due - rt.now_ms());
        let wait = Duration::from_millis(wait_ms.clamp(1, IDLE_WAIT_MS) as u64);
        first_of(services.delay.arrived.wait_past(seen), rt.sleep(wait)).await;
    }
}

/// Delivers what is due of a level. Gives when the next one is due.
async fn deliver_level<R: Rt>(services: &Services<R>, level: u32) -> Option<i64> {
    let shard = &services.shard;
    let queue = shard.store.queue(SCHEDULE_TOPIC, QueueId(level - 1))?;
    services.delay.note_messages();
    let delay_ms = services.settings.delay_levels_ms[level as usize - 1] as i64;
    loop {
        let from = start_of(services, queue, level);
        if from >= shard.store.max_offset(queue) {
            return None;
        }
        let tick_ms = if base::bug!(EarlyTimer) { 10 } else { 0 };
        let now_ms = shard.rt.now_ms() + tick_ms;
        let mut units = Vec::new();
        let mut next_due_ms = None;
        let mut is_due = |due_ms: i64| {
            // Java ScheduleMessageService.correctDeliverTimestamp: a time further away than the
            // level's delay comes from a clock that was set back, or from a level that was longer.
            let waits = due_ms > now_ms && due_ms <= now_ms.saturating_add(delay_ms);
            if waits && next_due_ms.is_none() {
                next_due_ms = Some(due_ms);
            }
            next_due_ms.is_none()
        };
        let read = shard
            .store
            .read(queue, from, READ_LIMITS, &mut is_due, &mut units)
            .await;
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(level, %error, "delayed messages cannot be read");
                return Some(now_ms + RETRY_MS);
            }
        };
        let delivered = deliver_units(services, &units);
        if delivered > 0 {
            shard.set_delay_progress(level, from.0 + delivered as i64);
            if let Err(error) = shard.write_delay_progress() {
                tracing::warn!(level, %error, "delivery progress was not written");
            }
        }
        if delivered < read.count {
            return Some(now_ms + RETRY_MS);
        }
        if read.count == 0 && next_due_ms.is_none() {
            // The messages there cannot be read any more.
            shard.set_delay_progress(level, read.next_offset.0.max(from.0 + 1));
            continue;
        }
        if next_due_ms.is_some() {
            return next_due_ms;
        }
    }
}

fn start_of<R: Rt>(services: &Services<R>, queue: QueueRef, level: u32) -> QueueOffset {
    let store = &services.shard.store;
    let (min, max) = (store.min_offset(queue), store.max_offset(queue));
    QueueOffset(services.shard.delay_progress(level)).clamp(min, max.max(min))
}

/// Appends the copies; how many units are done with.
fn deliver_units<R: Rt>(services: &Services<R>, mut units: &[u8]) -> usize {
    let mut count = 0;
    while !units.is_empty() {
        let Ok((message, len)) = decode_message(units) else {
            tracing::error!("a delayed message does not decode; the rest of its batch waits");
            return count;
        };
        units = &units[len..];
        let topic = find_property(message.properties, "REAL_TOPIC");
        let queue_id = find_property(message.properties, "REAL_QID");
        let queue_id = queue_id.and_then(|id| id.parse().ok());
        if let (Some(topic), Some(queue_id)) = (topic, queue_id) {
            let copy = OwnedMessage {
                topic: topic.to_owned(),
                queue_id,
                flag: message.flag,
                sys_flag: message.sys_flag,
                born_timestamp_ms: message.born_timestamp_ms,
                born_host: message.born_host,
                reconsume_times: message.reconsume_times,
                body: message.body.to_vec(),
                properties: message.properties.to_owned(),
            };
            match send::append_owned(services, &copy, false) {
                Ok(_) => {}
                // The topic was deleted meanwhile: nobody can receive the message any more.
                Err(send::SendError::Topic(error)) => {
                    tracing::warn!(topic, %error, "a delayed message was dropped");
                }
                Err(error) => {
                    tracing::warn!(topic, %error, "a delayed message waits");
                    return count;
                }
            }
        }
        count += 1;
    }
    count
}

const READ_LIMITS: ReadLimits = ReadLimits {
    count_max: 32,
    bytes_max: 256 << 10,
    scan_max: 32,
};
const IDLE_WAIT_MS: i64 = 10_000;
const RETRY_MS: i64 = 100;
