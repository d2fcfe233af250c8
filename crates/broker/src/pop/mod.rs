//! POP: the broker hands messages out one by one, to whoever asks, and waits for each to be
//! acknowledged.
//!
//! What is popped is kept on the shard of the queue (`shard::pops`). A pop of one queue is served
//! there; a pop of all queues is led by the shard of its connection, which asks the shards one
//! after the other until the answer is full. What is not acknowledged in its time goes to the
//! group's retry topic, in a queue of the same shard. Invariant: a message whose acknowledgement
//! was answered is not handed out again. Java: `PopMessageProcessor`, `PopConsumerService`.

mod ack;
mod assignment;
mod batch;
mod change;
mod error;
mod handle;
mod notify;
mod order;
mod part;
mod revive;
mod wait;

pub(crate) use ack::ack_message;
pub(crate) use assignment::{query_assignment, set_mode};
pub(crate) use batch::batch_ack;
pub(crate) use change::change_invisible_time;
pub(crate) use error::PopError;
pub(crate) use notify::{notification, polling_info};
pub(crate) use revive::keep_reviving;
pub(crate) use wait::{answer_overdue, arrived, release_all, signal_queue, sweep};

use crate::assemble::Services;
use crate::client::ensure_group;
use crate::handler::InlineRequest;
use crate::names::{self, RETRY_PREFIX};
use crate::reply::{Refusal, ReplySlot};
use crate::settings::PopSettings;
use crate::subscription::{MessageFilter, TagFilter};
use base::ShardId;
use handle::ORDER_QUEUE;
use part::{Ask, Part};
use remoting::ResponseCode;
use remoting::command::decode;
use remoting::header::RemotingHeader;
use remoting::header::pop::{PopMessageRequestHeader, PopMessageResponseHeader};
use rt::{Class, Rt};
use shard::Caller;
use shard::pops::{ATTEMPT_LEN_MAX, POP_COUNT_MAX};
use std::rc::Rc;
use std::sync::Arc;
use wait::{ALL_QUEUES, Kind, Waiting, Waits, Watch};

/// What pops of this shard share.
pub(crate) struct PopService<R: Rt> {
    pub(crate) waits: Waits<R>,
}

impl<R: Rt> PopService<R> {
    pub(crate) fn new(settings: &PopSettings) -> Self {
        Self {
            waits: Waits::new(settings),
        }
    }
}

/// A pop that passed the checks. Small, for it may be parked.
struct Wanted {
    watch: Rc<Watch>,
    queue_id: i32,
    count_max: u8,
    begins_at_end: bool,
    is_order: bool,
    invisible_ms: i64,
    filter: Arc<MessageFilter>,
    attempt_id: Box<str>,
}

/// What is parked is this, the claim to be answered, and its places in the arrival table.
const _: () = assert!(size_of::<Wanted>() <= 64);

/// `POP_MESSAGE` (200050).
pub(crate) fn pop_message<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, PopMessageRequestHeader<'_>, R>,
) {
    let InlineRequest {
        header,
        frame,
        caller,
        slot,
        ..
    } = request;
    match check(services, &header, caller) {
        Ok(wanted) => start(services, &header, wanted, slot),
        Err(PopError::UnknownGroup(_)) if services.settings.creates_groups => {
            create_group_and_pop(services, frame.to_vec(), caller, slot);
        }
        Err(error) => slot.refuse(&Refusal::from(error)),
    }
}

/// A group's first sign of life may be a pop: Java makes the group then.
fn create_group_and_pop<R: Rt>(
    services: &Rc<Services<R>>,
    frame: Vec<u8>,
    caller: Caller,
    slot: ReplySlot<R>,
) {
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        let port = Rc::clone(slot.port());
        let Ok(command) = decode(&frame) else { return };
        let Ok(header) = PopMessageRequestHeader::decode(&command.fields) else {
            return;
        };
        let made = ensure_group(&services, header.consumer_group).await;
        let checked = made.map_err(PopError::from);
        match checked.and_then(|_| check(&services, &header, caller)) {
            Ok(wanted) => start(&services, &header, wanted, slot),
            Err(error) => slot.refuse(&Refusal::from(error)),
        }
        port.flush();
    });
}

