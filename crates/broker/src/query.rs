//! Looking things up in queues and in the log: offsets, times, a message by its place.
//!
//! Owned by the shard of the queue or of the message. An unknown topic or queue counts as an empty
//! one, as in Java. Invariant: nothing here changes anything. Java: `AdminBrokerProcessor`,
//! `QueryMessageProcessor`.

use crate::assemble::Services;
use crate::handler::{Answer, InlineRequest, TaskRequest};
use crate::reply::Refusal;
use base::{PhyOffset, QueueId};
use remoting::ResponseCode;
use remoting::header::offset::{
    GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
};
use remoting::header::query::ViewMessageRequestHeader;
use rt::Rt;
use std::rc::Rc;
use store::{Boundary, QueueRef, ReadError};

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("can not find message by the offset, {0}")]
    NoMessage(i64),
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::new(ResponseCode::SystemError, error.to_string())
    }
}

fn queue<R: Rt>(services: &Services<R>, topic: &str, queue_id: i32) -> Option<QueueRef> {
    let queue_id = QueueId(u32::try_from(queue_id).ok()?);
    services.shard.store.queue(topic, queue_id)
}

/// `GET_MAX_OFFSET` (30).
pub(crate) fn max_offset<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, GetMaxOffsetRequestHeader<'_>, R>,
) {
    let queue = queue(services, request.header.topic, request.header.queue_id);
    let offset = queue.map_or(0, |queue| services.shard.store.max_offset(queue).0);
    let header = GetMaxOffsetResponseHeader { offset };
    request.slot.send(ResponseCode::Success, None, &header, &[]);
}

/// `GET_MIN_OFFSET` (31).
pub(crate) fn min_offset<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, GetMinOffsetRequestHeader<'_>, R>,
) {
    let queue = queue(services, request.header.topic, request.header.queue_id);
    let offset = queue.map_or(0, |queue| services.shard.store.min_offset(queue).0);
    let header = GetMinOffsetResponseHeader { offset };
    request.slot.send(ResponseCode::Success, None, &header, &[]);
}

/// `SEARCH_OFFSET_BY_TIMESTAMP` (29).
pub(crate) async fn search_offset<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, SearchOffsetRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = &request.header;
    let boundary = match header.boundary_type {
        Some(kind) if kind.eq_ignore_ascii_case("UPPER") => Boundary::Upper,
        _ => Boundary::Lower,
    };
    let offset = match queue(services, header.topic, header.queue_id) {
        None => 0,
        Some(queue) => {
            let store = &services.shard.store;
            let found = store
                .offset_by_time(queue, header.timestamp, boundary)
                .await;
            found.map_err(QueryError::from)?.0
        }
    };
    Ok(Answer::header(&SearchOffsetResponseHeader { offset }))
}

/// `GET_EARLIEST_MSG_STORETIME` (32).
pub(crate) async fn earliest_store_time<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetEarliestMsgStoretimeRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let mut timestamp = None;
    if let Some(queue) = queue(services, request.header.topic, request.header.queue_id) {
        let store = &services.shard.store;
        let first = store.min_offset(queue);
        let found = store.store_timestamp_at(queue, first).await;
        timestamp = found.map_err(QueryError::from)?;
    }
    let header = GetEarliestMsgStoretimeResponseHeader {
        timestamp: timestamp.unwrap_or(-1),
    };
    Ok(Answer::header(&header))
}

/// `VIEW_MESSAGE_BY_ID` (33).
pub(crate) async fn view_message<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, ViewMessageRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let offset = request.header.offset;
    let missing = || QueryError::NoMessage(offset);
    let at = PhyOffset::from_wire(offset).ok_or_else(missing)?;
    if at.shard() != services.shard.id() {
        return Err(missing().into());
    }
    let unit = services.shard.store.read_message(at).await;
    let unit = unit.map_err(QueryError::from)?.ok_or_else(missing)?;
    Ok(Answer::body(unit))
}
