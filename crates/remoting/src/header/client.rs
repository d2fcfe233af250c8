//! Headers between broker and clients outside sending and pulling: membership, retry, transactions,
//! and what tools ask of clients.
//!
//! Java: `UnregisterClientRequestHeader`, `GetConsumerListByGroupRequestHeader`,
//! `ConsumerSendMsgBackRequestHeader`, `EndTransactionRequestHeader` and others of the kind.

use super::RemotingHeader;

/// `UNREGISTER_CLIENT` (35).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct UnregisterClientRequestHeader<'a> {
    /// The client.
    #[header(name = "clientID")]
    pub client_id: &'a str,
    /// The producer group that it leaves.
    pub producer_group: Option<&'a str>,
    /// The consumer group that it leaves.
    pub consumer_group: Option<&'a str>,
}

/// `GET_CONSUMER_LIST_BY_GROUP` (38).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetConsumerListByGroupRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
}

/// `NOTIFY_CONSUMER_IDS_CHANGED` (40), to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct NotifyConsumerIdsChangedRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
}

/// `CONSUMER_SEND_MSG_BACK` (36).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ConsumerSendMsgBackRequestHeader<'a> {
    /// The physical offset of the message that failed.
    #[header(route = PhyOffset)]
    pub offset: i64,
    /// The consumer group.
    #[header(route = Group)]
    pub group: &'a str,
    /// 0: by the number of failures; negative: a dead letter at once; else this delay level.
    pub delay_level: i32,
    /// The id of the message as the consumer knows it.
    pub origin_msg_id: Option<&'a str>,
    /// The topic that it came from.
    pub origin_topic: Option<&'a str>,
    /// Whether the consumer works in unit mode.
    pub unit_mode: Option<bool>,
    /// How often the message may fail before it becomes a dead letter.
    pub max_reconsume_times: Option<i32>,
}

/// `END_TRANSACTION` (37).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct EndTransactionRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: Option<&'a str>,
    /// The producer group.
    #[header(route = Group)]
    pub producer_group: &'a str,
    /// The half message's offset in its queue.
    pub tran_state_table_offset: i64,
    /// The half message's physical offset.
    #[header(route = PhyOffset)]
    pub commit_log_offset: i64,
    /// See [`sys_flag::transaction`](crate::message::sys_flag::transaction); 0 is unknown.
    pub commit_or_rollback: i32,
    /// Whether this answers a check.
    pub from_transaction_check: Option<bool>,
    /// The message's `UNIQ_KEY`.
    pub msg_id: &'a str,
    /// The transaction.
    pub transaction_id: Option<&'a str>,
}

/// `CHECK_TRANSACTION_STATE` (39), to producers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct CheckTransactionStateRequestHeader<'a> {
    /// The topic.
    #[header(route = Topic)]
    pub topic: Option<&'a str>,
    /// The half message's offset in its queue.
    pub tran_state_table_offset: i64,
    /// The half message's physical offset.
    pub commit_log_offset: i64,
    /// The message's `UNIQ_KEY`.
    pub msg_id: Option<&'a str>,
    /// The transaction.
    pub transaction_id: Option<&'a str>,
    /// The offset message id.
    pub offset_msg_id: Option<&'a str>,
    /// The broker's name; from 5.0 on.
    #[header(name = "bname")]
    pub broker_name: Option<&'a str>,
}

/// `GET_CONSUMER_RUNNING_INFO` (307), from tools and on to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetConsumerRunningInfoRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// Whether stacks of threads are wanted too.
    pub jstack_enable: Option<bool>,
}

/// `CONSUME_MESSAGE_DIRECTLY` (309), from tools and on to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct ConsumeMessageDirectlyResultRequestHeader<'a> {
    /// The consumer group.
    #[header(route = Group)]
    pub consumer_group: &'a str,
    /// The client.
    pub client_id: Option<&'a str>,
    /// The offset message id.
    pub msg_id: Option<&'a str>,
    /// The broker's name.
    pub broker_name: Option<&'a str>,
    /// The topic.
    #[header(route = Topic)]
    pub topic: Option<&'a str>,
    /// The topic's system flag.
    pub topic_sys_flag: Option<i32>,
    /// The group's system flag.
    pub group_sys_flag: Option<i32>,
}
