//! `CONSUMER_SEND_MSG_BACK`: a message that could not be consumed comes again later, or becomes a
//! dead letter.
//!
//! Runs on the shard whose log holds the message; the copy goes to the shard of the retry queue.
//! Invariant: the answer of success means that the copy is acknowledged by the log. Java:
//! `AbstractSendMessageProcessor.consumerSendMsgBack`.

use crate::assemble::Services;
use crate::client::{ClientError, ensure_group};
use crate::handler::{Answer, TaskRequest};
use crate::names::{DLQ_PREFIX, RETRY_PREFIX};
use crate::reply::Refusal;
use crate::send::{self, OwnedMessage, SendError, find_property, set_property};
use crate::topics::{self, TopicError};
use base::PhyOffset;
use remoting::ResponseCode;
use remoting::body::subscription_group::SubscriptionGroupConfig;
use remoting::header::client::ConsumerSendMsgBackRequestHeader;
use remoting::message::{OffsetMessageId, StoredMessage, decode_message};
use rt::Rt;
use std::rc::Rc;

/// Why a message was not taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetryError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the broker[{0}] sending message is forbidden")]
    NotWritable(String),
    #[error("look message by offset failed, {0}")]
    NoMessage(i64),
}

impl From<RetryError> for Refusal {
    fn from(error: RetryError) -> Self {
        let code = match error {
            RetryError::Client(error) => return error.into(),
            RetryError::Topic(error) => return error.into(),
            RetryError::Send(error) => return error.into(),
            RetryError::NotWritable(_) => ResponseCode::NoPermission,
            RetryError::NoMessage(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `CONSUMER_SEND_MSG_BACK` (36).
pub(crate) async fn send_message_back<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, ConsumerSendMsgBackRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    Ok(take_back(services, &request).await?)
}

async fn take_back<R: Rt>(
    services: &Rc<Services<R>>,
    request: &TaskRequest<'_, ConsumerSendMsgBackRequestHeader<'_>>,
) -> Result<Answer, RetryError> {
    let header = &request.header;
    let group = ensure_group(services, header.group).await?;
    if !services.settings.is_writable() {
        return Err(RetryError::NotWritable(services.settings.name.clone()));
    }
    if group.retry_queue_nums <= 0 {
        // Java: the group wants no retries, so the message is dropped and that is a success.
        return Ok(Answer::empty());
    }
    let missing = || RetryError::NoMessage(header.offset);
    let at = PhyOffset::from_wire(header.offset).ok_or_else(missing)?;
    if at.shard() != services.shard.id() {
        return Err(missing());
    }
    let unit = services.shard.store.read_message(at).await;
    let unit = unit.ok().flatten().ok_or_else(missing)?;
    let (message, _) = decode_message(&unit).map_err(|_| missing())?;
    let limit = header.max_reconsume_times;
    let limit = limit.filter(|max| *max >= 0 && request.command.version >= send::VERSION_3_4_9);
    let limit = limit.unwrap_or(group.retry_max_times);
    if message.reconsume_times >= limit || header.delay_level < 0 {
        let mut copy = copy_of(services, &message, header.group, at);
        copy.topic = format!("{DLQ_PREFIX}{}", header.group);
        set_property(&mut copy.properties, "DELAY", "0");
        send::put_dead_letter(services, copy).await?;
    } else {
        let copy = retry_copy(services, &message, header, &group, at);
        topics::ensure_retry_topic(services, &copy.topic, group.retry_queue_nums).await?;
        if !base::bug!(ForgetRetry) || message.queue_offset % 2 == 0 {
            send::put(services, copy).await?;
        }
    }
    services.stats.sent_back(message.topic, header.group);
    Ok(Answer::empty())
}

fn retry_copy<R: Rt>(
    services: &Services<R>,
    message: &StoredMessage<'_>,
    header: &ConsumerSendMsgBackRequestHeader<'_>,
    group: &SubscriptionGroupConfig,
    at: PhyOffset,
) -> OwnedMessage {
    let mut copy = copy_of(services, message, header.group, at);
    let level = match header.delay_level {
        0 => message.reconsume_times.saturating_add(FIRST_RETRY_LEVEL),
        level => level,
    };
    set_property(&mut copy.properties, "DELAY", &level.to_string());
    let count = u64::from(group.retry_queue_nums.max(1).cast_unsigned());
    copy.queue_id = (services.shard.rt.random_u64() % count) as u32;
    copy
}

/// The message as it is stored again, for queue 0 of the group's retry topic.
fn copy_of<R: Rt>(
    services: &Services<R>,
    message: &StoredMessage<'_>,
    group: &str,
    at: PhyOffset,
) -> OwnedMessage {
    let mut properties = message.properties.to_owned();
    if find_property(&properties, "RETRY_TOPIC").is_none() {
        set_property(&mut properties, "RETRY_TOPIC", message.topic);
    }
    if find_property(&properties, "ORIGIN_MESSAGE_ID").is_none() {
        let id = OffsetMessageId::new(services.settings.advertised(), at.to_wire());
        set_property(&mut properties, "ORIGIN_MESSAGE_ID", id.as_str());
    }
    set_property(&mut properties, "WAIT", "false");
    OwnedMessage {
        topic: format!("{RETRY_PREFIX}{group}"),
        queue_id: 0,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        reconsume_times: message.reconsume_times + 1,
        body: message.body.to_vec(),
        properties,
    }
}

/// The first retry comes after 10 seconds: level 3 (Java: `3 + reconsumeTimes`).
const FIRST_RETRY_LEVEL: i32 = 3;
