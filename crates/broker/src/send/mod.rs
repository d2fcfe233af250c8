//! SEND: takes messages into the shard's log and answers when they may be acknowledged.
//!
//! Owned by the shard of the queue. One message costs no allocation, no task and no lookup by an
//! owned name: check, append, and either answer at once or wait in one list for the log. Invariant:
//! nothing is awaited between the check of a queue and the append. Java: `SendMessageProcessor`.

mod batch;
mod error;
mod half;
mod held;
mod properties;
mod put;
mod request_reply;
mod validate;

pub(crate) use error::SendError;
pub(crate) use half::{Half, append_discarded, append_final, checks_property, put_half_again};
pub(crate) use held::{answer_end, keep_answering_overdue, release_held};
pub(crate) use properties::{find_property, set_property};
pub(crate) use put::{
    OwnedMessage, VERSION_3_4_9, append as append_owned, put, put_dead_letter, wait_flushed,
};
pub(crate) use request_reply::{send_reply, send_reply_v2};

use crate::assemble::Services;
use crate::handler::InlineRequest;
use crate::names::SCHEDULE_TOPIC;
use crate::reply::{Refusal, ReplyPort, ReplySlot};
use crate::settings::BrokerSettings;
use crate::topics::{self, TopicHandle, Topics};
use base::QueueId;
use held::{Held, HeldSends};
use properties::Scanned;
use remoting::ResponseCode;
use remoting::command::decode;
use remoting::header::RemotingHeader;
use remoting::header::send::{
    SendMessageRefusedHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2,
    SendMessageResponseHeader,
};
use remoting::message::{MessageFields, OffsetMessageId, tags_code};
use rt::Rt;
use shard::{Caller, RequestBatch};
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::rc::Rc;
use store::AppendReceipt;

/// What sends of this shard share.
pub(crate) struct SendService<R: Rt> {
    held: HeldSends<R>,
    /// Properties that the broker adds to each message: region, trace switch, cluster.
    own_properties: Vec<u8>,
    store_host: SocketAddr,
}

impl<R: Rt> SendService<R> {
    pub(crate) fn new(settings: &BrokerSettings) -> Self {
        // Java SendMessageProcessor.sendMessage adds the three in 5.x.
        let own = format!(
            "MSG_REGION\u{1}{}\u{2}TRACE_ON\u{1}{}\u{2}CLUSTER\u{1}{}\u{2}",
            settings.region, settings.is_trace_on, settings.cluster
        );
        Self {
            held: HeldSends::default(),
            own_properties: own.into_bytes(),
            store_host: settings.advertised(),
        }
    }

    /// How many answers wait for the log.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }
}

type V2<'a> = SendMessageRequestHeaderV2<'a>;

/// `SEND_MESSAGE` (10).
pub(crate) fn send_message<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, SendMessageRequestHeader<'_>, R>,
) {
    let header = V2::from(request.header);
    send(services, request.with_header(header), false);
}

/// `SEND_MESSAGE_V2` (310).
pub(crate) fn send_message_v2<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, V2<'_>, R>,
) {
    send(services, request, false);
}

/// `SEND_BATCH_MESSAGE` (320).
pub(crate) fn send_batch<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, V2<'_>, R>,
) {
    send(services, request, true);
}

fn send<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, V2<'_>, R>,
    is_batch_code: bool,
) {
    let header = &request.header;
    let Some(handle) = services.topics.find(&services.shard, header.topic) else {
        create_and_send(services, request, is_batch_code);
        return;
    };
    // C++ clients send batches as 310: the flag decides.
    let message = Incoming {
        header,
        body: request.command.body,
        version: request.command.version,
        caller: request.caller,
        is_batch: is_batch_code || header.batch == Some(true),
    };
    send_to(services, &handle, &message, request.slot, request.frame);
}

/// One send as the handlers see it.
struct Incoming<'a> {
    header: &'a V2<'a>,
    body: &'a [u8],
    version: i32,
    caller: Caller,
    is_batch: bool,
}

