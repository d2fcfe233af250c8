//! Headers of offsets: those that groups commit (14, 15) and those that queues have (29 to 32).
//!
//! Java: `QueryConsumerOffsetRequestHeader`, `UpdateConsumerOffsetRequestHeader`,
//! `SearchOffsetRequestHeader`, `GetMaxOffsetRequestHeader`, `GetMinOffsetRequestHeader`,
//! `GetEarliestMsgStoretimeRequestHeader`.

use super::RemotingHeader;

/// `QUERY_CONSUMER_OFFSET` (14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryConsumerOffsetRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// False: answer `QUERY_NOT_FOUND` even where 0 would do. Absent means true.
    pub set_zero_if_not_found: Option<bool>,
}

/// The answer to 14.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryConsumerOffsetResponseHeader {
    /// Where the group goes on.
    pub offset: i64,
}

/// `UPDATE_CONSUMER_OFFSET` (15).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct UpdateConsumerOffsetRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// The offset to store.
    pub commit_offset: i64,
}

/// `SEARCH_OFFSET_BY_TIMESTAMP` (29).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct SearchOffsetRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// In milliseconds since the epoch.
    pub timestamp: i64,
    /// `LOWER` (the default) or `UPPER`, in any case: which of several messages of one time.
    pub boundary_type: Option<&'a str>,
}

/// The answer to 29.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct SearchOffsetResponseHeader {
    /// The first message at or after the time.
    pub offset: i64,
}

/// `GET_MAX_OFFSET` (30).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetMaxOffsetRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// Whether only acknowledged messages count. Absent means true.
    pub committed: Option<bool>,
}

/// The answer to 30.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetMaxOffsetResponseHeader {
    /// The offset after the queue's last message.
    pub offset: i64,
}

/// `GET_MIN_OFFSET` (31).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetMinOffsetRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
}

/// The answer to 31.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetMinOffsetResponseHeader {
    /// The offset of the queue's first message.
    pub offset: i64,
}

/// `GET_EARLIEST_MSG_STORETIME` (32).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetEarliestMsgStoretimeRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue in the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
}

/// The answer to 32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetEarliestMsgStoretimeResponseHeader {
    /// When the queue's first message was stored, in milliseconds since the epoch; -1 if there is none.
    pub timestamp: i64,
}