/// The checks in Java's order.
fn check<R: Rt>(
    services: &Rc<Services<R>>,
    header: &PopMessageRequestHeader<'_>,
    caller: Caller,
) -> Result<Wanted, PopError> {
    let settings = &services.settings;
    let now_ms = services.shard.rt.now_ms();
    let waited_ms = now_ms.saturating_sub(born_ms(header.born_time, now_ms));
    if waited_ms.saturating_sub(header.poll_time) > LATE_MS {
        return Err(PopError::TooLate(settings.name.clone()));
    }
    if !settings.is_readable() {
        return Err(PopError::BrokerNotReadable(settings.name.clone()));
    }
    if !(1..=POP_COUNT_MAX as i32).contains(&header.max_msg_nums) {
        return Err(PopError::Count {
            broker: settings.name.clone(),
            count: header.max_msg_nums,
        });
    }
    let (topic, group) = (header.topic, header.consumer_group);
    check_names(services, topic, group, header.queue_id, caller)?;
    let attempt_id = header.attempt_id.unwrap_or_default();
    if attempt_id.len() > ATTEMPT_LEN_MAX {
        return Err(PopError::AttemptId(attempt_id.len()));
    }
    let watch = wait::watch(services, topic, group);
    let asked = (
        header.exp.unwrap_or_default(),
        header.exp_type.unwrap_or_default(),
    );
    let filter = watch.filter(asked, || filter(services, header))?;
    Ok(Wanted {
        watch,
        queue_id: header.queue_id.max(ALL_QUEUES),
        count_max: header.max_msg_nums as u8,
        begins_at_end: header.init_mode != INIT_MIN,
        is_order: header.order == Some(true),
        invisible_ms: header.invisible_time,
        filter,
        attempt_id: attempt_id.into(),
    })
}

/// Whether the group may read the queue of the topic.
fn check_names<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
    group: &str,
    queue_id: i32,
    caller: Caller,
) -> Result<(), PopError> {
    let unknown = || PopError::UnknownTopic(topic.escape_debug().to_string());
    let handle = services.topics.find(&services.shard, topic);
    let handle = handle.ok_or_else(unknown)?;
    if !handle.is_readable() {
        return Err(PopError::TopicNotReadable(topic.to_owned()));
    }
    if queue_id >= handle.config.read_queue_nums {
        return Err(PopError::PopQueueId {
            queue_id,
            topic: topic.to_owned(),
            queue_count: handle.config.read_queue_nums,
            peer: caller.peer,
        });
    }
    let unknown = || PopError::UnknownGroup(group.escape_debug().to_string());
    let in_memory;
    let groups = services.shard.groups();
    let config = if let Some(config) = groups.find(group) {
        config
    } else {
        in_memory = services.clients.unrecorded.find(group);
        in_memory.as_ref().ok_or_else(unknown)?
    };
    if !config.consume_enable {
        return Err(PopError::GroupDisabled(group.to_owned()));
    }
    // Without a retry topic what is not acknowledged could not come again.
    names::check_topic(&retry_topic_of(topic, group)).map_err(|_| PopError::Names)
}

fn filter<R: Rt>(
    services: &Services<R>,
    header: &PopMessageRequestHeader<'_>,
) -> Result<MessageFilter, PopError> {
    let expression = header.exp.unwrap_or_default();
    if expression.is_empty() {
        return Ok(MessageFilter::Tags(TagFilter::Everything));
    }
    let filter = MessageFilter::compile(header.exp_type, expression);
    let filter = filter.map_err(PopError::Expression)?;
    if filter.is_by_properties() && !services.settings.filters_by_properties {
        let kind = crate::subscription::FilterError::Kind("SQL92".to_owned());
        return Err(PopError::Expression(kind));
    }
    Ok(filter)
}

