//! Figures of topics and groups, by queue.
//!
//! Java: `TopicStatsTable`, `ConsumeStats`, `BrokerStatsData`. Tables keyed by queues are written
//! with the keys as objects, which is no JSON but what every official reader takes.

use super::{MessageQueue, dialect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The answer to `GET_TOPIC_STATS_INFO` (202).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue.
    #[serde(deserialize_with = "dialect::by_queue")]
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages sent per second.
    pub topic_put_tps: f64,
}

impl TopicStatsTable {
    /// As Java writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = b"{\"offsetTable\":".to_vec();
        dialect::put_by_queue(&mut out, &self.offset_table);
        out.extend_from_slice(b",\"topicPutTps\":");
        dialect::put(&mut out, &self.topic_put_tps);
        out.push(b'}');
        out
    }
}

/// What one queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// When its last message was stored, in milliseconds since the epoch; 0 if there is none.
    pub last_update_timestamp: i64,
    /// The offset after its last message.
    pub max_offset: i64,
    /// Its first offset.
    pub min_offset: i64,
}

/// The answer to `GET_CONSUME_STATS` (208).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages consumed per second.
    pub consume_tps: f64,
    /// By queue.
    #[serde(deserialize_with = "dialect::by_queue")]
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

impl ConsumeStats {
    /// As Java writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    fn encode_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"consumeTps\":");
        dialect::put(out, &self.consume_tps);
        out.extend_from_slice(b",\"offsetTable\":");
        dialect::put_by_queue(out, &self.offset_table);
        out.push(b'}');
    }
}

/// How far a group is in one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    /// The offset after the queue's last message.
    pub broker_offset: i64,
    /// What the group has committed.
    pub consumer_offset: i64,
    /// When the last consumed message was stored, in milliseconds since the epoch.
    pub last_timestamp: i64,
    /// What the group has pulled; from 5.0 on.
    pub pull_offset: i64,
}

/// The answer to `VIEW_BROKER_STATS_DATA` (315).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    /// Of the last day.
    pub stats_day: BrokerStatsItem,
    /// Of the last hour.
    pub stats_hour: BrokerStatsItem,
    /// Of the last minute.
    pub stats_minute: BrokerStatsItem,
}

/// A figure over a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// The average per count.
    pub avgpt: f64,
    /// The sum.
    pub sum: i64,
    /// The rate per second.
    pub tps: f64,
}

/// The answer to `GET_BROKER_CONSUME_STATS` (317).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsumeStatsList {
    /// The broker's `ip:port`.
    pub broker_addr: String,
    /// By group: one for each topic.
    pub consume_stats_list: Vec<(String, Vec<ConsumeStats>)>,
    /// Messages that are not consumed yet.
    pub total_diff: i64,
    /// Messages that are pulled but not committed.
    pub total_inflight_diff: i64,
}

impl ConsumeStatsList {
    /// As Java writes it: a list of maps with one group each.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = b"{\"brokerAddr\":".to_vec();
        dialect::put(&mut out, &self.broker_addr);
        out.extend_from_slice(b",\"consumeStatsList\":[");
        for (at, (group, stats)) in self.consume_stats_list.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
            dialect::put(&mut out, group);
            out.extend_from_slice(b":[");
            for (at, stats) in stats.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                stats.encode_to(&mut out);
            }
            out.extend_from_slice(b"]}");
        }
        out.extend_from_slice(b"],\"totalDiff\":");
        dialect::put(&mut out, &self.total_diff);
        out.extend_from_slice(b",\"totalInflightDiff\":");
        dialect::put(&mut out, &self.total_inflight_diff);
        out.push(b'}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_queue_read_and_are_written_as_java_writes_them() {
        let text = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicTest"}:{"lastUpdateTimestamp":1795236078907,"maxOffset":5,"minOffset":0},{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.016666666666666666}"#;
        let table: TopicStatsTable = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(table.offset_table.len(), 2);
        assert_eq!(String::from_utf8(table.encode()).unwrap(), text);
        let text = r#"{"consumeTps":0.8,"offsetTable":{{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}:{"brokerOffset":4,"consumerOffset":4,"lastTimestamp":1795236046269,"pullOffset":4}}}"#;
        let stats: ConsumeStats = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(stats.encode()).unwrap(), text);
    }

    #[test]
    fn queues_may_also_be_quoted_keys() {
        let text = r#"{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":1,\"topic\":\"T\"}":{"maxOffset":9}}}"#;
        let table: TopicStatsTable = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(
            table.offset_table[&MessageQueue::new("T", "b", 1)].max_offset,
            9
        );
    }

    #[test]
    fn the_figures_of_all_groups_are_a_list_of_maps() {
        let queue = MessageQueue::new("T", "b", 0);
        let stats = ConsumeStats {
            offset_table: BTreeMap::from([(queue, OffsetWrapper::default())]),
            ..ConsumeStats::default()
        };
        let list = ConsumeStatsList {
            broker_addr: "1.2.3.4:5".to_owned(),
            consume_stats_list: vec![
                ("g".to_owned(), vec![stats.clone(), stats]),
                ("h".to_owned(), vec![]),
            ],
            ..ConsumeStatsList::default()
        };
        let value: serde_json::Value = dialect::from_slice(&list.encode()).unwrap();
        assert_eq!(
            value["consumeStatsList"][0]["g"].as_array().unwrap().len(),
            2
        );
        assert_eq!(value["consumeStatsList"][1]["h"], serde_json::json!([]));
    }
}
