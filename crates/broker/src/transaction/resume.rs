//! `RESUME_CHECK_HALF_MESSAGE`: a half message that was given up is asked about again.
//!
//! Runs on the shard whose log holds the message in `TRANS_CHECK_MAX_TIME_TOPIC`. It becomes a half
//! message of its own, asked about from the start; the one in the topic stays. Invariant: nothing
//! but such a message can be brought back. Java: `AdminBrokerProcessor.resumeCheckHalfMessage`.

use crate::assemble::Services;
use crate::handler::{Answer, TaskRequest};
use crate::names::CHECK_MAX_TOPIC;
use crate::reply::Refusal;
use crate::send::{self, SendError};
use base::PhyOffset;
use remoting::ResponseCode;
use remoting::header::admin::ResumeCheckHalfMessageRequestHeader;
use remoting::message::{decode_message, parse_offset_message_id};
use rt::Rt;
use shard::CallError;
use std::rc::Rc;

/// Why a half message was not brought back.
#[derive(Debug, thiserror::Error)]
enum ResumeError {
    #[error("the message id <{0}> names no message of this broker")]
    NoMessage(String),
    #[error("the message lies in {0}: only those of {CHECK_MAX_TOPIC} are brought back")]
    OtherTopic(String),
    #[error("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed: {0}")]
    Send(#[from] SendError),
    #[error("the message cannot be read: {0}")]
    Read(#[from] store::ReadError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<ResumeError> for Refusal {
    fn from(error: ResumeError) -> Self {
        let code = match error {
            ResumeError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            // Java answers every failure so.
            _ => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `RESUME_CHECK_HALF_MESSAGE` (323).
pub(crate) async fn resume_check<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, ResumeCheckHalfMessageRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    Ok(resume(services, request.header.msg_id.unwrap_or_default()).await?)
}

async fn resume<R: Rt>(services: &Services<R>, id: &str) -> Result<Answer, ResumeError> {
    let shown = id.escape_debug().to_string();
    let missing = || ResumeError::NoMessage(shown.clone());
    let (_, offset) = parse_offset_message_id(id).ok_or_else(missing)?;
    let at = PhyOffset::from_wire(offset).ok_or_else(missing)?;
    if at.shard().as_u16() >= services.shard.rt.shard_count() {
        return Err(missing());
    }
    let bring_back = move |services: Rc<Services<R>>| async move {
        let Some(unit) = services.shard.store.read_message(at).await? else {
            return Ok(false);
        };
        let Ok((message, _)) = decode_message(&unit) else {
            return Ok(false);
        };
        if message.topic != CHECK_MAX_TOPIC {
            return Err(ResumeError::OtherTopic(message.topic.to_owned()));
        }
        let receipt = send::put_half_again(&services, &message)?;
        send::wait_flushed(&services, receipt.end).await?;
        Ok(true)
    };
    if services.call(at.shard(), bring_back).await?? {
        Ok(Answer::empty())
    } else {
        Err(missing())
    }
}
