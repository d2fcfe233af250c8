//! `NOTIFICATION`: whether a group has something to pop, asked without taking it; and how many
//! pops wait.
//!
//! Served where a pop would be, and parked as one. Invariant: nothing changes by asking. Java:
//! `NotificationProcessor`, `PollingInfoProcessor`.

use super::part::own_queues;
use super::wait::{self, ALL_QUEUES, Kind, Waiting};
use super::{PopError, Wanted, check_names, deadline_us, retry_topic_of};
use crate::assemble::Services;
use crate::handler::InlineRequest;
use crate::reply::{Refusal, ReplySlot};
use crate::subscription::{MessageFilter, TagFilter};
use crate::topics::TopicHandle;
use base::ShardId;
use remoting::ResponseCode;
use remoting::header::pop::{
    NotificationRequestHeader, NotificationResponseHeader, PollingInfoRequestHeader,
    PollingInfoResponseHeader,
};
use rt::{Class, Rt};
use shard::Caller;
use shard::pops::PopKeyRef;
use std::rc::Rc;
use std::sync::Arc;

/// `NOTIFICATION` (200054).
pub(crate) fn notification<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, NotificationRequestHeader<'_>, R>,
) {
    let InlineRequest {
        header,
        caller,
        slot,
        ..
    } = request;
    match check(services, &header, caller) {
        Ok(wanted) => {
            let deadline_us = deadline_us(services, header.born_time, header.poll_time);
            run(services, wanted, slot, deadline_us);
        }
        Err(error) => slot.refuse(&Refusal::from(error)),
    }
}

fn check<R: Rt>(
    services: &Rc<Services<R>>,
    header: &NotificationRequestHeader<'_>,
    caller: Caller,
) -> Result<Wanted, PopError> {
    if !services.settings.is_readable() {
        return Err(PopError::BrokerNotReadable(services.settings.name.clone()));
    }
    let (topic, group) = (header.topic, header.consumer_group);
    check_names(services, topic, group, header.queue_id, caller)?;
    Ok(Wanted {
        watch: wait::watch(services, topic, group),
        queue_id: header.queue_id.max(ALL_QUEUES),
        count_max: 1,
        begins_at_end: false,
        is_order: header.order == Some(true),
        invisible_ms: 0,
        filter: Arc::new(MessageFilter::Tags(TagFilter::Everything)),
        attempt_id: header.attempt_id.unwrap_or_default().into(),
    })
}

/// Looks, then answers or parks. Without a deadline it is answered at once.
pub(super) fn run<R: Rt>(
    services: &Rc<Services<R>>,
    wanted: Wanted,
    slot: ReplySlot<R>,
    deadline_us: Option<u64>,
) {
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        let watch = Rc::clone(&wanted.watch);
        watch.begin_look();
        look(&services, wanted, slot, deadline_us).await;
        watch.end_look();
    });
}

async fn look<R: Rt>(
    services: &Rc<Services<R>>,
    wanted: Wanted,
    mut slot: ReplySlot<R>,
    deadline_us: Option<u64>,
) {
    let rt = &services.shard.rt;
    loop {
        let seen = wanted.watch.signals();
        let found = has_message(services, &wanted, deadline_us.is_some()).await;
        let has_message = match found {
            Ok(found) => found,
            Err(error) => {
                let port = Rc::clone(slot.port());
                slot.refuse(&Refusal::from(error));
                port.flush();
                return;
            }
        };
        let is_open = !slot.to().oneway && !services.pop.waits.is_stopping();
        let deadline_us = deadline_us.filter(|at| is_open && rt.monotonic_us() < *at);
        let Some(deadline_us) = deadline_us.filter(|_| !has_message) else {
            return answer(slot, has_message, false);
        };
        if wanted.watch.signals() != seen {
            rt.yield_now().await;
            continue;
        }
        slot.release();
        let kind = Kind::Notify;
        let waiting = Waiting { wanted, kind, slot };
        if let Err(Waiting { slot, .. }) = wait::park(services, waiting, deadline_us) {
            answer(slot, false, true);
        }
        return;
    }
}

fn answer<R: Rt>(slot: ReplySlot<R>, has_msg: bool, polling_full: bool) {
    let header = NotificationResponseHeader {
        has_msg,
        polling_full,
    };
    slot.send_now(ResponseCode::Success, None, &header, &[]);
}

