//! Acknowledgements of popped messages, one by one.
//!
//! Owned by the shard of the queue. An acknowledgement is a record of the log and is answered when
//! the log acknowledges that. One that finds nothing, because the message is acknowledged already
//! or its time is over, is a success with a remark, as it is in Java. Invariant: what is answered
//! with success is not handed out again under the same handle. Java: `AckMessageProcessor`.

use super::handle::Handle;
use super::{PopError, order};
use crate::assemble::Services;
use crate::handler::InlineRequest;
use crate::reply::{Refusal, ReplySlot};
use crate::send::wait_flushed;
use base::LogPosition;
use remoting::ResponseCode;
use remoting::header::EncodeHeader;
use remoting::header::NoHeader;
use remoting::header::pop::AckMessageRequestHeader;
use rt::{Class, Rt};
use shard::Caller;
use shard::pops::{CheckId, Op, PopKeyRef};
use std::rc::Rc;

/// What became of a request about a popped message.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The end of the record, when something has changed.
    pub(super) end: Option<LogPosition>,
    /// Why nothing has.
    pub(super) remark: Option<&'static str>,
}

impl Done {
    pub(super) fn changed(end: LogPosition) -> Self {
        let end = Some(end);
        Self { end, remark: None }
    }

    pub(super) fn nothing(remark: &'static str) -> Self {
        let remark = Some(remark);
        Self { end: None, remark }
    }
}

/// `ACK_MESSAGE` (200051).
pub(crate) fn ack_message<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, AckMessageRequestHeader<'_>, R>,
) {
    let header = &request.header;
    let done = Message::check(services, header, request.caller).and_then(|message| {
        ack(
            services,
            message.key(header),
            &message.handle,
            header.offset,
        )
    });
    answer(services, request.slot, done, NoHeader);
}

/// A message that a client speaks of.
pub(super) struct Message {
    queue_id: u32,
    pub(super) handle: Handle,
    /// The offset after the queue's last.
    pub(super) max: i64,
}

impl Message {
    /// The checks in Java's order.
    pub(super) fn check<R: Rt>(
        services: &Services<R>,
        header: &AckMessageRequestHeader<'_>,
        caller: Caller,
    ) -> Result<Self, PopError> {
        let (topic, queue_id, offset) = (header.topic, header.queue_id, header.offset);
        let unknown = || PopError::UnknownTopic(topic.escape_debug().to_string());
        let found = services.topics.find(&services.shard, topic);
        let found = found.ok_or_else(unknown)?;
        let queue_count = found.config.read_queue_nums;
        if !(0..queue_count).contains(&queue_id) {
            return Err(PopError::AckQueueId {
                queue_id,
                topic: topic.to_owned(),
                queue_count,
                peer: caller.peer,
            });
        }
        let store = &services.shard.store;
        let queue = found.queue(&services.shard, queue_id.cast_unsigned());
        let (min, max) = (store.min_offset(queue).0, store.max_offset(queue).0);
        if !(min..=max).contains(&offset) {
            return Err(PopError::Offset {
                topic: topic.to_owned(),
                queue_id,
                offset,
                min,
                max,
            });
        }
        Ok(Self {
            queue_id: queue_id.cast_unsigned(),
            handle: Handle::parse(header.extra_info)?,
            max,
        })
    }

    pub(super) fn key<'a>(&self, header: &AckMessageRequestHeader<'a>) -> PopKeyRef<'a> {
        PopKeyRef {
            topic: header.topic,
            group: header.consumer_group,
            queue_id: self.queue_id,
        }
    }
}

fn ack<R: Rt>(
    services: &Rc<Services<R>>,
    key: PopKeyRef<'_>,
    handle: &Handle,
    offset: i64,
) -> Result<Done, PopError> {
    if let Some(remark) = is_of_other(handle, key, offset) {
        return Ok(Done::nothing(remark));
    }
    if handle.is_order() {
        let end = order::ack(services, key, handle.id.pop_time_ms, offset)?;
        return Ok(end.map_or(Done::nothing(GONE), Done::changed));
    }
    ack_bits(services, key, handle.id, &[offset])
}

/// Acknowledges those of these messages that are popped under this check.
pub(super) fn ack_bits<R: Rt>(
    services: &Rc<Services<R>>,
    key: PopKeyRef<'_>,
    id: CheckId,
    offsets: &[i64],
) -> Result<Done, PopError> {
    let shard = &services.shard;
    let found = offsets
        .iter()
        .filter_map(|offset| shard.pops.find(key, id, *offset));
    let bits = found.fold(0, |bits, index| bits | 1_u32 << index);
    if bits == 0 {
        return Ok(Done::nothing(GONE));
    }
    let was_full = is_full(services, key);
    let end = shard.change_pops(key, vec![Op::Clear { id, bits }])?;
    if was_full {
        super::wait::signal_queue(services, key);
    }
    Ok(Done::changed(end))
}

/// Whether a group can pop no more of a queue until something is acknowledged.
pub(super) fn is_full<R: Rt>(services: &Services<R>, key: PopKeyRef<'_>) -> bool {
    let (pops, settings) = (&services.shard.pops, &services.settings);
    let place = pops.place(key);
    place.is_some_and(|place| place.count >= settings.pop.popped_max)
        || pops.count() >= settings.pop.popped_shard_max
}

/// Why a handle is not for this message.
pub(super) fn is_of_other(
    handle: &Handle,
    key: PopKeyRef<'_>,
    offset: i64,
) -> Option<&'static str> {
    let same_queue = handle
        .queue_id
        .is_none_or(|id| id == key.queue_id.cast_signed());
    let same_offset = handle.offset.is_none_or(|other| other == offset);
    match (same_queue, same_offset) {
        (false, _) => Some("the receipt handle is of another queue; nothing has changed"),
        (_, false) => Some("the receipt handle is of another message; nothing has changed"),
        _ => None,
    }
}

/// Answers when the log has acknowledged the record.
pub(super) fn answer<R: Rt>(
    services: &Rc<Services<R>>,
    slot: ReplySlot<R>,
    done: Result<Done, PopError>,
    header: impl EncodeHeader + 'static,
) {
    let done = match done {
        Ok(done) => done,
        Err(error) => return slot.refuse(&Refusal::from(error)),
    };
    let waits_for = done
        .end
        .filter(|end| *end > services.shard.store.acknowledged());
    let Some(end) = waits_for else {
        return slot.send(ResponseCode::Success, done.remark, &header, &[]);
    };
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        let port = Rc::clone(slot.port());
        match wait_flushed(&services, end).await {
            Ok(()) => slot.send(ResponseCode::Success, None, &header, &[]),
            Err(error) => slot.refuse(&Refusal::from(error)),
        }
        port.flush();
    });
}

pub(super) const GONE: &str = "nothing is popped under this receipt handle: the message is \
    acknowledged already, or its time was over and it comes again; nothing has changed";
