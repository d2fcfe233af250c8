//! Headers of administration that belong to no topic or group.
//!
//! Java: `GetBrokerConfigResponseHeader`, `ViewBrokerStatsDataRequestHeader`,
//! `GetConsumeStatsInBrokerHeader`.

use super::RemotingHeader;

/// The answer to `GET_BROKER_CONFIG` (26).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetBrokerConfigResponseHeader<'a> {
    /// The configuration's `DataVersion` as JSON.
    pub version: &'a str,
}

/// `VIEW_BROKER_STATS_DATA` (315).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ViewBrokerStatsDataRequestHeader<'a> {
    /// The kind of figure, such as `TOPIC_PUT_NUMS`.
    pub stats_name: &'a str,
    /// What it is of, such as a topic.
    pub stats_key: &'a str,
}

/// `GET_BROKER_CONSUME_STATS` (317).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetConsumeStatsInBrokerHeader {
    /// Whether only ordered topics are wanted.
    pub is_order: bool,
}

/// `RESUME_CHECK_HALF_MESSAGE` (323).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ResumeCheckHalfMessageRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: Option<&'a str>,
    /// The offset message id.
    pub msg_id: Option<&'a str>,
}
