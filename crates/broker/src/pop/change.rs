//! The invisible time of a popped message, changed: longer to go on, shorter to give it back.
//!
//! Owned by the shard of the queue. The message leaves its check and gets one of its own, in one
//! record; the old handle is over then. Invariant: the message has one valid handle at a time.
//! Java: `ChangeInvisibleTimeProcessor`.

use super::ack::{Done, GONE, Message, answer, is_of_other};
use super::{PopError, order};
use crate::assemble::Services;
use crate::handler::InlineRequest;
use remoting::header::pop::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
};
use rt::Rt;
use shard::Caller;
use shard::pops::{Check, CheckId, Op};
use std::rc::Rc;

/// `CHANGE_MESSAGE_INVISIBLETIME` (200053).
pub(crate) fn change_invisible_time<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, ChangeInvisibleTimeRequestHeader<'_>, R>,
) {
    match change(services, &request.header, request.caller) {
        Ok((done, header)) => answer(services, request.slot, Ok(done), header),
        Err(error) => answer(
            services,
            request.slot,
            Err(error),
            remoting::header::NoHeader,
        ),
    }
}

fn change<R: Rt>(
    services: &Rc<Services<R>>,
    header: &ChangeInvisibleTimeRequestHeader<'_>,
    caller: Caller,
) -> Result<(Done, ChangeInvisibleTimeResponseHeader), PopError> {
    let message = AckMessageRequestHeader {
        consumer_group: header.consumer_group,
        topic: header.topic,
        queue_id: header.queue_id,
        extra_info: header.extra_info,
        offset: header.offset,
    };
    let checked = Message::check(services, &message, caller)?;
    let (handle, offset) = (checked.handle, header.offset);
    if offset >= checked.max {
        return Err(PopError::Offset {
            topic: header.topic.to_owned(),
            queue_id: header.queue_id,
            offset,
            min: 0,
            max: checked.max,
        });
    }
    let shard = &services.shard;
    let now_ms = shard.rt.now_ms();
    let key = checked.key(&message);
    let old = handle.id.pop_time_ms;
    let visible_at_ms = now_ms.saturating_add(header.invisible_time.max(0));
    let answer = |pop_time, invisible_time| ChangeInvisibleTimeResponseHeader {
        pop_time,
        invisible_time,
        revive_qid: handle.revive_queue,
    };
    if let Some(remark) = is_of_other(&handle, key, offset) {
        return Ok((Done::nothing(remark), answer(now_ms, header.invisible_time)));
    }
    if handle.is_order() {
        // Java keeps the pop time, which the acknowledgement is checked against.
        let end = order::change(services, key, old, offset, visible_at_ms)?;
        let done = end.map_or(Done::nothing(GONE), Done::changed);
        return Ok((done, answer(old, visible_at_ms.saturating_sub(old))));
    }
    let Some(index) = shard.pops.find(key, handle.id, offset) else {
        return Ok((Done::nothing(GONE), answer(now_ms, header.invisible_time)));
    };
    let next = shard.pops.place(key).map_or(offset + 1, |place| place.next);
    let id = CheckId {
        start: offset,
        pop_time_ms: now_ms.max(old.saturating_add(1)),
    };
    // What the new handle says counts, also within a millisecond of the old one.
    let visible_at_ms = id.pop_time_ms.saturating_add(header.invisible_time.max(0));
    let check = Check::new(offset, visible_at_ms, &[offset]);
    let bits = 1 << index;
    let ops = vec![
        Op::Clear {
            id: handle.id,
            bits,
        },
        Op::Take { id, check, next },
    ];
    let end = shard.change_pops(key, ops)?;
    let answer = answer(id.pop_time_ms, header.invisible_time);
    Ok((Done::changed(end), answer))
}
