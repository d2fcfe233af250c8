//! Headers of consumer groups: their configuration, members, progress and offsets.
//!
//! Java: `DeleteSubscriptionGroupRequestHeader`, `GetConsumerConnectionListRequestHeader`,
//! `GetConsumeStatsRequestHeader`, `ResetOffsetRequestHeader` and others of the kind.

use super::RemotingHeader;

/// `GET_SUBSCRIPTIONGROUP_CONFIG` (352).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetSubscriptionGroupConfigRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
}

/// `DELETE_SUBSCRIPTIONGROUP` (207).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct DeleteSubscriptionGroupRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub group_name: &'a str,
    /// Whether its offsets go too.
    pub clean_offset: Option<bool>,
}

/// `GET_ALL_SUBSCRIPTIONGROUP_CONFIG` (201).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetAllSubscriptionGroupRequestHeader<'a> {
    /// The first group of the page.
    pub group_seq: Option<i32>,
    /// The version that the asker has a part of.
    pub data_version: Option<&'a str>,
    /// The most groups on a page.
    pub max_group_num: Option<i32>,
}

/// The answer to 201.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetAllSubscriptionGroupResponseHeader {
    /// How many groups there are on all pages.
    pub total_group_num: i32,
}

/// `GET_CONSUMER_CONNECTION_LIST` (203).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetConsumerConnectionListRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
}

/// `GET_PRODUCER_CONNECTION_LIST` (204).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetProducerConnectionListRequestHeader<'a> {
    /// The producer group.
    #[header(route = Group)]
    pub producer_group: &'a str,
}

/// `GET_CONSUME_STATS` (208).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetConsumeStatsRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The only topic wanted.
    pub topic: Option<&'a str>,
    /// The only topics wanted, joined by semicolons; from 5.3 on.
    pub topic_list: Option<&'a str>,
}

/// `QUERY_TOPIC_CONSUME_BY_WHO` (300).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryTopicConsumeByWhoRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
}

/// `QUERY_TOPICS_BY_CONSUMER` (343).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryTopicsByConsumerRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
}

/// `QUERY_SUBSCRIPTION_BY_CONSUMER` (345).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QuerySubscriptionByConsumerRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
    /// The topic.
    pub topic: Option<&'a str>,
}

/// `QUERY_CONSUME_TIME_SPAN` (303).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryConsumeTimeSpanRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
}

/// `QUERY_CORRECTION_OFFSET` (308).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryCorrectionOffsetHeader<'a> {
    /// Groups to leave out, joined by commas.
    pub filter_groups: Option<&'a str>,
    /// The group to compare with.
    pub compare_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
}

/// `CLONE_GROUP_OFFSET` (314).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct CloneGroupOffsetRequestHeader<'a> {
    /// From which group.
    pub src_group: &'a str,
    /// To which group.
    #[header(route = Group)]
    pub dest_group: &'a str,
    /// The only topic to copy.
    pub topic: Option<&'a str>,
    /// Whether topics are copied that the online group does not subscribe to.
    pub offline: bool,
}

/// `INVOKE_BROKER_TO_RESET_OFFSET` (222), and `RESET_CONSUMER_CLIENT_OFFSET` (220) to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ResetOffsetRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
    /// The only queue to reset; -1 for all. From 5.0 on.
    pub queue_id: Option<i32>,
    /// The offset to set; -1 for one by time. From 5.0 on.
    pub offset: Option<i64>,
    /// The time to go to, in milliseconds since the epoch; -1 for the end.
    pub timestamp: i64,
    /// Whether offsets may also move forward.
    pub is_force: bool,
}

/// `INVOKE_BROKER_TO_GET_CONSUMER_STATUS` (223), and `GET_CONSUMER_STATUS_FROM_CLIENT` (221) to
/// clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetConsumerStatusRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
    /// The only client to ask.
    pub client_addr: Option<&'a str>,
}

/// `UPDATE_AND_GET_GROUP_FORBIDDEN` (353).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct UpdateGroupForbiddenRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// Whether the group may read the topic; absent only asks.
    pub readable: Option<bool>,
}
