//! Consumer offsets: what a group has committed, and where a new group begins.
//!
//! Owned by the shard of the queue. Invariant: a group without an offset on a queue that still has
//! its first message begins at 0, so that it loses nothing. Java: `ConsumerManageProcessor`.

use crate::assemble::Services;
use crate::handler::InlineRequest;
use crate::reply::Refusal;
use base::{QueueId, QueueOffset};
use remoting::ResponseCode;
use remoting::header::NoHeader;
use remoting::header::offset::{
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use rt::Rt;
use shard::pops::PopKeyRef;
use std::rc::Rc;
use store::{AppendError, QueueRef, ReadLimits, TailRead};

/// Why an offset was not found or not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OffsetError {
    #[error("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")]
    NotFound,
    #[error("Not found, do not set to zero, maybe this group boot first")]
    NotFoundNorZero,
    #[error("Group {0} not exist!")]
    UnknownGroup(String),
    #[error("Topic {0} not exist!")]
    UnknownTopic(String),
    #[error("queueId[{0}] is illegal, it must be 0 or above")]
    QueueId(i32),
    #[error("the group pops, and the log does not take its reset: {0}")]
    Append(#[from] AppendError),
}

impl From<OffsetError> for Refusal {
    fn from(error: OffsetError) -> Self {
        let code = match error {
            OffsetError::NotFound | OffsetError::NotFoundNorZero => ResponseCode::QueryNotFound,
            OffsetError::UnknownGroup(_) => ResponseCode::SubscriptionGroupNotExist,
            OffsetError::UnknownTopic(_) => ResponseCode::TopicNotExist,
            OffsetError::QueueId(_) => ResponseCode::InvalidParameter,
            OffsetError::Append(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `QUERY_CONSUMER_OFFSET` (14).
pub(crate) fn query_consumer_offset<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, QueryConsumerOffsetRequestHeader<'_>, R>,
) {
    match find(services, &request.header) {
        Ok(offset) => {
            let header = QueryConsumerOffsetResponseHeader { offset };
            request.slot.send(ResponseCode::Success, None, &header, &[]);
        }
        Err(error) => request.slot.refuse(&Refusal::from(error)),
    }
}

fn find<R: Rt>(
    services: &Services<R>,
    header: &QueryConsumerOffsetRequestHeader<'_>,
) -> Result<i64, OffsetError> {
    let queue_id = queue_id(header.queue_id)?;
    let shard = &services.shard;
    let committed = shard
        .offsets
        .find(header.topic, header.consumer_group, queue_id);
    if let Some(offset) = committed {
        return Ok(offset);
    }
    if header.set_zero_if_not_found == Some(false) {
        return Err(OffsetError::NotFoundNorZero);
    }
    let queue = shard.store.queue(header.topic, QueueId(queue_id));
    if queue.is_none_or(|queue| is_young(services, queue)) {
        Ok(0)
    } else {
        Err(OffsetError::NotFound)
    }
}

/// Java asks whether message 0 of the queue is still in memory. An empty queue counts as young as
/// well: with 22 a new group would skip a message that comes between its request 14 and its
/// request 30.
pub(crate) fn is_young<R: Rt>(services: &Services<R>, queue: QueueRef) -> bool {
    let store = &services.shard.store;
    if store.min_offset(queue).0 > 0 {
        return false;
    }
    let stats = store.stats();
    if store.max_offset(queue).0 == 0
        || stats.appended - stats.start <= services.settings.young_log_bytes
    {
        return true;
    }
    let limits = ReadLimits {
        count_max: 1,
        bytes_max: 1,
        scan_max: 1,
    };
    let read = store.read_tail(
        queue,
        QueueOffset(0),
        limits,
        &mut |_| true,
        &mut Vec::new(),
    );
    !matches!(read, TailRead::NotInMemory)
}

/// `UPDATE_CONSUMER_OFFSET` (15).
pub(crate) fn update_consumer_offset<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, UpdateConsumerOffsetRequestHeader<'_>, R>,
) {
    match commit(services, &request.header) {
        Ok(()) => request
            .slot
            .send(ResponseCode::Success, None, &NoHeader, &[]),
        Err(error) => request.slot.refuse(&Refusal::from(error)),
    }
}

fn commit<R: Rt>(
    services: &Services<R>,
    header: &UpdateConsumerOffsetRequestHeader<'_>,
) -> Result<(), OffsetError> {
    let shard = &services.shard;
    let (topic, group) = (header.topic, header.consumer_group);
    let is_known = shard.groups().find(group).is_some();
    if !is_known && services.clients.unrecorded.find(group).is_none() {
        let group = group.escape_debug().to_string();
        return Err(OffsetError::UnknownGroup(group));
    }
    if services.topics.find(shard, topic).is_none() {
        let topic = topic.escape_debug().to_string();
        return Err(OffsetError::UnknownTopic(topic));
    }
    let queue_id = queue_id(header.queue_id)?;
    let key = PopKeyRef {
        topic,
        group,
        queue_id,
    };
    Ok(shard.commit_offset(key, header.commit_offset)?)
}

fn queue_id(queue_id: i32) -> Result<u32, OffsetError> {
    u32::try_from(queue_id).map_err(|_| OffsetError::QueueId(queue_id))
}
