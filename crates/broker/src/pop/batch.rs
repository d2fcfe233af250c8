//! Acknowledgements of many popped messages at once, of any topics and queues.
//!
//! Runs on the shard of the connection; each queue's part goes to its shard. Invariant: the answer
//! comes when every record is acknowledged by its log. Java: `AckMessageProcessor.appendAck` of a
//! batch.

use super::ack::ack_bits;
use super::handle::ORDER_QUEUE;
use super::{PopError, order, retry_topic_of};
use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::names::RETRY_PREFIX;
use crate::reply::Refusal;
use crate::send::wait_flushed;
use base::{LogPosition, QueueId, ShardId};
use remoting::body::dialect;
use remoting::body::pop::{BatchAck, BatchAckMessageRequestBody};
use rt::Rt;
use shard::pops::{CheckId, PopKeyRef};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Messages of one queue.
#[derive(Debug, Clone)]
struct Acks {
    topic: String,
    group: String,
    queue_id: u32,
    id: CheckId,
    is_order: bool,
    offsets: Vec<i64>,
}

/// `BATCH_ACK_MESSAGE` (200151).
pub(crate) async fn batch_ack<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let body = request.command.body;
    if body.is_empty() {
        return Err(PopError::NothingToAck.into());
    }
    let body: BatchAckMessageRequestBody =
        dialect::from_slice(body).map_err(|error| PopError::Body(error.to_string()))?;
    if body.acks.is_empty() {
        return Err(PopError::NothingToAck.into());
    }
    let mut by_shard: BTreeMap<ShardId, Vec<Acks>> = BTreeMap::new();
    for ack in &body.acks {
        let acks = read(ack)?;
        let owner = services.shard.owner_of(&acks.topic, acks.queue_id);
        by_shard.entry(owner).or_default().push(acks);
    }
    let mut failed = None;
    for (shard, acks) in by_shard {
        let run = move |services: Rc<Services<R>>| async move { ack_all(&services, &acks).await };
        let done = services.call(shard, run).await.map_err(PopError::from);
        if let Err(error) = done.and_then(|done| done) {
            failed = Some(error);
        }
    }
    // What was acknowledged stays so; the client tries all again.
    failed.map_or_else(|| Ok(Answer::empty()), |error| Err(error.into()))
}

fn read(ack: &BatchAck) -> Result<Acks, PopError> {
    let topic = match ack.retry.as_str() {
        "0" => ack.topic.clone(),
        "1" if ack.topic.starts_with(RETRY_PREFIX) => ack.topic.clone(),
        "1" => retry_topic_of(&ack.topic, &ack.consumer_group),
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(PopError::Body(format!("{shown:?} is no retry flag")));
        }
    };
    let queue_id = u32::try_from(ack.queue_id);
    let queue_id = queue_id.map_err(|_| PopError::Body(format!("queue {}", ack.queue_id)))?;
    let bits = ack.bit_set.bits();
    Ok(Acks {
        topic,
        group: ack.consumer_group.clone(),
        queue_id,
        id: CheckId {
            start: ack.start_offset,
            pop_time_ms: ack.pop_time,
        },
        is_order: ack.revive_queue_id == ORDER_QUEUE,
        offsets: bits
            .filter_map(|bit| ack.start_offset.checked_add(i64::from(bit)))
            .collect(),
    })
}

async fn ack_all<R: Rt>(services: &Rc<Services<R>>, all: &[Acks]) -> Result<(), PopError> {
    let mut last: Option<LogPosition> = None;
    for acks in all {
        let shard = &services.shard;
        if shard
            .store
            .queue(&acks.topic, QueueId(acks.queue_id))
            .is_none()
        {
            // Java: an unknown topic or queue is passed over.
            continue;
        }
        let key = PopKeyRef {
            topic: &acks.topic,
            group: &acks.group,
            queue_id: acks.queue_id,
        };
        if acks.is_order {
            for offset in &acks.offsets {
                last = last.max(order::ack(services, key, acks.id.pop_time_ms, *offset)?);
            }
        } else {
            last = last.max(ack_bits(services, key, acks.id, &acks.offsets)?.end);
        }
    }
    if let Some(end) = last {
        wait_flushed(services, end).await?;
    }
    Ok(())
}
