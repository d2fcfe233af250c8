//! Why a pull is refused, and the code and remark that tell the consumer.
//!
//! Pure. Clients treat each of these as an exception and try again after seconds. Java:
//! `PullMessageProcessor.processRequest`.

use crate::client::ClientError;
use crate::reply::Refusal;
use crate::subscription::FilterError;
use remoting::ResponseCode;
use store::ReadError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error("the broker[{0}] pulling message is forbidden")]
    BrokerNotReadable(String),
    #[error(
        "subscription group [{0}] does not exist, see https://rocketmq.apache.org/docs/bestPractice/06FAQ"
    )]
    UnknownGroup(String),
    #[error("subscription group no permission, {0}")]
    GroupDisabled(String),
    #[error(
        "topic[{0}] not exist, apply first please! https://rocketmq.apache.org/docs/bestPractice/06FAQ"
    )]
    UnknownTopic(String),
    #[error("the topic[{0}] pulling message is forbidden")]
    TopicNotReadable(String),
    #[error(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queue_count}] consumer:[{peer}]"
    )]
    QueueId {
        queue_id: i32,
        topic: String,
        queue_count: i32,
        peer: std::net::SocketAddr,
    },
    #[error("parse the consumer's subscription failed: {0}")]
    Expression(FilterError),
    #[error("The broker's consumer filter data is not exist!Your expression may be wrong! ({0})")]
    NoFilter(FilterError),
    #[error("The broker does not support consumer to filter message by {0}")]
    Filter(String),
    #[error("the consumer's group info not exist")]
    GroupOffline,
    #[error("the consumer's subscription not exist")]
    NotSubscribed,
    #[error("the consumer's subscription not latest")]
    OldSubscription,
    #[error("the consumer group[{0}] can not consume by broadcast way")]
    Broadcast(String),
    #[error("the queue cannot be read: {0}")]
    Read(ReadError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<PullError> for Refusal {
    fn from(error: PullError) -> Self {
        let code = match error {
            PullError::BrokerNotReadable(_)
            | PullError::GroupDisabled(_)
            | PullError::TopicNotReadable(_)
            | PullError::Broadcast(_) => ResponseCode::NoPermission,
            PullError::UnknownGroup(_) => ResponseCode::SubscriptionGroupNotExist,
            PullError::UnknownTopic(_) => ResponseCode::TopicNotExist,
            PullError::QueueId { .. } => ResponseCode::InvalidParameter,
            PullError::Expression(_) => ResponseCode::SubscriptionParseFailed,
            PullError::NoFilter(_) => ResponseCode::FilterDataNotExist,
            PullError::GroupOffline | PullError::NotSubscribed => {
                ResponseCode::SubscriptionNotExist
            }
            PullError::OldSubscription => ResponseCode::SubscriptionNotLatest,
            PullError::Filter(_) | PullError::Read(_) => ResponseCode::SystemError,
            PullError::Client(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}
