//! Topics' configurations.
//!
//! Java: `TopicConfig`, `DataVersion`, `TopicConfigAndMappingSerializeWrapper`.

use super::lenient;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of a table: equal versions mean equal tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Counts the changes.
    pub counter: i64,
    /// Of the broker group; from 5.0 on.
    pub state_version: i64,
    /// Of the last change, in milliseconds since the epoch.
    pub timestamp: i64,
}

/// One topic of one broker. What is absent has Java's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Attributes such as `message.type`; from 5.0 on.
    #[serde(deserialize_with = "lenient::or_default")]
    pub attributes: BTreeMap<String, String>,
    /// Whether the topic is ordered.
    pub order: bool,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// How many queues may be read.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: String,
    /// The topic.
    #[serde(deserialize_with = "lenient::or_default")]
    pub topic_name: String,
    /// Bits: 1 unit, 2 subscribed to by units.
    pub topic_sys_flag: i32,
    /// How many queues may be written.
    pub write_queue_nums: i32,
}

impl TopicConfig {
    /// A topic with these queues and permission bits.
    pub fn new(topic: &str, read_queue_nums: i32, write_queue_nums: i32, perm: i32) -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm,
            read_queue_nums,
            topic_filter_type: SINGLE_TAG.to_owned(),
            topic_name: topic.to_owned(),
            topic_sys_flag: 0,
            write_queue_nums,
        }
    }
}

/// The filter type of nearly every topic.
pub const SINGLE_TAG: &str = "SINGLE_TAG";

impl Default for TopicConfig {
    fn default() -> Self {
        Self::new("", 16, 16, 6)
    }
}

/// All topics of a broker: the answer to `GET_ALL_TOPIC_CONFIG` (21) and a part of registrations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigSerializeWrapper {
    /// Of the topics.
    pub data_version: DataVersion,
    /// Of the mappings; from 5.0 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_data_version: Option<DataVersion>,
    /// By topic.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Mappings of static topics, which are passed on as they are.
    #[serde(deserialize_with = "lenient::or_default")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    /// Mappings of static topics, which are passed on as they are.
    #[serde(deserialize_with = "lenient::or_default")]
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::dialect;

    #[test]
    fn an_official_topic_reads_and_is_written_the_same() {
        let text = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"TopicTest","topicSysFlag":0,"writeQueueNums":4}"#;
        let topic: TopicConfig = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(topic, TopicConfig::new("TopicTest", 4, 4, 6));
        assert_eq!(serde_json::to_string(&topic).unwrap(), text);
    }

    #[test]
    fn what_is_absent_has_the_defaults_of_java() {
        let topic: TopicConfig = dialect::from_slice(br#"{"topicName":"T"}"#).unwrap();
        assert_eq!(topic, TopicConfig::new("T", 16, 16, 6));
    }
}
