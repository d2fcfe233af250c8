//! Bodies that carry offsets by queue.
//!
//! Java: `ResetOffsetBody`, `ResetOffsetBodyForC`, `GetConsumerStatusBody`,
//! `ConsumerOffsetSerializeWrapper`.

use super::{MessageQueue, dialect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Offsets by queue: the answer to 222 and the body of 220 to clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// By queue.
    #[serde(deserialize_with = "dialect::by_queue")]
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

impl ResetOffsetBody {
    /// As Java and the Go client read it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = b"{\"offsetTable\":".to_vec();
        dialect::put_by_queue(&mut out, &self.offset_table);
        out.push(b'}');
        out
    }

    /// As the C++ client reads it: a list.
    pub fn encode_for_c(&self) -> Vec<u8> {
        let rows: Vec<MessageQueueForC<'_>> = self.offset_table.iter().map(row_for_c).collect();
        let mut out = b"{\"offsetTable\":".to_vec();
        dialect::put(&mut out, &rows);
        out.push(b'}');
        out
    }
}

/// A queue with its offset. Java: `MessageQueueForC`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageQueueForC<'a> {
    broker_name: &'a str,
    offset: i64,
    queue_id: i32,
    topic: &'a str,
}

fn row_for_c<'a>((queue, offset): (&'a MessageQueue, &i64)) -> MessageQueueForC<'a> {
    MessageQueueForC {
        broker_name: &queue.broker_name,
        offset: *offset,
        queue_id: queue.queue_id,
        topic: &queue.topic,
    }
}

/// Offsets of a group in its clients: the answers to 221 and 223.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetConsumerStatusBody {
    /// Of one client, by queue.
    #[serde(deserialize_with = "dialect::by_queue")]
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// All committed offsets: the answer to `GET_ALL_CONSUMER_OFFSET` (43).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetSerializeWrapper {
    /// By `topic@group` and queue.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl ConsumerOffsetSerializeWrapper {
    /// As Java writes it.
    pub fn to_fastjson(&self) -> Result<Vec<u8>, serde_json::Error> {
        dialect::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_offsets_have_a_form_for_java_and_one_for_c() {
        let body = ResetOffsetBody {
            offset_table: BTreeMap::from([(MessageQueue::new("T", "b", 1), 7)]),
        };
        let text = r#"{"offsetTable":{{"brokerName":"b","queueId":1,"topic":"T"}:7}}"#;
        assert_eq!(String::from_utf8(body.encode()).unwrap(), text);
        assert_eq!(
            dialect::from_slice::<ResetOffsetBody>(text.as_bytes()).unwrap(),
            body
        );
        let text = r#"{"offsetTable":[{"brokerName":"b","offset":7,"queueId":1,"topic":"T"}]}"#;
        assert_eq!(String::from_utf8(body.encode_for_c()).unwrap(), text);
    }

    #[test]
    fn committed_offsets_have_bare_queue_ids() {
        let text = r#"{"offsetTable":{"T1@g1":{0:1}}}"#;
        let offsets: ConsumerOffsetSerializeWrapper = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(offsets.to_fastjson().unwrap()).unwrap(),
            text
        );
    }
}
