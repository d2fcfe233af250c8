//! Half messages on their way in, and the messages that they become.
//!
//! A half message lies on the shard of the queue that it is meant for, so that its message is a local
//! append. A message that carries its half message's physical offset is the record of the decision,
//! too: both are in the log, or neither. Invariant: a half message is decided in the same step that
//! appends its message. Java: `TransactionalMessageBridge.parseHalfMessageInner`,
//! `EndTransactionProcessor.endMessageTransaction`.

use super::properties::Scanned;
use super::{Incoming, SendError, V2, append_under_level, validate};
use crate::assemble::Services;
use crate::names::{CHECK_MAX_TOPIC, HALF_TOPIC};
use crate::topics;
use base::{PhyOffset, QueueId};
use remoting::message::{MessageFields, StoredMessage, properties, sys_flag, tags_code};
use rt::Rt;
use smallvec::SmallVec;
use std::fmt::Write;
use store::AppendReceipt;

/// Properties that the broker adds, without memory of their own as long as they are short.
#[derive(Debug, Default)]
pub(super) struct Properties(SmallVec<[u8; 256]>);

impl Write for Properties {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Properties {
    /// The two that tell where a message is meant to go.
    pub(super) fn push_real_place(&mut self, topic: &str, queue_id: i32) {
        self.push("REAL_TOPIC", topic);
        self.push("REAL_QID", queue_id);
    }

    fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self, "{name}\u{1}{value}\u{2}").expect("memory takes it");
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether this is a half message. Clients below 4.6.1 leave the mark on messages that they send
/// back, which are none.
pub(super) fn is_half(header: &V2<'_>, scanned: &Scanned<'_>) -> bool {
    let state = sys_flag::transaction(header.sys_flag);
    (scanned.is_transaction || state == sys_flag::TRANSACTION_PREPARED)
        && !(header.reconsume_times.unwrap_or(0) > 0 && scanned.delay_level > 0)
}

/// Appends a half message.
pub(super) fn append<R: Rt>(
    services: &Services<R>,
    fields: &MessageFields<'_>,
    message: &Incoming<'_>,
    scanned: &Scanned<'_>,
    uniq_key: Option<&str>,
) -> Result<AppendReceipt, SendError> {
    let settings = &services.settings;
    if settings.transactions.rejects {
        let ip = settings.advertised_ip.to_string();
        return Err(SendError::TransactionsRejected(ip));
    }
    let mut added = Properties::default();
    if let Some(key) = uniq_key {
        added.push("__transactionId__", key);
    }
    if scanned.producer_group.is_none() {
        added.push("PGROUP", message.header.producer_group);
    }
    added.push_real_place(fields.topic, fields.queue_id);
    let mut parts: SmallVec<[&[u8]; 6]> = SmallVec::from_slice(fields.properties);
    parts.push(added.as_bytes());
    let fields = MessageFields {
        properties: &parts,
        ..*fields
    };
    append_to_half_queue(services, &fields, scanned.check_immunity)
}

fn append_to_half_queue<R: Rt>(
    services: &Services<R>,
    fields: &MessageFields<'_>,
    check_immunity: Option<&str>,
) -> Result<AppendReceipt, SendError> {
    let (shard, settings) = (&services.shard, &services.settings.transactions);
    if shard.halves.len() >= settings.half_messages_max {
        return Err(SendError::TooManyHalfMessages(settings.half_messages_max));
    }
    let fields = MessageFields {
        topic: HALF_TOPIC,
        queue_id: 0,
        sys_flag: sys_flag::with_transaction(fields.sys_flag, sys_flag::TRANSACTION_NOT),
        ..*fields
    };
    validate::check_properties(&fields)?;
    // Java TransactionalMessageServiceImpl.check counts from the producer's time. One that lies ahead
    // counts as now.
    let born_ms = fields.born_timestamp_ms.min(shard.rt.now_ms());
    let immunity_ms = immunity_ms(check_immunity, settings.timeout_ms);
    let due_ms = born_ms.saturating_add(immunity_ms);
    let queue = shard.store.queue_or_create(HALF_TOPIC, QueueId(0));
    let receipt = shard.store.append(queue, &fields, due_ms)?;
    let place = (receipt.phy_offset, receipt.queue_offset);
    shard.halves.add(place.0, place.1, due_ms);
    Ok(receipt)
}

/// How long nobody is asked about a half message. Java
/// `TransactionalMessageServiceImpl.getImmunityTime`: what is no number counts as none.
fn immunity_ms(seconds: Option<&str>, timeout_ms: u64) -> i64 {
    let seconds = seconds.and_then(|text| text.parse::<i64>().ok());
    let wanted = seconds.filter(|seconds| *seconds != -1);
    wanted.map_or(timeout_ms.cast_signed(), |s| s.saturating_mul(1_000))
}

/// What a stored half message says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Half<'a> {
    pub(crate) producer_group: Option<&'a str>,
    pub(crate) real_topic: Option<&'a str>,
    pub(crate) real_queue_id: Option<u32>,
    pub(crate) check_immunity: Option<&'a str>,
    pub(crate) uniq_key: Option<&'a str>,
    tags: Option<&'a str>,
    delay_level: i32,
}

