//! Request and reply: `SEND_REPLY_MESSAGE` (324) and `SEND_REPLY_MESSAGE_V2` (325).
//!
//! A reply goes straight to the client that asked (326), by the client id that its request carried,
//! and is stored beside. Invariant: the answer's code tells whether the asking client took the reply;
//! a reply that it did not take is stored all the same, as in Java. Java: `ReplyMessageProcessor`.

use super::put::OwnedMessage;
use super::{SendError, V2, find_property, put, set_property, validate};
use crate::assemble::Services;
use crate::client::{AskError, ask};
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use crate::topics::{self, TopicHandle};
use remoting::header::send::{
    ReplyMessageRequestHeader, SendMessageRequestHeader, SendMessageResponseHeader,
};
use remoting::message::OffsetMessageId;
use remoting::{RequestCode, ResponseCode};
use rt::Rt;
use std::rc::Rc;
use store::AppendReceipt;

const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";

/// Why the asking client did not take the reply.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("reply message properties[{REPLY_TO_CLIENT}] is null")]
    NoClient,
    #[error("push reply message fail, channel of <{0}> not found.")]
    NotConnected(String),
    #[error("push reply message to {client_id}fail. ({error})")]
    NoAnswer { client_id: String, error: AskError },
    #[error("push reply message to {client_id}fail. (it answered {code})")]
    Refused { client_id: String, code: i32 },
}

/// `SEND_REPLY_MESSAGE` (324).
pub(crate) async fn send_reply<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, SendMessageRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let request = TaskRequest {
        header: V2::from(request.header),
        command: request.command,
        caller: request.caller,
    };
    send_reply_v2(services, request).await
}

/// `SEND_REPLY_MESSAGE_V2` (325).
pub(crate) async fn send_reply_v2<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, V2<'_>>,
) -> Result<Answer, Refusal> {
    let handle = topic(services, &request.header).await?;
    let queue_id = queue(services, &handle, &request)?;
    let pushed = push(services, &request).await;
    let stored = if services.settings.stores_replies {
        Some(store(services, &request, queue_id).await)
    } else {
        None
    };
    let id;
    let mut header = SendMessageResponseHeader {
        // Java's clients cannot read an answer without them.
        msg_id: "0",
        queue_id: queue_id as i32,
        queue_offset: 0,
        msg_region: Some(&services.settings.region),
        trace_on: Some(services.settings.is_trace_on),
        ..SendMessageResponseHeader::default()
    };
    match stored {
        Some(Ok(receipt)) => {
            id = OffsetMessageId::new(services.send.store_host, receipt.phy_offset.to_wire());
            header.msg_id = id.as_str();
            header.queue_offset = receipt.queue_offset.0;
        }
        // The client has its reply: only the copy is missing.
        Some(Err(error)) => tracing::warn!(%error, "a reply could not be stored"),
        None => {}
    }
    let answer = Answer::header(&header);
    Ok(match pushed {
        Ok(()) => answer,
        Err(error) => answer.coded(ResponseCode::SystemError, error.to_string()),
    })
}

/// The reply's topic; made as that of a message would be.
async fn topic<R: Rt>(
    services: &Rc<Services<R>>,
    header: &V2<'_>,
) -> Result<Rc<TopicHandle>, SendError> {
    let find = || services.topics.find(&services.shard, header.topic);
    if let Some(handle) = find() {
        return Ok(handle);
    }
    validate::check_new_topic(header.topic)?;
    let count = header.default_topic_queue_nums;
    topics::create_for_send(services, header.topic, header.default_topic, count).await?;
    find().ok_or_else(|| {
        let topic = header.topic.to_owned();
        topics::TopicError::Unknown { topic }.into()
    })
}

/// The queue of the reply, which may be any.
fn queue<R: Rt>(
    services: &Services<R>,
    handle: &TopicHandle,
    request: &TaskRequest<'_, V2<'_>>,
) -> Result<u32, SendError> {
    let header = &request.header;
    let count = handle.queue_count().max(1).cast_unsigned();
    let queue_id = match u32::try_from(header.queue_id) {
        Ok(queue_id) => queue_id,
        Err(_) => (services.shard.rt.random_u64() % u64::from(count)) as u32,
    };
    validate::check(&services.settings, handle, header, queue_id.cast_signed())?;
    validate::check_body(&services.settings, request.command.body.len())?;
    Ok(queue_id)
}

/// Brings the reply to the client that its properties name.
async fn push<R: Rt>(
    services: &Rc<Services<R>>,
    request: &TaskRequest<'_, V2<'_>>,
) -> Result<(), PushError> {
    let header = &request.header;
    let mut properties = header.properties.unwrap_or_default().to_owned();
    let client_id = find_property(&properties, REPLY_TO_CLIENT).ok_or(PushError::NoClient)?;
    let client_id = client_id.to_owned();
    let no_answer = |error| PushError::NoAnswer {
        client_id: client_id.clone(),
        error,
    };
    let wanted = client_id.clone();
    let found = services.gather(move |services: Rc<Services<R>>| async move {
        services.clients.producer_conn(&wanted)
    });
    let found = found.await.map_err(|error| no_answer(error.into()))?;
    let newest = found
        .into_iter()
        .flatten()
        .max_by_key(|(seen_us, _)| *seen_us);
    let (_, conn) = newest.ok_or_else(|| PushError::NotConnected(client_id.clone()))?;
    let now_ms = services.shard.rt.now_ms();
    set_property(&mut properties, PUSH_REPLY_TIME, &now_ms.to_string());
    let (born_host, store_host) = (
        request.caller.peer.to_string(),
        services.send.store_host.to_string(),
    );
    let pushed = ReplyMessageRequestHeader {
        producer_group: header.producer_group,
        topic: header.topic,
        default_topic: header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp_ms: header.born_timestamp_ms,
        flag: header.flag,
        properties: Some(&properties),
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode,
        born_host: &born_host,
        store_host: &store_host,
        store_timestamp_ms: now_ms,
    };
    let code = RequestCode::PushReplyMessageToClient;
    let answer = ask(services, conn, code, &pushed, request.command.body).await;
    match answer.map_err(no_answer)?.code {
        0 => Ok(()),
        code => Err(PushError::Refused { client_id, code }),
    }
}

async fn store<R: Rt>(
    services: &Services<R>,
    request: &TaskRequest<'_, V2<'_>>,
    queue_id: u32,
) -> Result<AppendReceipt, SendError> {
    let header = &request.header;
    let message = OwnedMessage {
        topic: header.topic.to_owned(),
        queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp_ms: header.born_timestamp_ms,
        born_host: request.caller.peer,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        body: request.command.body.to_vec(),
        properties: header.properties.unwrap_or_default().to_owned(),
    };
    put(services, message).await
}
