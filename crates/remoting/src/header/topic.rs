//! Headers of topics: making, deleting and describing them.
//!
//! Java: `CreateTopicRequestHeader`, `DeleteTopicRequestHeader`, `GetTopicConfigRequestHeader`,
//! `GetTopicStatsInfoRequestHeader`, `GetAllTopicConfigRequestHeader`.

use super::RemotingHeader;

/// `UPDATE_AND_CREATE_TOPIC` (17).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct CreateTopicRequestHeader {
    /// The topic.
    #[header(route = Topic)]
    pub topic: String,
    /// Always `TBW102`; unused.
    pub default_topic: String,
    /// How many queues may be read.
    pub read_queue_nums: i32,
    /// How many queues may be written.
    pub write_queue_nums: i32,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: String,
    /// Bits: 1 unit, 2 subscribed to by units.
    pub topic_sys_flag: Option<i32>,
    /// Whether the topic is ordered.
    pub order: Option<bool>,
    /// Changes of attributes: `+key=value,-key`.
    pub attributes: Option<String>,
    /// For static topics only.
    pub force: Option<bool>,
}

/// `DELETE_TOPIC_IN_BROKER` (215).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct DeleteTopicRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
}

/// `GET_TOPIC_CONFIG` (351).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetTopicConfigRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// Whether a static topic's mapping is wanted too.
    pub lo: Option<bool>,
}

/// `GET_TOPIC_STATS_INFO` (202).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetTopicStatsInfoRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
}

/// `GET_ALL_TOPIC_CONFIG` (21).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetAllTopicConfigRequestHeader<'a> {
    /// The first topic of the page.
    pub topic_seq: Option<i32>,
    /// The version that the asker has a part of.
    pub data_version: Option<&'a str>,
    /// The most topics on a page.
    pub max_topic_num: Option<i32>,
}

/// The answer to 21.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetAllTopicConfigResponseHeader {
    /// How many topics there are on all pages.
    pub total_topic_num: i32,
}