fn start<R: Rt>(
    services: &Rc<Services<R>>,
    header: &PopMessageRequestHeader<'_>,
    wanted: Wanted,
    slot: ReplySlot<R>,
) {
    let deadline_us = deadline_us(services, header.born_time, header.poll_time);
    run(services, wanted, slot, deadline_us);
}

/// When the request's wait is over: Java counts from the client's clock. `None` when it does not
/// wait.
fn deadline_us<R: Rt>(
    services: &Services<R>,
    born_ms_told: Option<i64>,
    poll_ms: i64,
) -> Option<u64> {
    let rt = &services.shard.rt;
    let now_ms = rt.now_ms();
    let until_ms = born_ms(born_ms_told, now_ms).saturating_add(poll_ms);
    // A clock that is ahead of ours lets nobody wait longer than he asked for.
    let rest_ms = until_ms
        .saturating_sub(now_ms)
        .min(poll_ms)
        .min(HOLD_MS_MAX);
    let rest_ms = u64::try_from(rest_ms).ok().filter(|rest| *rest > 0)?;
    Some(rt.monotonic_us() + rest_ms * 1_000)
}

fn born_ms(told: Option<i64>, now_ms: i64) -> i64 {
    told.filter(|ms| *ms != 0).unwrap_or(now_ms)
}

/// Looks for messages, then answers or parks. Without a deadline it is answered at once.
fn run<R: Rt>(
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
    let is_alone = wanted.queue_id >= 0 || rt.shard_count() == 1;
    // Other shards are asked to tell of later messages only when there are none now.
    let mut asks_to_be_told = is_alone || deadline_us.is_none();
    let (part, pop_time_ms) = loop {
        let seen = wanted.watch.signals();
        let pop_time_ms = rt.now_ms();
        let told = (asks_to_be_told && !is_alone).then(|| services.shard.id());
        let part = match gather(services, &wanted, pop_time_ms, told).await {
            Ok(part) => part,
            Err(error) => {
                let port = Rc::clone(slot.port());
                slot.refuse(&Refusal::from(error));
                port.flush();
                return;
            }
        };
        let is_over = deadline_us.is_none_or(|deadline| rt.monotonic_us() >= deadline);
        if part.count > 0 || is_over && !part.has_moved || services.pop.waits.is_stopping() {
            break (part, pop_time_ms);
        }
        if slot.port().is_closed() {
            return;
        }
        if part.has_moved || wanted.watch.signals() != seen || !asks_to_be_told {
            asks_to_be_told |= !part.has_moved;
            rt.yield_now().await;
            continue;
        }
        let Some(deadline_us) = deadline_us.filter(|_| !slot.to().oneway) else {
            break (part, pop_time_ms);
        };
        slot.release();
        let kind = Kind::Pop;
        let waiting = Waiting { wanted, kind, slot };
        if let Err(Waiting { wanted, slot, .. }) = wait::park(services, waiting, deadline_us) {
            let full = ResponseCode::PollingFull;
            answer(&wanted, slot, Some(full), &part, pop_time_ms);
        }
        return;
    };
    let left_behind = part.count > 0 && part.rest > 0;
    answer(&wanted, slot, None, &part, pop_time_ms);
    if left_behind {
        wait::wake(services, &wanted.watch, wanted.queue_id);
    }
}