fn send_to<R: Rt>(
    services: &Rc<Services<R>>,
    handle: &Rc<TopicHandle>,
    message: &Incoming<'_>,
    slot: ReplySlot<R>,
    frame: &[u8],
) {
    let mut queue_id = message.header.queue_id;
    if queue_id < 0 {
        let Some(queue) = Topics::random_queue(&services.shard, handle) else {
            forward(services, handle, message.caller, slot, frame);
            return;
        };
        queue_id = queue as i32;
    }
    let checked = validate::check(&services.settings, handle, message.header, queue_id)
        .and_then(|()| validate::check_body(&services.settings, message.body.len()));
    if let Err(error) = checked {
        refuse(services, slot, error);
        return;
    }
    if message.is_batch {
        batch::append(services, handle, message, queue_id as u32, slot);
        return;
    }
    let scanned = Scanned::read(message.header.properties.unwrap_or_default());
    if let Err(error) = validate::check_kind(&scanned) {
        refuse(services, slot, error);
        return;
    }
    if handle.is_retry && put::is_dead(services, message, handle) {
        put::to_dead_letters(services, handle, message, slot);
        return;
    }
    match append(services, handle, message, queue_id as u32, &scanned) {
        Ok(receipt) => {
            if !scanned.waits || receipt.end <= services.shard.store.acknowledged() {
                answer_at_once(services, slot, &receipt, queue_id, scanned.uniq_key);
            } else {
                let held = Held::new(slot, receipt, queue_id, scanned.uniq_key);
                services.send.held.push(services, held);
            }
        }
        Err(error) => refuse(services, slot, error),
    }
}

/// Tells the producer of one message that it is stored.
fn answer_at_once<R: Rt>(
    services: &Services<R>,
    slot: ReplySlot<R>,
    receipt: &AppendReceipt,
    queue_id: i32,
    uniq_key: Option<&str>,
) {
    let id = OffsetMessageId::new(services.send.store_host, receipt.phy_offset.to_wire());
    let ids = SentIds {
        msg_id: id.as_str(),
        queue_id,
        queue_offset: receipt.queue_offset.0,
        uniq_key,
    };
    write_answer(services, slot, ResponseCode::Success, None, &ids);
}

/// Appends one message, under the schedule topic when it is delayed.
fn append<R: Rt>(
    services: &Services<R>,
    handle: &TopicHandle,
    message: &Incoming<'_>,
    queue_id: u32,
    scanned: &Scanned<'_>,
) -> Result<AppendReceipt, SendError> {
    let header = message.header;
    let mut unique = [0; properties::UNIQUE_LEN];
    let added_key = properties::missing_key(scanned, &services.shard.rt, &mut unique);
    let own = &services.send.own_properties;
    let parts = [scanned.before, scanned.after, added_key, own];
    let fields = MessageFields {
        topic: &handle.name,
        queue_id: queue_id as i32,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp_ms: header.born_timestamp_ms,
        born_host: message.caller.peer,
        store_host: services.send.store_host,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: message.body,
        properties: &parts,
    };
    if half::is_half(header, scanned) {
        let uniq_key = scanned.uniq_key.or_else(|| properties::made_key(added_key));
        return half::append(services, &fields, message, scanned, uniq_key);
    }
    validate::check_properties(&fields)?;
    let store = &services.shard.store;
    if scanned.delay_level > 0 {
        return append_delayed(services, &fields, scanned.delay_level);
    }
    let queue = handle.queue(&services.shard, queue_id);
    let tags = scanned.tags.map_or(0, tags_code);
    Ok(store.append(queue, &fields, tags)?)
}

/// Appends a message under its delay level; its real place travels in two properties.
fn append_delayed<R: Rt>(
    services: &Services<R>,
    fields: &MessageFields<'_>,
    delay_level: i32,
) -> Result<AppendReceipt, SendError> {
    let mut real = half::Properties::default();
    real.push_real_place(fields.topic, fields.queue_id);
    let mut parts: SmallVec<[&[u8]; 6]> = SmallVec::from_slice(fields.properties);
    parts.push(real.as_bytes());
    let fields = MessageFields {
        properties: &parts,
        ..*fields
    };
    append_under_level(services, &fields, delay_level)
}

/// The same for a message whose properties tell its real place already.
fn append_under_level<R: Rt>(
    services: &Services<R>,
    fields: &MessageFields<'_>,
    delay_level: i32,
) -> Result<AppendReceipt, SendError> {
    let levels = &services.settings.delay_levels_ms;
    // Java ScheduleMessageService: a level above the highest counts as the highest.
    let level = (delay_level as usize).min(levels.len());
    let Some(delay_ms) = level.checked_sub(1).and_then(|index| levels.get(index)) else {
        return Err(SendError::NoDelayLevels);
    };
    let fields = MessageFields {
        topic: SCHEDULE_TOPIC,
        queue_id: level as i32 - 1,
        ..*fields
    };
    validate::check_properties(&fields)?;
    let store = &services.shard.store;
    let queue = store.queue_or_create(SCHEDULE_TOPIC, QueueId(level as u32 - 1));
    services.delay.note_messages();
    let due_ms = services.shard.rt.now_ms() + *delay_ms as i64;
    Ok(store.append(queue, &fields, due_ms)?)
}

