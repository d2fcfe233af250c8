//! Headers of pulling: `PULL_MESSAGE` (11) and `LITE_PULL_MESSAGE` (361).
//!
//! Java: `PullMessageRequestHeader`, `PullMessageResponseHeader`.

use super::RemotingHeader;

/// `PULL_MESSAGE` (11) and `LITE_PULL_MESSAGE` (361).
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct PullMessageRequestHeader<'a> {
    /// The consumer's group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// The first message wanted, by its offset in the queue.
    pub queue_offset: i64,
    /// How many messages the consumer takes at most.
    pub max_msg_nums: i32,
    /// See [`pull_sys_flag`].
    pub sys_flag: i32,
    /// The offset to store for the group, if the flag says so.
    pub commit_offset: i64,
    /// How long the broker may hold the request when there is nothing, in milliseconds.
    pub suspend_timeout_millis: i64,
    /// The filter expression, if the flag says so.
    pub subscription: Option<&'a str>,
    /// The version of the subscription; 0 from consumers that have none.
    pub sub_version: i64,
    /// `TAG` or `SQL92`; absent means `TAG`.
    pub expression_type: Option<&'a str>,
    /// How many bytes the consumer takes at most, from 5.0 on.
    pub max_msg_bytes: Option<i32>,
    /// Who asks, as an ordinal of Java's `RequestSource`; absent or -1 is a plain client.
    pub request_source: Option<i32>,
    /// The client behind a proxy. The spelling is Java's.
    pub proxy_froward_client_id: Option<&'a str>,
}

/// The answer to a pull, required for each code that a client turns into a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct PullMessageResponseHeader {
    /// The broker id to pull from next: 0 the master, 1 a slave.
    pub suggest_which_broker_id: i64,
    /// Where to go on.
    pub next_begin_offset: i64,
    /// The queue's first offset.
    pub min_offset: i64,
    /// The offset after the queue's last.
    pub max_offset: i64,
    /// Used by static topics.
    pub offset_delta: Option<i64>,
    /// The topic's system flag.
    pub topic_sys_flag: Option<i32>,
    /// The group's system flag.
    pub group_sys_flag: Option<i32>,
    /// Why reading is forbidden; see Java `ForbiddenType`.
    pub forbidden_type: Option<i32>,
}

/// Bits of [`PullMessageRequestHeader::sys_flag`]. Source: Java `PullSysFlag`.
pub mod pull_sys_flag {
    /// Store `commit_offset`.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The request may be held until there is a message.
    pub const SUSPEND: i32 = 1 << 1;
    /// The request brings its own subscription.
    pub const SUBSCRIPTION: i32 = 1 << 2;
    /// The subscription is a class; no longer supported anywhere.
    pub const CLASS_FILTER: i32 = 1 << 3;
    /// A lite pull consumer asks.
    pub const LITE_PULL: i32 = 1 << 4;
}