/// Messages from one shard after the other, until there are enough.
async fn gather<R: Rt>(
    services: &Rc<Services<R>>,
    wanted: &Wanted,
    pop_time_ms: i64,
    told: Option<ShardId>,
) -> Result<Part, PopError> {
    let rt = &services.shard.rt;
    let mut ask = Ask {
        topic: Arc::clone(&wanted.watch.topic),
        group: Arc::clone(&wanted.watch.group),
        queue_id: wanted.queue_id,
        count_max: usize::from(wanted.count_max),
        pop_time_ms,
        invisible_ms: wanted.invisible_ms,
        begins_at_end: wanted.begins_at_end,
        filter: Arc::clone(&wanted.filter),
        is_order: wanted.is_order,
        attempt_id: wanted.attempt_id.clone(),
        // Java popFromRetryProbability.
        retry_first: rt.random_u64() % 100 < RETRY_FIRST_PERCENT,
        told,
    };
    if wanted.queue_id >= 0 {
        return part::serve(services, &ask).await;
    }
    let shards = shards_of(services, &ask);
    let mut whole = Part::default();
    for (at, shard) in shards.iter().enumerate() {
        ask.told = told.filter(|told| told != shard);
        let asked = ask.clone();
        let serve =
            move |services: Rc<Services<R>>| async move { part::serve(&services, &asked).await };
        let part = services.call(*shard, serve).await.map_err(PopError::from);
        let part = match part.and_then(|part| part) {
            Ok(part) => part,
            Err(error) if whole.count == 0 => return Err(error),
            Err(error) => {
                tracing::warn!(%shard, %error, "a pop gives less");
                break;
            }
        };
        whole.body.extend_from_slice(&part.body);
        whole.count += part.count;
        whole.rest += part.rest;
        whole.has_moved |= part.has_moved;
        whole.lists.append(&part.lists);
        ask.count_max -= part.count.min(ask.count_max);
        if ask.count_max == 0 || whole.body.len() >= services.settings.transfer_bytes_max {
            // What the others have is not known: there may be more.
            whole.rest += i64::from(at + 1 < shards.len());
            break;
        }
    }
    Ok(whole)
}

/// The shards that may have messages for a pop of all queues, beginning with one at random.
fn shards_of<R: Rt>(services: &Services<R>, ask: &Ask) -> Vec<ShardId> {
    let shard = &services.shard;
    let count = shard.rt.shard_count();
    let topics = shard.topics();
    let retry = topics.find(&retry_topic_of(&ask.topic, &ask.group));
    let queues = topics
        .find(&ask.topic)
        .map_or(0, |topic| topic.read_queue_nums);
    let all = retry.is_some() || queues >= i32::from(count);
    let owns = |id: &ShardId| {
        let queues = 0..queues.max(0).cast_unsigned();
        all || queues
            .into_iter()
            .any(|q| shard.owner_of(&ask.topic, q) == *id)
    };
    let mut shards: Vec<ShardId> = (0..count).map(ShardId::new).filter(owns).collect();
    if !shards.is_empty() {
        let first = shard.rt.random_u64() as usize % shards.len();
        shards.rotate_left(first);
    }
    shards
}

fn answer<R: Rt>(
    wanted: &Wanted,
    slot: ReplySlot<R>,
    code: Option<ResponseCode>,
    part: &Part,
    pop_time_ms: i64,
) {
    let header = PopMessageResponseHeader {
        pop_time: pop_time_ms,
        invisible_time: wanted.invisible_ms,
        revive_qid: if wanted.is_order { ORDER_QUEUE } else { 0 },
        rest_num: part.rest,
        start_offset_info: Some(&part.lists.starts),
        msg_offset_info: Some(&part.lists.offsets),
        order_count_info: wanted.is_order.then_some(&*part.lists.order_counts),
    };
    if part.count > 0 {
        let found = ResponseCode::Success;
        slot.send_now(found, Some("FOUND"), &header, &part.body);
    } else {
        let code = code.unwrap_or(ResponseCode::PollingTimeout);
        slot.send_now(code, Some("NO_MESSAGE_IN_QUEUE"), &header, &[]);
    }
}

/// Where messages of a topic go that a group has not acknowledged in time. Java:
/// `KeyBuilder.buildPopRetryTopicV1`.
pub(crate) fn retry_topic_of(topic: &str, group: &str) -> String {
    format!("{RETRY_PREFIX}{group}_{topic}")
}

/// Java `PopMessageRequestHeader.isTimeoutTooMuch`.
const LATE_MS: i64 = 500;
/// `ConsumeInitMode.MIN`.
const INIT_MIN: i32 = 0;
const RETRY_FIRST_PERCENT: u64 = 20;
/// Nobody waits longer, whatever the request says.
const HOLD_MS_MAX: i64 = 600_000;