impl<'a> Half<'a> {
    /// Reads the properties of a half message.
    pub(crate) fn read(text: &'a str) -> Self {
        let mut half = Self::default();
        for (name, value) in properties::iter(text) {
            match name {
                "PGROUP" => half.producer_group = Some(value),
                "REAL_TOPIC" => half.real_topic = Some(value),
                "REAL_QID" => half.real_queue_id = value.parse().ok(),
                "CHECK_IMMUNITY_TIME_IN_SECONDS" => half.check_immunity = Some(value),
                "UNIQ_KEY" => half.uniq_key = Some(value),
                "TAGS" => half.tags = Some(value),
                "DELAY" => half.delay_level = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        half
    }
}

/// Appends the message of a committed half message, and decides it.
pub(crate) fn append_final<R: Rt>(
    services: &Services<R>,
    message: &StoredMessage<'_>,
    half: &Half<'_>,
    at: PhyOffset,
    checks: u32,
) -> Result<AppendReceipt, SendError> {
    let topic = half.real_topic.unwrap_or_default();
    let queue_id = half.real_queue_id.unwrap_or_default();
    let checked = checks_property(message.properties, checks);
    let parts: [&[u8]; 2] = [message.properties.as_bytes(), &checked];
    let fields = MessageFields {
        queue_id: queue_id as i32,
        sys_flag: sys_flag::with_transaction(message.sys_flag, sys_flag::TRANSACTION_COMMIT),
        ..decided(services, message, topic, &parts, at)
    };
    let Some(handle) = services.topics.find(&services.shard, topic) else {
        let topic = topic.to_owned();
        return Err(topics::TopicError::Unknown { topic }.into());
    };
    let receipt = if half.delay_level > 0 {
        append_under_level(services, &fields, half.delay_level)?
    } else {
        let queue = handle.queue(&services.shard, queue_id);
        let tags = half.tags.map_or(0, tags_code);
        services.shard.store.append(queue, &fields, tags)?
    };
    services.shard.halves.decide(at);
    Ok(receipt)
}

/// Appends a half message that nobody decided to its shard's queue of [`CHECK_MAX_TOPIC`], and
/// decides it.
pub(crate) fn append_discarded<R: Rt>(
    services: &Services<R>,
    message: &StoredMessage<'_>,
    half: &Half<'_>,
    at: PhyOffset,
    checks: u32,
) -> Result<AppendReceipt, SendError> {
    let shard = &services.shard;
    let count = u32::from(shard.rt.shard_count());
    let own = (0..count).find(|id| shard.owner_of(CHECK_MAX_TOPIC, *id) == shard.id());
    let queue_id = own.expect("as many queues that follow each other as shards");
    let checked = checks_property(message.properties, checks);
    let parts: [&[u8]; 2] = [message.properties.as_bytes(), &checked];
    let fields = MessageFields {
        queue_id: queue_id as i32,
        ..decided(services, message, CHECK_MAX_TOPIC, &parts, at)
    };
    let queue = shard
        .store
        .queue_or_create(CHECK_MAX_TOPIC, QueueId(queue_id));
    let tags = half.tags.map_or(0, tags_code);
    let receipt = shard.store.append(queue, &fields, tags)?;
    shard.halves.decide(at);
    Ok(receipt)
}

/// Makes a half message of one that was discarded; it is asked for again from now on.
pub(crate) fn put_half_again<R: Rt>(
    services: &Services<R>,
    message: &StoredMessage<'_>,
) -> Result<AppendReceipt, SendError> {
    let mut text = message.properties.to_owned();
    super::set_property(&mut text, CHECK_TIMES, "0");
    let half = Half::read(message.properties);
    let parts: [&[u8]; 1] = [text.as_bytes()];
    let fields = fields(services, message, HALF_TOPIC, &parts);
    append_to_half_queue(services, &fields, half.check_immunity)
}

/// The fields of a message that decides the half message at `at`.
fn decided<'a, R: Rt>(
    services: &Services<R>,
    half: &StoredMessage<'a>,
    topic: &'a str,
    properties: &'a [&'a [u8]],
    at: PhyOffset,
) -> MessageFields<'a> {
    MessageFields {
        prepared_transaction_offset: at.to_wire(),
        ..fields(services, half, topic, properties)
    }
}

fn fields<'a, R: Rt>(
    services: &Services<R>,
    message: &StoredMessage<'a>,
    topic: &'a str,
    properties: &'a [&'a [u8]],
) -> MessageFields<'a> {
    MessageFields {
        topic,
        queue_id: 0,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_host: services.send.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: 0,
        body: message.body,
        properties,
    }
}

/// How often the producer was asked, where it was and where there is room for it: a message must not
/// become too long by being kept.
pub(crate) fn checks_property(properties: &str, checks: u32) -> Vec<u8> {
    if checks == 0 {
        return Vec::new();
    }
    let mut property = format!("{CHECK_TIMES}\u{1}{checks}\u{2}").into_bytes();
    if properties.len() + property.len() > validate::PROPERTIES_LEN_MAX {
        property.clear();
    }
    property
}

const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_ask_not_to_be_asked_for_so_long() {
        for (seconds, expected_ms) in [
            (None, 6_000),
            (Some("1"), 1_000),
            (Some("30"), 30_000),
            (Some("-1"), 6_000),
            (Some("soon"), 6_000),
            (Some("9223372036854775807"), i64::MAX),
        ] {
            assert_eq!(immunity_ms(seconds, 6_000), expected_ms, "{seconds:?}");
        }
    }

    #[test]
    fn a_message_never_grows_too_long_by_the_count_of_checks() {
        assert_eq!(checks_property("", 0), b"");
        assert_eq!(
            checks_property("", 12),
            b"TRANSACTION_CHECK_TIMES\x0112\x02"
        );
        let full = "x".repeat(validate::PROPERTIES_LEN_MAX - 20);
        assert_eq!(checks_property(&full, 12), b"");
    }
}
