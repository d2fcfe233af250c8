//! Tools that move committed offsets: requests 314 and 222.
//!
//! Offsets are changed on the shards of their queues. What must always hold: an offset that is set
//! here lies between the queue's first and last. Answers to Java's
//! `AdminBrokerProcessor.cloneGroupOffset` and `resetOffset`.

use crate::assemble::Services;
use crate::client::Member;
use crate::consume_stats::topics_with_offsets;
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use base::QueueId;
use remoting::body::MessageQueue;
use remoting::body::offsets::ResetOffsetBody;
use remoting::command::{SerializeType, write_request};
use remoting::header::group::{CloneGroupOffsetRequestHeader, ResetOffsetRequestHeader};
use remoting::{RequestCode, ResponseCode};
use rt::Rt;
use shard::CallError;
use shard::pops::PopKeyRef;
use std::collections::BTreeMap;
use std::rc::Rc;
use store::{AppendError, Boundary, ReadError};

/// Why offsets stay as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OffsetAdminError {
    #[error("Topic {0} does not exist")]
    UnknownTopic(String),
    #[error("Group {0} does not exist")]
    UnknownGroup(String),
    #[error("Target offset {offset} not in consume queue range [{min}-{max}]")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// The queue's first offset.
        min: i64,
        /// The offset after its last.
        max: i64,
    },
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the group pops, and the log does not take its reset: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<OffsetAdminError> for Refusal {
    fn from(error: OffsetAdminError) -> Self {
        let code = match error {
            OffsetAdminError::UnknownTopic(_) => ResponseCode::TopicNotExist,
            OffsetAdminError::UnknownGroup(_) => ResponseCode::SubscriptionGroupNotExist,
            OffsetAdminError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            OffsetAdminError::OutOfRange { .. }
            | OffsetAdminError::Read(_)
            | OffsetAdminError::Append(_)
            | OffsetAdminError::Call(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `CLONE_GROUP_OFFSET` (314): gives one group the offsets of another.
pub(crate) async fn clone_offsets<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, CloneGroupOffsetRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = request.header;
    let topics = match header.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => [topic.to_owned()].into(),
        None => topics_with_offsets(services, header.src_group)
            .await
            .map_err(OffsetAdminError::from)?,
    };
    let online = services.clients.subscriptions(header.src_group);
    for topic in topics {
        let is_left = !header.offline
            && online.as_ref().is_some_and(|online| {
                !online.topics.is_empty() && !online.topics.contains_key(&topic)
            });
        if is_left || services.shard.topics().find(&topic).is_none() {
            continue;
        }
        let (from, to) = (header.src_group.to_owned(), header.dest_group.to_owned());
        let copy = move |services: Rc<Services<R>>| async move {
            let offsets = &services.shard.offsets;
            let mut found = Vec::new();
            offsets.for_each(|name, group, queue_id, offset| {
                if name == topic && group == from {
                    found.push((queue_id, offset));
                }
            });
            for (queue_id, offset) in found {
                let key = PopKeyRef {
                    topic: &topic,
                    group: &to,
                    queue_id,
                };
                services.shard.commit_offset(key, offset)?;
            }
            Ok::<_, OffsetAdminError>(())
        };
        let copied = services.gather(copy).await;
        for copied in copied.map_err(OffsetAdminError::from)? {
            copied?;
        }
    }
    Ok(Answer::empty())
}

/// What a reset aims at.
#[derive(Debug, Clone, Copy)]
struct Aim {
    /// Only this queue; negative for all.
    queue_id: i32,
    /// This offset, where one is given together with a queue.
    offset: Option<i64>,
    /// The first message stored at or after this time; -1 for the end.
    timestamp_ms: i64,
    /// Whether offsets may also move forward.
    is_force: bool,
}

/// `INVOKE_BROKER_TO_RESET_OFFSET` (222): moves a group's offsets to a point in time, here and in
/// the members that are online.
pub(crate) async fn reset<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, ResetOffsetRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = request.header;
    let aim = Aim {
        queue_id: header.queue_id.unwrap_or(-1),
        offset: header.offset.filter(|offset| *offset != -1),
        timestamp_ms: header.timestamp,
        is_force: header.is_force,
    };
    tracing::info!(
        topic = header.topic,
        group = header.group,
        ?aim,
        peer = %request.caller.peer,
        "reset offsets"
    );
    let offsets = move_offsets(services, header.topic, header.group, aim).await?;
    let queue = |(id, offset): (u32, i64)| {
        let queue = MessageQueue::new(header.topic, &services.settings.name, id.cast_signed());
        (queue, offset)
    };
    let body = ResetOffsetBody {
        offset_table: offsets.into_iter().map(queue).collect(),
    };
    let body = body.encode();
    tell_members(services, &header, &body).await?;
    Ok(Answer::body(body))
}

async fn move_offsets<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
    group: &str,
    aim: Aim,
) -> Result<BTreeMap<u32, i64>, OffsetAdminError> {
    let config = services.shard.topics().find(topic).cloned();
    let config = config.ok_or_else(|| OffsetAdminError::UnknownTopic(topic.to_owned()))?;
    if services.shard.groups().find(group).is_none() {
        return Err(OffsetAdminError::UnknownGroup(group.to_owned()));
    }
    let all = 0..config.read_queue_nums.max(0).cast_unsigned();
    let queues = u32::try_from(aim.queue_id).map_or(all, |only| only..only + 1);
    let (topic, group) = (topic.to_owned(), group.to_owned());
    let parts = services
        .gather(move |services: Rc<Services<R>>| async move {
            let shard = &services.shard;
            let mut moved = Vec::new();
            for id in queues.filter(|id| shard.owner_of(&topic, *id) == shard.id()) {
                let target = target_offset(&services, &topic, id, aim).await?;
                let present = shard.offsets.find(&topic, &group, id);
                let offset = match present {
                    Some(present) if !aim.is_force => target.min(present),
                    _ => target,
                };
                let key = PopKeyRef {
                    topic: &topic,
                    group: &group,
                    queue_id: id,
                };
                shard.commit_offset(key, offset)?;
                crate::pop::signal_queue(&services, key);
                moved.push((id, offset));
            }
            Ok::<_, OffsetAdminError>(moved)
        })
        .await?;
    let mut offsets = BTreeMap::new();
    for part in parts {
        offsets.extend(part?);
    }
    Ok(offsets)
}