/// Whether any shard has a message for the group.
async fn has_message<R: Rt>(
    services: &Rc<Services<R>>,
    wanted: &Wanted,
    waits: bool,
) -> Result<bool, PopError> {
    let shard = &services.shard;
    let (watch, queue_id) = (&wanted.watch, wanted.queue_id);
    if queue_id >= 0 {
        return Ok(has_here(services, wanted, &watch.topic, &watch.group));
    }
    let own = shard.id();
    for index in 0..shard.rt.shard_count() {
        let (topic, group) = (Arc::clone(&watch.topic), Arc::clone(&watch.group));
        let (is_order, attempt_id) = (wanted.is_order, wanted.attempt_id.clone());
        let to = ShardId::new(index);
        let look = move |services: Rc<Services<R>>| async move {
            let watch = wait::watch(&services, &topic, &group);
            if waits && services.shard.id() != own {
                watch.add_listener(own, services.shard.rt.monotonic_us());
            }
            has_of(&services, &topic, &group, ALL_QUEUES, is_order, &attempt_id)
        };
        if services.call(to, look).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_here<R: Rt>(services: &Rc<Services<R>>, wanted: &Wanted, topic: &str, group: &str) -> bool {
    let (is_order, attempt_id) = (wanted.is_order, &wanted.attempt_id);
    has_of(
        services,
        topic,
        group,
        wanted.queue_id,
        is_order,
        attempt_id,
    )
}

fn has_of<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
    group: &str,
    queue_id: i32,
    is_order: bool,
    attempt_id: &str,
) -> bool {
    let find = |name: &str| services.topics.find(&services.shard, name);
    let now_ms = services.shard.rt.now_ms();
    let has = |topic: &TopicHandle, queue_id: u32| {
        let shard = &services.shard;
        let queue = topic.queue(shard, queue_id);
        let key = PopKeyRef {
            topic: &topic.name,
            group,
            queue_id,
        };
        let lock = shard.pops.order(key).filter(|_| is_order);
        let is_locked = lock.is_some_and(|lock| {
            let is_same_try = !attempt_id.is_empty() && *lock.attempt_id == *attempt_id;
            !is_same_try && lock.locked_until_ms(now_ms).is_some()
        });
        let next = shard.pops.place(key).map(|place| place.next);
        let next = next.or_else(|| shard.offsets.find(key.topic, group, queue_id));
        let next = next.unwrap_or_else(|| shard.store.min_offset(queue).0);
        !is_locked && shard.store.max_offset(queue).0 > next
    };
    let has_any = |name: &str| {
        let topic = find(name);
        topic.is_some_and(|topic| {
            let mut own = own_queues(services, &topic).into_iter();
            own.any(|queue_id| has(&topic, queue_id))
        })
    };
    let has_own = match u32::try_from(queue_id) {
        Ok(queue_id) => find(topic).is_some_and(|topic| has(&topic, queue_id)),
        Err(_) => has_any(topic),
    };
    has_own || has_any(&retry_topic_of(topic, group))
}

/// `POLLING_INFO` (200055). Pops of all queues wait on the shards of their connections.
pub(crate) fn polling_info<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, PollingInfoRequestHeader<'_>, R>,
) {
    let InlineRequest {
        header,
        caller,
        slot,
        ..
    } = request;
    if !services.settings.is_readable() {
        let error = PopError::BrokerNotReadable(services.settings.name.clone());
        return slot.refuse(&Refusal::from(error));
    }
    let (topic, group, queue_id) = (header.topic, header.consumer_group, header.queue_id);
    if let Err(error) = check_names(services, topic, group, queue_id, caller) {
        return slot.refuse(&Refusal::from(error));
    }
    let (topic, group) = (Arc::<str>::from(topic), Arc::<str>::from(group));
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        let count = move |services: Rc<Services<R>>| {
            let (topic, group) = (Arc::clone(&topic), Arc::clone(&group));
            async move {
                let watch = wait::watch(&services, &topic, &group);
                wait::waiting_count(&services, &watch, queue_id)
            }
        };
        let port = Rc::clone(slot.port());
        match services.gather(count).await.map_err(PopError::from) {
            Ok(counts) => {
                let sum = counts.iter().sum::<usize>();
                let polling_num = i32::try_from(sum).unwrap_or(i32::MAX);
                let header = PollingInfoResponseHeader { polling_num };
                slot.send(ResponseCode::Success, None, &header, &[]);
            }
            Err(error) => slot.refuse(&Refusal::from(error)),
        }
        port.flush();
    });
}
