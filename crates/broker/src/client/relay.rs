//! What tools ask of one consumer: its running state (307) and to consume a message now (309).
//!
//! The broker hands the request on to the member that is named and gives its answer back as it is.
//! Runs on the group's shard. Java: `AdminBrokerProcessor.callConsumer`, `consumeMessageDirectly`.

use super::ask::{AskError, ask};
use crate::assemble::Services;
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use base::PhyOffset;
use remoting::header::EncodeHeader;
use remoting::header::client::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader,
};
use remoting::message::parse_offset_message_id;
use remoting::{RequestCode, ResponseCode};
use rt::Rt;
use shard::{CallError, ConnId};
use std::rc::Rc;

/// Why a consumer's answer cannot be given.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("The Consumer <{group}> <{client_id}> not online")]
    NotOnline { group: String, client_id: String },
    #[error("consumer <{group}> <{client_id}> Timeout: {error}")]
    NoAnswer {
        group: String,
        client_id: String,
        error: AskError,
    },
    #[error("the message id <{0}> names no message of this broker")]
    NoMessage(String),
    #[error("the message cannot be read: {0}")]
    Read(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<RelayError> for Refusal {
    fn from(error: RelayError) -> Self {
        let code = match &error {
            RelayError::NoAnswer {
                error: AskError::Timeout,
                ..
            } => ResponseCode::ConsumeMsgTimeout,
            RelayError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            _ => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `GET_CONSUMER_RUNNING_INFO` (307).
pub(crate) async fn running_info<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetConsumerRunningInfoRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = &request.header;
    let member = Asked::find(services, header.consumer_group, header.client_id)?;
    let code = RequestCode::GetConsumerRunningInfo;
    let answer = member.relay(services, code, header, request.command.body);
    Ok(answer.await?)
}

/// `CONSUME_MESSAGE_DIRECTLY` (309).
pub(crate) async fn consume_directly<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, ConsumeMessageDirectlyResultRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = &request.header;
    let client_id = header.client_id.unwrap_or_default();
    let member = Asked::find(services, header.consumer_group, client_id)?;
    let message = match header.msg_id {
        Some(id) => read(services, id).await?,
        None => request.command.body.to_vec(),
    };
    let handed_on = ConsumeMessageDirectlyResultRequestHeader {
        broker_name: Some(&services.settings.name),
        ..*header
    };
    let code = RequestCode::ConsumeMessageDirectly;
    Ok(member.relay(services, code, &handed_on, &message).await?)
}

/// The stored form of the message with an offset message id, from whichever shard has it.
async fn read<R: Rt>(services: &Services<R>, id: &str) -> Result<Vec<u8>, RelayError> {
    let missing = || RelayError::NoMessage(id.escape_debug().to_string());
    let (_, offset) = parse_offset_message_id(id).ok_or_else(missing)?;
    let at = PhyOffset::from_wire(offset).ok_or_else(missing)?;
    if at.shard().as_u16() >= services.shard.rt.shard_count() {
        return Err(missing());
    }
    let read = move |services: Rc<Services<R>>| async move {
        let unit = services.shard.store.read_message(at).await;
        unit.map_err(|error| error.to_string())
    };
    let unit = services.call(at.shard(), read).await?;
    unit.map_err(RelayError::Read)?.ok_or_else(missing)
}

/// The member that is asked.
struct Asked<'a> {
    conn: ConnId,
    group: &'a str,
    client_id: &'a str,
}

impl<'a> Asked<'a> {
    fn find<R: Rt>(
        services: &Services<R>,
        group: &'a str,
        client_id: &'a str,
    ) -> Result<Self, RelayError> {
        let conn = services.clients.consumer_conn(group, client_id);
        let conn = conn.ok_or_else(|| RelayError::NotOnline {
            group: group.escape_debug().to_string(),
            client_id: client_id.escape_debug().to_string(),
        })?;
        Ok(Self {
            conn,
            group,
            client_id,
        })
    }

    async fn relay<R: Rt>(
        &self,
        services: &Services<R>,
        code: RequestCode,
        header: &impl EncodeHeader,
        body: &[u8],
    ) -> Result<Answer, RelayError> {
        let answer = ask(services, self.conn, code, header, body).await;
        let answer = answer.map_err(|error| RelayError::NoAnswer {
            group: self.group.to_owned(),
            client_id: self.client_id.to_owned(),
            error,
        })?;
        let body = Answer::body(answer.body);
        Ok(match ResponseCode::from_wire(answer.code) {
            Some(ResponseCode::Success) => body,
            code => {
                let code = code.unwrap_or(ResponseCode::SystemError);
                body.coded(code, answer.remark.unwrap_or_default())
            }
        })
    }
}
