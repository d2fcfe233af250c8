//! Locks of queues, for consumers in order.
//!
//! Java: `LockBatchRequestBody`, `UnlockBatchRequestBody`, `LockBatchResponseBody`.

use super::MessageQueue;
use serde::{Deserialize, Serialize};

/// The body of `LOCK_BATCH_MQ` (41) and `UNLOCK_BATCH_MQ` (42).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequestBody {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The queues.
    pub mq_set: Vec<MessageQueue>,
    /// Whether other brokers of the group are left out; from 5.0 on.
    pub only_this_broker: bool,
}

/// The answer to `LOCK_BATCH_MQ`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponseBody {
    /// The queues that the client holds now.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::dialect;

    #[test]
    fn official_locks_read_and_are_written_the_same() {
        let text = r#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}],"onlyThisBroker":false}"#;
        let body: LockBatchRequestBody = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&body).unwrap(), text);
        let answer = LockBatchResponseBody {
            lock_ok_mq_set: body.mq_set,
        };
        let expected =
            r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}]}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), expected);
    }
}
