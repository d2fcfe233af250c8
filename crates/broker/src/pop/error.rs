//! Why popping is refused, and the code and remark that tell the consumer.
//!
//! Pure. Java: `PopMessageProcessor`, `AckMessageProcessor`, `ChangeInvisibleTimeProcessor`,
//! `NotificationProcessor`.

use super::handle::HandleError;
use crate::client::ClientError;
use crate::reply::Refusal;
use crate::send::SendError;
use crate::subscription::FilterError;
use crate::topics::TopicError;
use remoting::ResponseCode;
use shard::CallError;
use store::{AppendError, FlushError, ReadError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum PopError {
    #[error("the broker[{0}] pop message is timeout too much")]
    TooLate(String),
    #[error("the broker[{0}] pop message is forbidden")]
    BrokerNotReadable(String),
    #[error("the broker[{broker}] pop message's num is {count}, it must be 1 to 32")]
    Count { broker: String, count: i32 },
    #[error(
        "topic[{0}] not exist, apply first please! https://rocketmq.apache.org/docs/bestPractice/06FAQ"
    )]
    UnknownTopic(String),
    #[error("the topic[{0}] peeking message is forbidden")]
    TopicNotReadable(String),
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queue_count}] consumer:[{peer}]"
    )]
    PopQueueId {
        queue_id: i32,
        topic: String,
        queue_count: i32,
        peer: std::net::SocketAddr,
    },
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queue_count}] consumer:[{peer}]"
    )]
    AckQueueId {
        queue_id: i32,
        topic: String,
        queue_count: i32,
        peer: std::net::SocketAddr,
    },
    #[error(
        "subscription group [{0}] does not exist, see https://rocketmq.apache.org/docs/bestPractice/06FAQ"
    )]
    UnknownGroup(String),
    #[error("subscription group no permission, {0}")]
    GroupDisabled(String),
    #[error("parse the consumer's subscription failed: {0}")]
    Expression(FilterError),
    #[error("the attempt id has {0} bytes, it may have 255")]
    AttemptId(usize),
    #[error(
        "the names of group and topic are too long together: no retry topic can be made of them"
    )]
    Names,
    #[error("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}")]
    Offset {
        topic: String,
        queue_id: i32,
        offset: i64,
        min: i64,
        max: i64,
    },
    #[error(
        "offset is illegal, key:{key}, old:{old}, commit:{offset}, next:-1: it is not among the messages that were popped"
    )]
    OrderOffset { key: String, old: i64, offset: i64 },
    #[error(transparent)]
    Handle(#[from] HandleError),
    #[error("there is nothing to acknowledge in the body")]
    NothingToAck,
    #[error("the body cannot be read: {0}")]
    Body(String),
    #[error("the queue cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the log does not take it: {0}")]
    Append(#[from] AppendError),
    #[error("the log has not kept it: {0}")]
    Flush(#[from] FlushError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<PopError> for Refusal {
    fn from(error: PopError) -> Self {
        let code = match error {
            PopError::TooLate(_) => ResponseCode::PollingTimeout,
            PopError::BrokerNotReadable(_)
            | PopError::GroupDisabled(_)
            | PopError::TopicNotReadable(_) => ResponseCode::NoPermission,
            PopError::Count { .. }
            | PopError::PopQueueId { .. }
            | PopError::AttemptId(_)
            | PopError::Names => ResponseCode::InvalidParameter,
            PopError::UnknownTopic(_) => ResponseCode::TopicNotExist,
            PopError::UnknownGroup(_) => ResponseCode::SubscriptionGroupNotExist,
            PopError::Expression(_) => ResponseCode::SubscriptionParseFailed,
            PopError::AckQueueId { .. } | PopError::OrderOffset { .. } => {
                ResponseCode::MessageIllegal
            }
            PopError::Offset { .. } | PopError::NothingToAck => ResponseCode::NoMessage,
            PopError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            PopError::Handle(_) | PopError::Body(_) | PopError::Read(_) | PopError::Call(_) => {
                ResponseCode::SystemError
            }
            // As for a send: 2 when there is no room, 14 on a full disk.
            PopError::Append(error) => return SendError::Append(error).into(),
            PopError::Flush(error) => return SendError::Flush(error).into(),
            PopError::Send(error) => return error.into(),
            PopError::Client(error) => return error.into(),
            PopError::Topic(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}
