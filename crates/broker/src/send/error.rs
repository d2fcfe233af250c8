//! Why a send is refused, and the code and remark that tell the producer.
//!
//! Pure. Producers retry elsewhere on 1, 2, 14, 16 and 17 and give up on 13 and 29, so what no
//! broker would take is 13 or 29. Invariant: every remark names the limit or the cause.

use crate::names::NameError;
use crate::reply::Refusal;
use crate::topics::TopicError;
use remoting::ResponseCode;
use store::{AppendError, FlushError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("Sending message to topic[{0}] is forbidden.")]
    ClosedTopic(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(
        "request queueId[{queue_id}] is illegal, topic[{topic}] has queues 0 to {}, Producer: {producer_group}",
        queue_count - 1
    )]
    QueueId {
        topic: String,
        queue_id: i32,
        queue_count: i32,
        producer_group: String,
    },
    #[error("the broker[{0}] sending message is forbidden")]
    BrokerNotWritable(String),
    #[error(
        "the message is illegal, maybe msg body or properties length not matched. msg body length limit {len_max}B, msg properties length limit 32KB. (body of {len}B)"
    )]
    Body { len: usize, len_max: usize },
    #[error(
        "the message is illegal, maybe msg body or properties length not matched. msg properties length limit 32KB. (properties of {len}B)"
    )]
    Properties { len: usize },
    #[error("batch request does not support retry group {0}")]
    BatchToRetry(String),
    #[error("a batch cannot hold transactional messages")]
    BatchOfTransactions,
    #[error("the broker[{0}] sending transaction message is forbidden")]
    TransactionsRejected(String),
    #[error(
        "[TRANSACTION]broker busy, start flow control for a while ({0} transactional messages of the shard wait for a decision, the limit halfMessagesMax)"
    )]
    TooManyHalfMessages(usize),
    #[error("the batch cannot be read: {0}")]
    Batch(String),
    #[error("{0} messages are not supported yet")]
    Unsupported(&'static str),
    #[error("no delay levels are configured (messageDelayLevel is empty)")]
    NoDelayLevels,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(
        "flush of the message took longer than {0} ms; whether it survives a power cut is open"
    )]
    FlushTimeout(u64),
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        let code = match &error {
            SendError::ClosedTopic(_)
            | SendError::BrokerNotWritable(_)
            | SendError::TransactionsRejected(_) => ResponseCode::NoPermission,
            SendError::TooManyHalfMessages(_) => ResponseCode::SystemBusy,
            SendError::Name(_) | SendError::QueueId { .. } => ResponseCode::InvalidParameter,
            SendError::Body { .. }
            | SendError::Properties { .. }
            | SendError::BatchToRetry(_)
            | SendError::BatchOfTransactions
            | SendError::Batch(_)
            | SendError::Unsupported(_)
            | SendError::NoDelayLevels => ResponseCode::MessageIllegal,
            SendError::Topic(_) => {
                let SendError::Topic(error) = error else {
                    unreachable!("matched above")
                };
                return error.into();
            }
            SendError::FlushTimeout(_) => ResponseCode::FlushDiskTimeout,
            SendError::Append(append) => return append_refusal(append),
            SendError::Flush(flush) => {
                // Not 14, which promises that the message was not taken: it may survive.
                let remark = format!("whether the message survives is open. {flush}");
                return Self::new(ResponseCode::SystemError, remark);
            }
        };
        Self::new(code, error.to_string())
    }
}

fn append_refusal(error: &AppendError) -> Refusal {
    let (code, remark) = match error {
        AppendError::Busy { .. } | AppendError::SyncLate { .. } => (
            ResponseCode::SystemBusy,
            format!("[PC_SYNCHRONIZED]broker busy, start flow control for a while ({error})"),
        ),
        // Java SendMessageProcessor: the page cache did not take a message in time.
        AppendError::Stalled { .. } => (
            ResponseCode::SystemBusy,
            format!("[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while ({error})"),
        ),
        AppendError::TooLong { .. } => (ResponseCode::MessageIllegal, error.to_string()),
        AppendError::QueueGone => (ResponseCode::TopicNotExist, error.to_string()),
        // Java SendMessageProcessor.diskUtil names the reasons in this sentence.
        AppendError::NoSpace { .. } => (
            ResponseCode::ServiceNotAvailable,
            format!(
                "service not available now. It may be caused by one of the following reasons: the broker's disk is full [{error}], messages are put to the slave, message store has been shut down, etc."
            ),
        ),
        AppendError::Fenced(_) | AppendError::Closed => (
            ResponseCode::ServiceNotAvailable,
            format!("service not available now. {error}"),
        ),
    };
    Refusal::new(code, remark)
}
