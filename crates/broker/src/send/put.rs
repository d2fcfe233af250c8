//! Messages that the broker stores itself: copies for retry, dead letters, delayed deliveries.
//!
//! A copy is made on the shard that knows the original and stored on the shard that owns its
//! target queue. Invariant: done means acknowledged by that shard's log. Java:
//! `SendMessageProcessor.handleRetryAndDLQ`, `EscapeBridge`.

use super::held::Held;
use super::properties::{Scanned, set_property};
use super::{Incoming, SendError, append_delayed, refuse, validate};
use crate::assemble::Services;
use crate::names::{DLQ_PREFIX, RETRY_PREFIX};
use crate::reply::ReplySlot;
use crate::topics::{self, TopicHandle};
use base::LogPosition;
use remoting::ResponseCode;
use remoting::message::{MessageFields, tags_code};
use rt::Rt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use store::AppendReceipt;

/// A message with memory of its own.
#[derive(Debug, Clone)]
pub(crate) struct OwnedMessage {
    pub(crate) topic: String,
    pub(crate) queue_id: u32,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp_ms: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: String,
}

/// Stores a message on the shard that owns its queue; delayed when its properties say so.
pub(crate) async fn put<R: Rt>(
    services: &Services<R>,
    message: OwnedMessage,
) -> Result<AppendReceipt, SendError> {
    let to = services.shard.owner_of(&message.topic, message.queue_id);
    let store = move |services: Rc<Services<R>>| async move {
        let receipt = append(&services, &message, true)?;
        wait_flushed(&services, receipt.end).await?;
        Ok(receipt)
    };
    let called = services.call(to, store).await;
    called.map_err(|error| SendError::Topic(error.into()))?
}

/// Waits for the log to acknowledge what ends at `end`, as long as a producer would.
pub(crate) async fn wait_flushed<R: Rt>(
    services: &Services<R>,
    end: LogPosition,
) -> Result<(), SendError> {
    let limit_ms = services.settings.sync_flush_timeout_ms;
    let mut flushed = None;
    let waits = async { flushed = Some(services.shard.store.wait_acknowledged(end).await) };
    let timer = services.shard.rt.sleep(Duration::from_millis(limit_ms));
    shard::first_of(waits, timer).await;
    match flushed {
        Some(flushed) => Ok(flushed?),
        None => Err(SendError::FlushTimeout(limit_ms)),
    }
}

/// Appends a message to this shard's log. `delays` tells whether a delay level is heeded.
pub(crate) fn append<R: Rt>(
    services: &Services<R>,
    message: &OwnedMessage,
    delays: bool,
) -> Result<AppendReceipt, SendError> {
    let scanned = Scanned::read(&message.properties);
    let fields = MessageFields {
        topic: &message.topic,
        queue_id: message.queue_id as i32,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_host: services.send.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: 0,
        body: &message.body,
        properties: &[message.properties.as_bytes()],
    };
    validate::check_properties(&fields)?;
    if delays && scanned.delay_level > 0 {
        return append_delayed(services, &fields, scanned.delay_level);
    }
    let Some(handle) = services.topics.find(&services.shard, &message.topic) else {
        let topic = message.topic.clone();
        return Err(topics::TopicError::Unknown { topic }.into());
    };
    let queue = handle.queue(&services.shard, message.queue_id);
    let tags = scanned.tags.map_or(0, tags_code);
    Ok(services.shard.store.append(queue, &fields, tags)?)
}

/// Whether a message that a consumer sends to its own retry topic has failed too often.
pub(super) fn is_dead<R: Rt>(
    services: &Services<R>,
    message: &Incoming<'_>,
    handle: &TopicHandle,
) -> bool {
    let group = handle.name.trim_start_matches(RETRY_PREFIX);
    let groups = services.shard.groups();
    let configured = groups
        .find(group)
        .map_or(RETRIES_MAX, |g| g.retry_max_times);
    let wanted = message.header.max_reconsume_times;
    let wanted = wanted.filter(|max| *max >= 0 && message.version >= VERSION_3_4_9);
    message.header.reconsume_times.unwrap_or(0) > wanted.unwrap_or(configured)
}

/// Stores the message under the group's dead letter topic and answers the send.
pub(super) fn to_dead_letters<R: Rt>(
    services: &Rc<Services<R>>,
    handle: &TopicHandle,
    message: &Incoming<'_>,
    slot: ReplySlot<R>,
) {
    let header = message.header;
    let group = handle.name.trim_start_matches(RETRY_PREFIX);
    let mut properties = header.properties.unwrap_or_default().to_owned();
    set_property(&mut properties, "DELAY", "0");
    let uniq_key = super::find_property(&properties, "UNIQ_KEY").map(str::to_owned);
    let copy = OwnedMessage {
        topic: format!("{DLQ_PREFIX}{group}"),
        queue_id: 0,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp_ms: header.born_timestamp_ms,
        born_host: message.caller.peer,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        body: message.body.to_vec(),
        properties,
    };
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(rt::Class::Request, async move {
        let port = Rc::clone(slot.port());
        match put_dead_letter(&services, copy).await {
            Ok(receipt) => {
                let held = Held::new(slot, receipt, 0, uniq_key.as_deref());
                held.answer(&services, ResponseCode::Success, None);
            }
            Err(error) => refuse(&services, slot, error),
        }
        port.flush();
    });
}

/// Stores a dead letter; its topic is made when there is none.
pub(crate) async fn put_dead_letter<R: Rt>(
    services: &Services<R>,
    message: OwnedMessage,
) -> Result<AppendReceipt, SendError> {
    topics::ensure_retry_topic(services, &message.topic, 1).await?;
    if base::bug!(DeadLetterTwice) {
        super::append_owned(services, &message, false)?;
    }
    put(services, message).await
}

/// `MQVersion.V3_4_9`: from here on a client's own limit of retries counts.
pub(crate) const VERSION_3_4_9: i32 = 121;
/// Java `SubscriptionGroupConfig.retryMaxTimes`.
const RETRIES_MAX: i32 = 16;
