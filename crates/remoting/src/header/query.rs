//! Headers of looking at messages: `QUERY_MESSAGE` (12), `VIEW_MESSAGE_BY_ID` (33) and
//! `QUERY_CONSUME_QUEUE` (321).
//!
//! Java: `QueryMessageRequestHeader`, `ViewMessageRequestHeader`, `QueryConsumeQueueRequestHeader`.

use super::RemotingHeader;

/// `QUERY_MESSAGE` (12).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryMessageRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// One of the messages' keys.
    pub key: &'a str,
    /// The most messages wanted.
    pub max_num: i32,
    /// The earliest store time, in milliseconds since the epoch.
    pub begin_timestamp: i64,
    /// The latest store time, in milliseconds since the epoch.
    pub end_timestamp: i64,
    /// Whether the key is a `UNIQ_KEY`. Source: Java `MixAll.UNIQUE_MSG_QUERY_FLAG`.
    #[header(name = "_UNIQUE_KEY_QUERY")]
    pub is_unique_key: Option<bool>,
    /// Which index to ask, `K` by keys or `U` by `UNIQ_KEY`; in newer versions.
    pub index_type: Option<&'a str>,
}

/// The answer to 12.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryMessageResponseHeader {
    /// The store time of the last message in the index, in milliseconds since the epoch.
    pub index_last_update_timestamp: i64,
    /// Its physical offset.
    pub index_last_update_phyoffset: i64,
}

/// `VIEW_MESSAGE_BY_ID` (33).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ViewMessageRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: Option<&'a str>,
    /// The physical offset of the message.
    #[header(route = PhyOffset)]
    pub offset: i64,
}

/// `QUERY_CONSUME_QUEUE` (321).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryConsumeQueueRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// The first entry wanted; negative for the first there is.
    pub index: i64,
    /// How many entries.
    pub count: i32,
    /// Whose subscription shall judge the entries.
    #[header(route = Group)]
    pub consumer_group: Option<&'a str>,
}
