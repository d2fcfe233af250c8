//! Subscription groups' configurations.
//!
//! Java: `SubscriptionGroupConfig`, `SubscriptionGroupWrapper`, `GroupRetryPolicy`.

use super::lenient;
use super::topic_config::DataVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One consumer group of one broker. What is absent has Java's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "the wire's own members")]
pub struct SubscriptionGroupConfig {
    /// From 5.0 on.
    #[serde(deserialize_with = "lenient::or_default")]
    pub attributes: BTreeMap<String, String>,
    /// The broker that the group consumes from.
    pub broker_id: i64,
    /// Whether members may broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether the group may consume.
    pub consume_enable: bool,
    /// Whether a new group begins with the oldest message.
    pub consume_from_min_enable: bool,
    /// Whether a POP group consumes in order.
    pub consume_message_orderly: bool,
    /// How long consuming a message may take, in minutes.
    pub consume_timeout_minute: i32,
    /// The group.
    #[serde(deserialize_with = "lenient::or_default")]
    pub group_name: String,
    /// When a failed message comes again.
    pub group_retry_policy: GroupRetryPolicy,
    /// Passed to clients as it is.
    pub group_sys_flag: i32,
    /// Whether members are told when the members change.
    pub notify_consumer_ids_changed_enable: bool,
    /// How often a message may fail before it becomes a dead letter.
    pub retry_max_times: i32,
    /// How many queues the retry topic has; 0: failed messages are dropped.
    pub retry_queue_nums: i32,
    /// What the group must subscribe to, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
    /// Where slow members shall read.
    pub which_broker_when_consume_slowly: i64,
}

impl SubscriptionGroupConfig {
    /// A group with Java's defaults.
    pub fn new(group: &str) -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: group.to_owned(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self::new("")
    }
}

/// When a failed message comes again. The policies are kept as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    /// Delays one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<serde_json::Value>,
    /// Delays that double.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<serde_json::Value>,
    /// `CUSTOMIZED` or `EXPONENTIAL`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        let kind = "CUSTOMIZED".to_owned();
        Self {
            customized_retry_policy: None,
            exponential_retry_policy: None,
            kind,
        }
    }
}

/// A subscription that a group must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleSubscriptionData {
    /// The expression.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
    /// A higher one is newer.
    pub version: i64,
}

/// All groups of a broker: the answer to `GET_ALL_SUBSCRIPTIONGROUP_CONFIG` (201).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupWrapper {
    /// Of the groups.
    pub data_version: DataVersion,
    /// By group and topic: bits of what is forbidden.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By group.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// The body of `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST` (225).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    /// The groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::dialect;

    #[test]
    fn an_official_group_reads_and_is_written_the_same() {
        let text = r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":false,"consumeEnable":true,"consumeFromMinEnable":false,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"CID_admin","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
        let group: SubscriptionGroupConfig = dialect::from_slice(text.as_bytes()).unwrap();
        let expected = SubscriptionGroupConfig {
            consume_broadcast_enable: false,
            consume_from_min_enable: false,
            ..SubscriptionGroupConfig::new("CID_admin")
        };
        assert_eq!(group, expected);
        assert_eq!(serde_json::to_string(&group).unwrap(), text);
    }
}
