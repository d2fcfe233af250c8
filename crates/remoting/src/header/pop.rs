//! Headers of popping: `POP_MESSAGE` (200050), `ACK_MESSAGE` (200051),
//! `CHANGE_MESSAGE_INVISIBLETIME` (200053), `NOTIFICATION` (200054), `POLLING_INFO` (200055).
//!
//! Java: classes of the same names in `org.apache.rocketmq.remoting.protocol.header`.

use super::RemotingHeader;

/// `POP_MESSAGE` (200050).
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct PopMessageRequestHeader<'a> {
    /// The consumer's group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue; below zero for all of the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// How many messages the consumer takes at most, 1 to 32.
    pub max_msg_nums: i32,
    /// For how long nobody else gets them, in milliseconds.
    pub invisible_time: i64,
    /// How long the broker may hold the request when there is nothing, in milliseconds.
    pub poll_time: i64,
    /// When the request was made, by the client's clock, in milliseconds since the epoch.
    pub born_time: Option<i64>,
    /// Where a new group begins: 0 at the first message of a queue, 1 at its end.
    pub init_mode: i32,
    /// `TAG` or `SQL92`; absent means `TAG`.
    pub exp_type: Option<&'a str>,
    /// The filter expression; absent means all.
    pub exp: Option<&'a str>,
    /// Whether a queue is locked until what was popped is acknowledged.
    pub order: Option<bool>,
    /// Names a try; the same try gets the same messages of a locked queue.
    pub attempt_id: Option<&'a str>,
}

/// The answer to a pop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct PopMessageResponseHeader<'a> {
    /// When the messages were popped, in milliseconds since the epoch; part of their handles.
    pub pop_time: i64,
    /// For how long nobody else gets them, in milliseconds.
    pub invisible_time: i64,
    /// 999 for an orderly pop; else a queue of Java's revive topic.
    pub revive_qid: i32,
    /// How many messages are left.
    pub rest_num: i64,
    /// `retryFlag queueId startOffset`, joined by `;`.
    pub start_offset_info: Option<&'a str>,
    /// `retryFlag queueId offset,offset`, joined by `;`.
    pub msg_offset_info: Option<&'a str>,
    /// `retryFlag qo<queueId>%<offset> count` or `retryFlag queueId count`, joined by `;`.
    pub order_count_info: Option<&'a str>,
}

/// `ACK_MESSAGE` (200051).
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct AckMessageRequestHeader<'a> {
    /// The consumer's group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic, or the group's retry topic of it.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// The receipt handle.
    pub extra_info: &'a str,
    /// The message's offset in the queue.
    pub offset: i64,
}

/// `CHANGE_MESSAGE_INVISIBLETIME` (200053).
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct ChangeInvisibleTimeRequestHeader<'a> {
    /// The consumer's group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic, or the group's retry topic of it.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// The receipt handle.
    pub extra_info: &'a str,
    /// The message's offset in the queue.
    pub offset: i64,
    /// For how long from now on nobody else gets the message, in milliseconds.
    pub invisible_time: i64,
}

/// The answer to it: parts of the new handle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ChangeInvisibleTimeResponseHeader {
    /// In milliseconds since the epoch.
    pub pop_time: i64,
    /// In milliseconds from the pop time on.
    pub invisible_time: i64,
    /// As in the old handle.
    pub revive_qid: i32,
}

/// `NOTIFICATION` (200054): whether there is something to pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct NotificationRequestHeader<'a> {
    /// The consumer's group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue; below zero for all of the topic.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// How long the broker may hold the request when there is nothing, in milliseconds.
    pub poll_time: i64,
    /// When the request was made, by the client's clock, in milliseconds since the epoch.
    pub born_time: Option<i64>,
    /// Whether it will be an orderly pop.
    pub order: Option<bool>,
    /// Names a try of an orderly pop.
    pub attempt_id: Option<&'a str>,
}

/// The answer to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct NotificationResponseHeader {
    /// Whether there is something to pop.
    pub has_msg: bool,
    /// Whether too many requests wait already.
    pub polling_full: bool,
}

/// `POLLING_INFO` (200055): how many pops wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct PollingInfoRequestHeader<'a> {
    /// The consumer's group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The queue; below zero for pops of all queues.
    #[header(route = QueueId)]
    pub queue_id: i32,
}

/// The answer to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct PollingInfoResponseHeader {
    /// How many pops wait for this queue, or for all.
    pub polling_num: i32,
}
