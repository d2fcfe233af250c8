//! Batches: several messages of one queue in one frame.
//!
//! Each inner message becomes a stored message of its own, with consecutive offsets; the outer
//! header gives topic, queue, times and hosts, and its properties are not added (as 5.x does).
//! Invariant: every message of the batch has been checked, and has its room, before the first is
//! appended: a batch is stored whole or not at all.

use super::held::Held;
use super::properties::{self, Scanned};
use super::{Incoming, SendError, answer_when_written, refuse, validate};
use crate::assemble::Services;
use crate::reply::ReplySlot;
use crate::topics::TopicHandle;
use remoting::message::batch::{BatchMessage, split};
use remoting::message::{MessageFields, OffsetMessageId, tags_code};
use rt::Rt;
use std::rc::Rc;
use store::AppendReceipt;

pub(super) fn append<R: Rt>(
    services: &Rc<Services<R>>,
    handle: &TopicHandle,
    message: &Incoming<'_>,
    queue_id: u32,
    slot: ReplySlot<R>,
) {
    let outer = Scanned::read(message.header.properties.unwrap_or_default());
    match append_all(services, handle, message, queue_id) {
        Ok((first, ids, end)) => {
            let held = Held::new(slot, first, queue_id as i32, outer.uniq_key);
            answer_when_written(services, held.batch(ids, end), outer.waits);
        }
        Err(error) => refuse(services, slot, error),
    }
}

fn append_all<R: Rt>(
    services: &Services<R>,
    handle: &TopicHandle,
    message: &Incoming<'_>,
    queue_id: u32,
) -> Result<(AppendReceipt, String, base::LogPosition), SendError> {
    if handle.is_retry {
        return Err(SendError::BatchToRetry(handle.name.to_string()));
    }
    let inner = split(message.body).collect::<Result<Vec<BatchMessage<'_>>, _>>();
    let inner = inner.map_err(|error| SendError::Batch(error.to_string()))?;
    let mut lens = Vec::with_capacity(inner.len());
    for part in &inner {
        lens.push(with_fields(
            services, handle, message, queue_id, part, check,
        )?);
    }
    services.shard.store.check_room(&lens)?;
    let mut first: Option<AppendReceipt> = None;
    let mut end = base::LogPosition(0);
    let mut ids = String::new();
    let stored = if base::bug!(HalfBatch) {
        inner.len().div_ceil(2)
    } else {
        inner.len()
    };
    for (number, part) in (0..).zip(&inner[..stored]) {
        let receipt = with_fields(
            services,
            handle,
            message,
            queue_id,
            part,
            |fields, scanned| {
                let queue = handle.queue(&services.shard, queue_id);
                let tags = scanned.tags.map_or(0, tags_code);
                Ok(services.shard.store.append(queue, fields, tags)?)
            },
        )?;
        if !ids.is_empty() {
            ids.push(',');
        }
        let id = OffsetMessageId::new(services.send.store_host, receipt.phy_offset.to_wire());
        ids.push_str(id.as_str());
        let begins_at = first.get_or_insert(receipt).queue_offset.0;
        base::always!(BatchIsDense, receipt.queue_offset.0 == begins_at + number);
        end = receipt.end;
    }
    match first {
        Some(first) => Ok((first, ids, end)),
        None => Err(SendError::Batch("it holds no message".to_owned())),
    }
}

/// Gives the length of the message as it will be stored.
fn check(fields: &MessageFields<'_>, scanned: &Scanned<'_>) -> Result<usize, SendError> {
    validate::check_batched(scanned)?;
    validate::check_properties(fields)?;
    Ok(fields.encoded_len())
}

/// Runs `act` on one inner message as it will be stored.
fn with_fields<R: Rt, T>(
    services: &Services<R>,
    handle: &TopicHandle,
    message: &Incoming<'_>,
    queue_id: u32,
    part: &BatchMessage<'_>,
    act: impl FnOnce(&MessageFields<'_>, &Scanned<'_>) -> Result<T, SendError>,
) -> Result<T, SendError> {
    let header = message.header;
    let scanned = Scanned::read(part.properties);
    let mut unique = [0; properties::UNIQUE_LEN];
    let added_key = properties::missing_key(&scanned, &services.shard.rt, &mut unique);
    let own = &services.send.own_properties;
    let fields = MessageFields {
        topic: &handle.name,
        queue_id: queue_id as i32,
        flag: part.flag,
        sys_flag: header.sys_flag,
        born_timestamp_ms: header.born_timestamp_ms,
        born_host: message.caller.peer,
        store_host: services.send.store_host,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: part.body,
        properties: &[scanned.before, scanned.after, added_key, own],
    };
    act(&fields, &scanned)
}
