//! Asking producers how transactions ended that they left open.
//!
//! One task per shard. Every interval it goes through the half messages whose time has come: asks a
//! live client of the producer group, or gives the message up after so many questions, or when it
//! is older than the log keeps messages. Invariant: a question counts only when there was a client
//! to be asked; trouble with one half message does not hold up the others. Java:
//! `TransactionalMessageCheckService`, `AbstractTransactionalMessageCheckListener`.

use super::{Found, count, decide_by_record, read};
use crate::assemble::Services;
use crate::names::{CHECK_MAX_TOPIC, HALF_TOPIC};
use crate::send::{self, Half, SendError};
use crate::topics::{self, TopicError};
use base::PhyOffset;
use remoting::RequestCode;
use remoting::command::{SerializeType, write_request};
use remoting::header::client::CheckTransactionStateRequestHeader;
use remoting::message::{MessageFields, OffsetMessageId, StoredMessage, decode_message};
use rt::{Class, Rt};
use shard::{CallError, HalfMessage, kinds};
use std::rc::Rc;
use std::time::Duration;
use store::{AppendError, ReadError};

/// Why nothing could be done about a half message this time.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("it cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("it does not decode: {0}")]
    Decode(#[from] remoting::message::MessageError),
    #[error("the topic {CHECK_MAX_TOPIC} cannot be made: {0}")]
    Topic(#[from] TopicError),
    #[error("it cannot be moved to {CHECK_MAX_TOPIC}: {0}")]
    Discard(#[from] SendError),
    #[error("the shard of its producer group is not there: {0}")]
    Call(#[from] CallError),
    #[error("its end cannot be recorded: {0}")]
    Append(#[from] AppendError),
}

/// Starts the shard's asking task.
pub(crate) fn start<R: Rt>(services: &Rc<Services<R>>) {
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Housekeeping, async move {
        let interval = Duration::from_millis(services.settings.transactions.check_interval_ms);
        while !services.stop.is_set() {
            services.shard.rt.sleep(interval).await;
            round(&services).await;
        }
    });
}

/// Goes through all half messages whose time has come, once.
async fn round<R: Rt>(services: &Services<R>) {
    let shard = &services.shard;
    let now_ms = shard.rt.now_ms();
    let mut after = None;
    loop {
        let due = shard.halves.due(shard.id(), after, now_ms, BATCH_MAX);
        let Some((last, _)) = due.last() else {
            return;
        };
        after = Some(*last);
        let mut asked = Vec::new();
        for (at, half) in due {
            if services.stop.is_set() {
                break;
            }
            match treat(services, at, half, now_ms).await {
                Ok(true) => asked.push(at),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(shard = %shard.id(), offset = at.to_wire(), %error, "a half message waits for the next round");
                }
            }
        }
        let record = shard.halves.checks_record(&asked);
        if !record.is_empty()
            && let Err(error) = shard.append_record(kinds::HALF_MESSAGES_CHECKED, &record)
        {
            tracing::warn!(shard = %shard.id(), %error, "questions to producers were not recorded");
        }
        if services.stop.is_set() {
            return;
        }
    }
}

/// Asks about a half message or gives it up. Whether its producer was asked.
async fn treat<R: Rt>(
    services: &Services<R>,
    at: PhyOffset,
    half: HalfMessage,
    now_ms: i64,
) -> Result<bool, CheckError> {
    let mut unit = Vec::new();
    match read(services, half, &mut unit).await? {
        Found::Unit => {}
        Found::NotVisible | Found::NotInMemory => return Ok(false),
        Found::Gone => return lose(services, at).map(|()| false),
    }
    let (message, _) = decode_message(&unit)?;
    let properties = Half::read(message.properties);
    let settings = &services.settings;
    let age_ms = now_ms.saturating_sub(message.store_timestamp_ms);
    if half.checks >= settings.transactions.check_max
        || age_ms > settings.store.retention.reserved_ms
    {
        return discard(services, at, &message, &properties)
            .await
            .map(|()| false);
    }
    ask(services, at, half, &message, &properties).await
}

/// Forgets a half message that cannot be read any more.
fn lose<R: Rt>(services: &Services<R>, at: PhyOffset) -> Result<(), CheckError> {
    let Some(half) = services.shard.halves.find(at) else {
        return Ok(());
    };
    decide_by_record(services, at, half)?;
    count(&services.transactions.counts.lost);
    tracing::error!(
        shard = %services.shard.id(),
        offset = at.to_wire(),
        queue_offset = half.queue_offset.0,
        "an undecided half message is gone: its part of the log was damaged or made room for newer messages. Its transaction ends without a message"
    );
    Ok(())
}

/// Moves a half message to [`CHECK_MAX_TOPIC`].
async fn discard<R: Rt>(
    services: &Services<R>,
    at: PhyOffset,
    message: &StoredMessage<'_>,
    properties: &Half<'_>,
) -> Result<(), CheckError> {
    let count_wanted = i32::from(services.shard.rt.shard_count());
    topics::ensure_retry_topic(services, CHECK_MAX_TOPIC, count_wanted).await?;
    // Meanwhile its producer may have decided it.
    let Some(half) = services.shard.halves.find(at) else {
        return Ok(());
    };
    let receipt = send::append_discarded(services, message, properties, at, half.checks)?;
    count(&services.transactions.counts.discarded);
    tracing::warn!(
        topic = properties.real_topic.unwrap_or_default(),
        group = properties.producer_group.unwrap_or_default(),
        uniq_key = properties.uniq_key.unwrap_or_default(),
        checks = half.checks,
        offset = receipt.phy_offset.to_wire(),
        "nobody decided a half message: it lies in {CHECK_MAX_TOPIC} now"
    );
    Ok(())
}

/// Asks one live client of the producer group. Whether there was one.
async fn ask<R: Rt>(
    services: &Services<R>,
    at: PhyOffset,
    half: HalfMessage,
    message: &StoredMessage<'_>,
    properties: &Half<'_>,
) -> Result<bool, CheckError> {
    let Some(group) = properties.producer_group.map(str::to_owned) else {
        return Ok(false);
    };
    let frame = question(services, at, half, message, properties);
    let to = services.shard.owner_of_group(&group);
    let push = move |there: Rc<Services<R>>| async move {
        let members = there.clients.producers(&group);
        let turn = there.transactions.turn.get();
        there.transactions.turn.set(turn.wrapping_add(1));
        let member = members.get(turn % members.len().max(1));
        member
            .map(|member| there.push(member.conn, frame))
            .is_some()
    };
    let was_asked = services.call(to, push).await?;
    if was_asked && services.shard.halves.note_check(at) > 0 {
        count(&services.transactions.counts.checks);
    }
    Ok(was_asked)
}

/// The frame of `CHECK_TRANSACTION_STATE` (39): the message as it would be stored, with the place of
/// its half message.
fn question<R: Rt>(
    services: &Services<R>,
    at: PhyOffset,
    half: HalfMessage,
    message: &StoredMessage<'_>,
    properties: &Half<'_>,
) -> Vec<u8> {
    let checked = send::checks_property(message.properties, half.checks + 1);
    let fields = MessageFields {
        topic: properties.real_topic.unwrap_or_default(),
        queue_id: properties.real_queue_id.unwrap_or_default() as i32,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_host: message.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: 0,
        body: message.body,
        properties: &[message.properties.as_bytes(), &checked],
    };
    let mut unit = vec![0; fields.encoded_len()];
    let (queue_offset, phy_offset) = (half.queue_offset.0, at.to_wire());
    fields.encode_into(
        &mut unit,
        queue_offset,
        phy_offset,
        message.store_timestamp_ms,
    );
    let id = OffsetMessageId::new(services.settings.advertised(), phy_offset);
    let header = CheckTransactionStateRequestHeader {
        // Java AbstractTransactionalMessageCheckListener.sendCheckMessage sets it before it puts the
        // real topic into the message.
        topic: Some(HALF_TOPIC),
        tran_state_table_offset: queue_offset,
        commit_log_offset: phy_offset,
        msg_id: properties.uniq_key,
        transaction_id: properties.uniq_key,
        offset_msg_id: Some(id.as_str()),
        broker_name: Some(&services.settings.name),
    };
    let (json, code) = (
        SerializeType::Json,
        RequestCode::CheckTransactionState as i32,
    );
    let mut frame = Vec::new();
    write_request(&mut frame, json, code, 0, true, &header, &unit);
    frame
}

/// Half messages that are looked at between two records.
const BATCH_MAX: usize = 32;