async fn target_offset<R: Rt>(
    services: &Services<R>,
    topic: &str,
    queue_id: u32,
    aim: Aim,
) -> Result<i64, OffsetAdminError> {
    let store = &services.shard.store;
    let Some(queue) = store.queue(topic, QueueId(queue_id)) else {
        return Ok(0);
    };
    let (min, max) = (store.min_offset(queue).0, store.max_offset(queue).0);
    if aim.queue_id >= 0
        && let Some(offset) = aim.offset
    {
        if !(min..=max).contains(&offset) {
            return Err(OffsetAdminError::OutOfRange { offset, min, max });
        }
        return Ok(offset);
    }
    if aim.timestamp_ms < 0 {
        return Ok(max);
    }
    let found = store
        .offset_by_time(queue, aim.timestamp_ms, Boundary::Lower)
        .await?;
    Ok(found.0)
}

/// Members that are online go on from the new offsets instead of committing their own.
async fn tell_members<R: Rt>(
    services: &Rc<Services<R>>,
    header: &ResetOffsetRequestHeader<'_>,
    body: &[u8],
) -> Result<(), OffsetAdminError> {
    let owner = services.shard.owner_of_group(header.group);
    let group = header.group.to_owned();
    let members = services
        .call(owner, move |services: Rc<Services<R>>| async move {
            let found = services.clients.consumer_group(&group);
            found.map_or_else(Vec::new, |found| found.members)
        })
        .await?;
    let code = RequestCode::ResetConsumerClientOffset as i32;
    let mut frame = Vec::new();
    write_request(&mut frame, SerializeType::Json, code, 0, true, header, body);
    for Member { conn, .. } in members {
        services.push(conn, frame.clone());
    }
    Ok(())
}
