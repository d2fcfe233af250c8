//! Checks of a send, in Java's order.
//!
//! Pure. Java: `AbstractSendMessageProcessor.msgCheck`, `DefaultMessageStore.checkMessage`.
//! Invariant: whatever passes can be appended, but for the disk.

use super::SendError;
use super::properties::Scanned;
use crate::names;
use crate::settings::BrokerSettings;
use crate::topics::TopicHandle;
use remoting::header::send::SendMessageRequestHeaderV2;
use remoting::message::MessageFields;

/// Most bytes of a message's properties, a signed 16-bit length on the wire and the disk.
pub(super) const PROPERTIES_LEN_MAX: usize = i16::MAX as usize;

/// A topic that is not there yet and may be created.
pub(super) fn check_new_topic(topic: &str) -> Result<(), SendError> {
    names::check_topic(topic)?;
    if names::is_closed_to_sends(topic) {
        return Err(SendError::ClosedTopic(topic.to_owned()));
    }
    Ok(())
}

/// Topic, permission and queue.
pub(super) fn check(
    settings: &BrokerSettings,
    handle: &TopicHandle,
    header: &SendMessageRequestHeaderV2<'_>,
    queue_id: i32,
) -> Result<(), SendError> {
    if !settings.is_writable() && handle.config.order {
        return Err(SendError::BrokerNotWritable(settings.name.clone()));
    }
    if handle.is_closed_to_sends {
        return Err(SendError::ClosedTopic(handle.name.to_string()));
    }
    if queue_id >= handle.queue_count() {
        return Err(SendError::QueueId {
            topic: handle.name.to_string(),
            queue_id,
            queue_count: handle.queue_count(),
            producer_group: header.producer_group.escape_debug().to_string(),
        });
    }
    Ok(())
}

/// The length of the body.
pub(super) fn check_body(settings: &BrokerSettings, len: usize) -> Result<(), SendError> {
    let len_max = settings.body_len_max;
    if len > len_max {
        return Err(SendError::Body { len, len_max });
    }
    Ok(())
}

/// A message of a batch.
pub(super) fn check_batched(scanned: &Scanned<'_>) -> Result<(), SendError> {
    if scanned.is_transaction {
        return Err(SendError::BatchOfTransactions);
    }
    check_kind(scanned)
}

/// Kinds of messages that are not served: refused with a code that makes no producer try again.
pub(super) fn check_kind(scanned: &Scanned<'_>) -> Result<(), SendError> {
    if scanned.is_timer && scanned.delay_level <= 0 {
        return Err(SendError::Unsupported("timer"));
    }
    Ok(())
}

/// The length of the properties, with those that the broker adds.
pub(super) fn check_properties(fields: &MessageFields<'_>) -> Result<(), SendError> {
    let len = fields.properties.iter().map(|part| part.len()).sum();
    if len > PROPERTIES_LEN_MAX {
        return Err(SendError::Properties { len });
    }
    Ok(())
}