fn answer_when_written<R: Rt>(services: &Services<R>, held: Held<R>, waits: bool) {
    let store = &services.shard.store;
    if !waits || held.end() <= store.acknowledged() {
        held.answer(services, ResponseCode::Success, None);
    } else {
        services.send.held.push(services, held);
    }
}

/// Creates the topic as the settings allow, then goes on with the send.
fn create_and_send<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, V2<'_>, R>,
    is_batch_code: bool,
) {
    let (frame, caller, slot) = (request.frame.to_vec(), request.caller, request.slot);
    if let Err(error) = validate::check_new_topic(request.header.topic) {
        refuse(services, slot, error);
        return;
    }
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    let is_v1 = request.command.code == remoting::RequestCode::SendMessage as i32;
    rt.spawn(rt::Class::Request, async move {
        let port = Rc::clone(slot.port());
        create_then_send(&services, &frame, caller, slot, is_v1, is_batch_code).await;
        port.flush();
    });
}

async fn create_then_send<R: Rt>(
    services: &Rc<Services<R>>,
    frame: &[u8],
    caller: Caller,
    slot: ReplySlot<R>,
    is_v1: bool,
    is_batch_code: bool,
) {
    let Ok(command) = decode(frame) else { return };
    let header = if is_v1 {
        SendMessageRequestHeader::decode(&command.fields).map(V2::from)
    } else {
        V2::decode(&command.fields)
    };
    let Ok(header) = header else { return };
    let count = header.default_topic_queue_nums;
    let created =
        topics::create_for_send(services, header.topic, header.default_topic, count).await;
    if let Err(error) = created {
        refuse(services, slot, SendError::Topic(error));
        return;
    }
    let Some(handle) = services.topics.find(&services.shard, header.topic) else {
        let topic = header.topic.to_owned();
        let error = topics::TopicError::Unknown { topic };
        refuse(services, slot, SendError::Topic(error));
        return;
    };
    let message = Incoming {
        header: &header,
        body: command.body,
        version: command.version,
        caller,
        is_batch: is_batch_code || header.batch == Some(true),
    };
    send_to(services, &handle, &message, slot, frame);
}

/// Sends the frame on to a shard that has a queue of the topic.
fn forward<R: Rt>(
    services: &Rc<Services<R>>,
    handle: &TopicHandle,
    caller: Caller,
    slot: ReplySlot<R>,
    frame: &[u8],
) {
    let to = services.topics.random_owner(&services.shard, &handle.name);
    let mut frames = Vec::with_capacity(4 + frame.len());
    frames.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    frames.extend_from_slice(frame);
    let batch = RequestBatch { caller, frames };
    let is_elsewhere = to != services.shard.id();
    if is_elsewhere && services.shard.lanes.try_requests(to, batch).is_ok() {
        slot.hand_over();
    } else {
        let busy = shard::CallError::Busy { shard: to };
        refuse(
            services,
            slot,
            SendError::Topic(topics::TopicError::Call(busy)),
        );
    }
}

/// Refuses with the header that even refused sends carry.
fn refuse<R: Rt>(services: &Services<R>, slot: ReplySlot<R>, error: SendError) {
    let refusal = Refusal::from(error);
    let header = SendMessageRefusedHeader {
        msg_region: Some(&services.settings.region),
        trace_on: Some(services.settings.is_trace_on),
    };
    slot.send(refusal.code, Some(&refusal.remark), &header, &[]);
}

/// Writes the answer to a send.
fn write_answer<R: Rt>(
    services: &Services<R>,
    slot: ReplySlot<R>,
    code: ResponseCode,
    remark: Option<&str>,
    ids: &SentIds<'_>,
) {
    let header = SendMessageResponseHeader {
        msg_id: ids.msg_id,
        queue_id: ids.queue_id,
        queue_offset: ids.queue_offset,
        transaction_id: ids.uniq_key,
        batch_uniq_id: None,
        recall_handle: None,
        msg_region: Some(&services.settings.region),
        trace_on: Some(services.settings.is_trace_on),
    };
    slot.send(code, remark, &header, &[]);
}

struct SentIds<'a> {
    msg_id: &'a str,
    queue_id: i32,
    queue_offset: i64,
    uniq_key: Option<&'a str>,
}

/// Flushes ports that got answers outside of a reading loop, each once.
pub(crate) fn flush_all<R: Rt>(ports: Vec<Rc<ReplyPort<R>>>) {
    for port in ports {
        port.flush();
    }
}
